"""Rank the trials: as CSV, Markdown and a page, with the importance of each key, and the best one as a recipe."""

from __future__ import annotations

import sys
from pathlib import Path

from depthmask.base.entry_points import print_errors_as_lines
from depthmask.base.files import write_csv, write_json, write_text
from depthmask.base.terminal import count, show_stage
from depthmask.sweep.importance import IMPORTANCE_COLUMNS, measure_importance
from depthmask.sweep.page import build_markdown, build_page
from depthmask.sweep.places import SweepParser
from depthmask.sweep.planning import read_plan
from depthmask.sweep.recipe_file import format_recipe
from depthmask.sweep.results import read_results
from depthmask.sweep.storage import write_study
from depthmask.sweep.table import list_columns, make_metrics, make_rows


@print_errors_as_lines
def main(argv: list[str] | None = None) -> int:
    parser = SweepParser("table", __doc__)
    parser.add_argument("--reports", type=Path, required=True, help="folder with the stages' results")
    parser.add_argument("--csv", type=Path, required=True, help="CSV file to write: a row per trial")
    parser.add_argument("--markdown", type=Path, required=True, help="Markdown file to write: the table for people")
    parser.add_argument("--page", type=Path, required=True, help="HTML file to write: the same, with plots")
    parser.add_argument("--metrics", type=Path, required=True, help="JSON file to write: the scores of each trial, for DVC")
    parser.add_argument("--importance", type=Path, required=True, help="CSV file to write: how much each key matters")
    parser.add_argument("--best", type=Path, required=True, help="recipe to write: the best trial's params")
    parser.add_argument("--study", type=Path, required=True, help="file to write: the trials for Optuna's dashboard, untracked")
    args = parser.parse_args(argv)

    plan = read_plan(args.folder)
    params = plan.params
    with show_stage("table", f"{plan.num_trials} trials, by {' and '.join(params.optimise)}") as shown:
        results = read_results(args.reports / "score", plan)
        rows = make_rows(results, params)
        importance = measure_importance(params, results)
        write_csv(args.csv, list_columns(params), rows)
        write_csv(args.importance, IMPORTANCE_COLUMNS, importance)
        write_text(args.markdown, build_markdown(rows, plan, importance))
        write_text(args.page, build_page(rows, plan, importance, results))
        write_json(args.metrics, make_metrics(results))
        write_text(args.best, format_recipe(plan, results, args.best))
        write_study(args.study, params, results)
        shown.result = f"{count(len(rows), 'row')}; best {rows[0]['trial']}: {args.best}; {args.page}"
    return 0


if __name__ == "__main__":
    sys.exit(main())
