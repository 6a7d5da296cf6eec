"""`depthmask report`: the page again from what the stages have left, compared with any commit.

The pipeline's own reports/index.html is left as DVC knows it.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from depthmask.base.errors import print_errors_as_lines
from depthmask.params import load_params
from depthmask.reporting.context import read_context
from depthmask.reporting.inputs import read_inputs
from depthmask.reporting.page import build_page, write_page

OUT = Path("runs/report.html")  # git and DVC look away from this folder


@print_errors_as_lines
def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="depthmask report", description=__doc__.splitlines()[0])
    parser.add_argument("--compare", metavar="REVISION", help="commit, branch or tag whose scores are compared (the last commit)")
    parser.add_argument("--out", type=Path, default=OUT, help=f"HTML file to write, with a .runs.js beside it ({OUT})")
    parser.add_argument("--params", default="params.yaml")
    parser.add_argument("--reports", type=Path, default=Path("reports"), help="folder with what the stages have written")
    parser.add_argument("--split", type=Path, default=Path("data/split"), help="folder that the split stage made")
    parser.add_argument("--lock", type=Path, default=Path("dvc.lock"), help="what DVC has recorded of all outputs")
    parser.add_argument("--recipes", type=Path, default=Path("workflow/recipes"), help="folder of recipes")
    parser.add_argument("--leaderboard", type=Path, default=Path("leaderboard/reports/leaderboard.csv"), help="its table, if any")
    args = parser.parse_args(argv)

    params = load_params(args.params)
    inputs = read_inputs(args.reports, args.split)
    metrics = args.reports / "metrics.json"
    context = read_context(metrics, args.lock, args.leaderboard, Path(args.params), args.recipes, args.compare)
    page = build_page(inputs, args.reports, params.report, context, args.out)
    write_page(page, args.out)
    compared = f"compared with commit {context.changes.commit}" if context.changes.commit else context.changes.reason
    print(f"{args.out}: {len(page.html.encode()) / 1e6:.1f} MB, {compared}")
    return 0
