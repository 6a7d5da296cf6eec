"""Check the leaderboard's params and recipes, and stop before outputs of other stages are removed if they cannot work."""

from __future__ import annotations

import sys
from pathlib import Path

from depthmask.base.arguments import make_stage_parser
from depthmask.base.entry_points import print_errors_as_lines
from depthmask.base.files import write_text
from depthmask.base.terminal import print_line
from depthmask.leaderboard.checking import check_leaderboard
from depthmask.leaderboard.estimating import estimate_leaderboard
from depthmask.preflight.capacity import check_capacity, describe_estimate, look_at_machine
from depthmask.preflight.paths import check_layout

# always the same bytes, so that a change in params.yaml makes only the stages stale that read it
PASSED = "params.yaml fits its schema, and every recipe fits the leaderboard\n"


@print_errors_as_lines
def main(argv: list[str] | None = None) -> int:
    parser = make_stage_parser("leaderboard.check", __doc__)
    parser.add_argument("--recipes", type=Path, required=True, help="folder of recipes")
    parser.add_argument("--out", type=Path, required=True, help="text file, written when everything passes")
    args = parser.parse_args(argv)

    params = check_leaderboard(args.params, args.recipes)
    check_layout(params.download, str(args.params))
    machine = look_at_machine()
    estimate = estimate_leaderboard(params, args.recipes, machine.num_cores)
    check_capacity(estimate, params.compute.threads, str(args.params), machine)
    write_text(args.out, PASSED)
    asked = describe_estimate(estimate)
    print_line(f"  {args.params}: ok, {len(params.recipes)} recipes; {asked}", label="check", style="stage")
    return 0


if __name__ == "__main__":
    sys.exit(main())
