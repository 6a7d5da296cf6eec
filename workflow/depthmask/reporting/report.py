"""Writes the page from the options of the report stage or of `depthmask report`."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from depthmask.params import load_params
from depthmask.reporting.context import Context, read_context
from depthmask.reporting.inputs import read_inputs
from depthmask.reporting.page import build_page, write_page


def add_report_options(parser: ArgumentParser) -> None:
    """Add the options for the page's inputs; the caller adds --params and --out."""
    parser.add_argument("--reports", type=Path, default=Path("reports"), help="folder with the stages' results")
    parser.add_argument("--split", type=Path, default=Path("data/split"), help="folder written by the split stage")
    parser.add_argument("--lock", type=Path, default=Path("dvc.lock"), help="dvc.lock, for hashes; optional")
    parser.add_argument("--recipes", type=Path, default=Path("workflow/recipes"), help="folder of recipes")
    board = Path("leaderboard/reports/leaderboard.csv")
    parser.add_argument("--leaderboard", type=Path, default=board, help="CSV table of the leaderboard; optional")


def write_report(args: Namespace, revision: str | None) -> tuple[int, Context]:
    """Write the page and the file beside it; returns the page's size in bytes and its context.

    revision: commit, branch or tag to compare with; None: the last commit.

    Raises:
        UserError: an input is missing or broken, or the revision is unknown.
    """
    params = load_params(args.params)
    inputs = read_inputs(args.reports, args.split)
    metrics = args.reports / "metrics.json"
    context = read_context(metrics, args.lock, args.leaderboard, args.params, args.recipes, revision)
    page = build_page(inputs, args.reports, params.report, context, args.out)
    write_page(page, args.out)
    return len(page.html.encode()), context
