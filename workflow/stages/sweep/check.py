"""Check a sweep's params, and stop if they cannot work, before any output of another stage is removed."""

from __future__ import annotations

import sys
from pathlib import Path

from depthmask.base.entry_points import print_errors_as_lines
from depthmask.base.files import write_text
from depthmask.base.terminal import print_line
from depthmask.preflight.capacity import check_capacity, describe_estimate, look_at_machine
from depthmask.preflight.leftovers import remove_other_sources
from depthmask.preflight.paths import check_layout
from depthmask.sweep.checking import check_sweep
from depthmask.sweep.estimating import estimate_sweep
from depthmask.sweep.places import SweepParser, find_plan
from depthmask.sweep.planning import require_current

# always the same bytes, so that a changed key makes stale only the stages that read it
PASSED = "the sweep fits params.yaml, and its plan is current\n"


@print_errors_as_lines
def main(argv: list[str] | None = None) -> int:
    parser = SweepParser("check", __doc__)
    parser.add_argument("--more", type=Path, required=True, help="folder in which the download_more stages write further sources")
    parser.add_argument("--out", type=Path, required=True, help="text file, written when everything passes")
    args = parser.parse_args(argv)

    where = args.folder / "params.yaml"
    plan = check_sweep(where)
    require_current(find_plan(args.folder), plan)
    check_layout(plan.shared.download, "params.yaml", plan.shared.model)
    machine = look_at_machine()
    estimate = estimate_sweep(plan, machine.num_cores)
    check_capacity(estimate, plan.shared.compute.threads, str(where), machine)
    remove_other_sources(args.more, plan.shared.download)
    write_text(args.out, PASSED)
    print_line(f"  {where}: ok, {plan.num_trials} trials; {describe_estimate(estimate)}", label="check", style="stage")
    return 0


if __name__ == "__main__":
    sys.exit(main())
