"""Rank the recipes: as CSV, Markdown and a page, plus mean scores for DVC."""

from __future__ import annotations

import sys
from pathlib import Path

from depthmask.base.arguments import make_stage_parser
from depthmask.base.entry_points import print_errors_as_lines
from depthmask.base.files import write_csv, write_json, write_text
from depthmask.base.terminal import note, show_stage
from depthmask.leaderboard.page import build_markdown, build_page
from depthmask.leaderboard.params import load_leaderboard_params
from depthmask.leaderboard.results import read_results
from depthmask.leaderboard.table import COLUMNS, make_metrics, make_rows
from depthmask.recipes import read_recipe


@print_errors_as_lines
def main(argv: list[str] | None = None) -> int:
    parser = make_stage_parser("leaderboard.table", __doc__)
    parser.add_argument("--reports", type=Path, required=True, help="folder with the stages' results")
    parser.add_argument("--recipes", type=Path, required=True, help="folder of recipes, for their titles")
    parser.add_argument("--csv", type=Path, required=True, help="CSV file to write: the table with all columns")
    parser.add_argument("--markdown", type=Path, required=True, help="Markdown file to write: the table for people")
    parser.add_argument("--page", type=Path, required=True, help="HTML file to write: the same, with the training of each recipe")
    parser.add_argument("--metrics", type=Path, required=True, help="JSON file to write: mean scores of each recipe")
    args = parser.parse_args(argv)

    params = load_leaderboard_params(args.params)
    with show_stage("table", f"{len(params.recipes)} recipes, sorted by {params.sort_by}") as shown:
        results = read_results(args.reports, params.recipes, params.seeds)
        rows = make_rows(results, params.sort_by, params.split_seed)
        write_csv(args.csv, COLUMNS, rows)
        write_text(args.markdown, build_markdown(rows, params, results))
        titles = {name: read_recipe(name, args.recipes).title for name in params.recipes}
        write_text(args.page, build_page(rows, params, results, titles))
        write_json(args.metrics, make_metrics(rows))
        for name, reason in results.missing.items():
            note(f"recipe {name} is skipped: {reason}")
        shown.result = f"{len(rows)} rows; {args.markdown}, {args.page}"
    return 0


if __name__ == "__main__":
    sys.exit(main())
