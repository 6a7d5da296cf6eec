"""Check the cross-validation's params, the project's and its data, and stop if they cannot work."""

from __future__ import annotations

import sys
from pathlib import Path

from depthmask.base.entry_points import print_errors_as_lines
from depthmask.base.files import write_text
from depthmask.base.terminal import print_line, warn
from depthmask.cross_validation.arguments import make_own_parser
from depthmask.cross_validation.checking import check_cross_validation
from depthmask.cross_validation.estimating import estimate_cross_validation
from depthmask.cross_validation.params import describe_leak
from depthmask.preflight.capacity import check_capacity, describe_estimate, look_at_machine
from depthmask.preflight.network_costs import is_measured

# always the same bytes, so that a change in the params makes only the stages stale that read it
PASSED = "both params files fit, and the project's data are up to date\n"


@print_errors_as_lines
def main(argv: list[str] | None = None) -> int:
    parser = make_own_parser("check", __doc__)
    parser.add_argument("--out", type=Path, required=True, help="text file, written when everything passes")
    args = parser.parse_args(argv)

    params, settings = check_cross_validation(args.params, args.settings)
    if params.model.init is not None:
        warn(describe_leak(params.model.init))
    asked = f"no estimate, because depthmask/preflight/network_costs.py has no row for {params.model.name}"
    if is_measured(params.model):
        machine = look_at_machine()
        estimate = estimate_cross_validation(params, settings, machine.num_cores)
        check_capacity(estimate, settings.threads, str(args.settings), machine)
        asked = f"one after another {describe_estimate(estimate)}"
    write_text(args.out, PASSED)
    num_folds, num_seeds = len(settings.folds), len(settings.seeds)
    runs = f"{num_folds} folds x {num_seeds} seeds = {num_folds * num_seeds} training runs"
    print_line(f"  {args.settings}: ok, {runs}; {asked}", label="check", style="stage")
    return 0


if __name__ == "__main__":
    sys.exit(main())
