"""Join the scores of all folds and seeds: means, spreads and the parts of the variance, as CSV, Markdown, a page and for DVC."""

from __future__ import annotations

import sys
from pathlib import Path

from depthmask.base.entry_points import print_errors_as_lines
from depthmask.base.files import write_csv, write_json, write_text
from depthmask.base.terminal import show_stage
from depthmask.cross_validation.arguments import make_own_parser
from depthmask.cross_validation.page import build_markdown, build_page, describe_conditions, make_tables
from depthmask.cross_validation.params import load_both
from depthmask.cross_validation.results import read_results
from depthmask.cross_validation.table import COLUMNS, RUN_COLUMNS, average_baselines, make_metrics, make_rows, make_run_rows


@print_errors_as_lines
def main(argv: list[str] | None = None) -> int:
    parser = make_own_parser("table", __doc__)
    parser.add_argument("--reports", type=Path, required=True, help="folder with the stages' results")
    parser.add_argument("--splits", type=Path, required=True, help="folder with the split of each fold")
    parser.add_argument("--csv", type=Path, required=True, help="CSV file to write: each score, with its spread")
    parser.add_argument("--runs", type=Path, required=True, help="CSV file to write: each training run, with its scores")
    parser.add_argument("--markdown", type=Path, required=True, help="Markdown file to write: the tables for people")
    parser.add_argument("--page", type=Path, required=True, help="HTML file to write: the same")
    parser.add_argument("--metrics", type=Path, required=True, help="JSON file to write: the main scores")
    args = parser.parse_args(argv)

    params, settings = load_both(args.params, args.settings)
    with show_stage("table", f"{len(settings.folds)} folds, {len(settings.seeds)} seeds") as shown:
        results = read_results(args.reports, args.splits, settings.folds, settings.seeds)
        rows, runs = make_rows(results, params.split_seed), make_run_rows(results)
        conditions = describe_conditions(params.model.init, settings, results)
        tables = make_tables(results, rows, runs, average_baselines(results))
        write_csv(args.csv, COLUMNS, rows)
        write_csv(args.runs, RUN_COLUMNS, runs)
        write_text(args.markdown, build_markdown(conditions, tables))
        write_text(args.page, build_page(conditions, tables, results, runs, rows))
        write_json(args.metrics, make_metrics(rows))
        shown.result = f"{len(runs)} runs, {len(rows)} scores; {args.markdown}, {args.page}"
    return 0


if __name__ == "__main__":
    sys.exit(main())
