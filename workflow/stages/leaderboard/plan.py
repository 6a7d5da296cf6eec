"""Plan the training of one recipe: the budget as steps of its phases, within the leaderboard's sizes and batches."""

from __future__ import annotations

import sys
from pathlib import Path

from depthmask.base.arguments import add_split_options, make_stage_parser
from depthmask.base.entry_points import print_errors_as_lines
from depthmask.base.terminal import note, print_line
from depthmask.leaderboard.missing import find_missing
from depthmask.leaderboard.params import load_leaderboard_params
from depthmask.leaderboard.plan import write_plan
from depthmask.leaderboard.planning import fit_recipe, list_phases, make_plan
from depthmask.loading.split_files import count_rows
from depthmask.sources import choose_folder


@print_errors_as_lines
def main(argv: list[str] | None = None) -> int:
    parser = make_stage_parser("leaderboard.plan", __doc__)
    parser.add_argument("--recipe", type=Path, required=True, help="file of the recipe")
    add_split_options(parser)
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write")
    args = parser.parse_args(argv)

    params, name = load_leaderboard_params(args.params), args.recipe.stem
    fitted = fit_recipe(name, params, args.recipe.parent)
    missing, phases = find_missing(fitted.model), list_phases(fitted)
    step_seconds = None
    if params.budget.kind == "seconds" and missing:
        step_seconds = [1.0] * len(phases)  # never used
    elif params.budget.kind == "seconds":
        from depthmask.leaderboard.speed import measure_step_seconds  # late: only a timed plan needs torch

        step_seconds = measure_step_seconds(fitted, phases, choose_folder(args.raw, args.store), args.split)
    plan = make_plan(
        name,
        fitted,
        params.budget,
        num_available=count_rows(args.split, "train"),
        step_seconds=step_seconds,
        missing=missing,
    )
    write_plan(args.out, plan)
    if missing:
        note(f"recipe {name} is skipped: {missing}")
    else:
        line = f"  {plan.steps:,} steps, {plan.samples:,} samples in {len(plan.phases)} phases; {args.out}"
        print_line(line, label=f"plan {name}", style="stage")
    return 0


if __name__ == "__main__":
    sys.exit(main())
