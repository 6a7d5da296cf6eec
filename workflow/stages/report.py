"""Make one self-contained page of everything that the stages have found out."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from depthmask.base.errors import print_errors_as_lines
from depthmask.base.terminal import show_stage
from depthmask.params import load_params
from depthmask.reporting.context import read_context
from depthmask.reporting.inputs import read_inputs
from depthmask.reporting.page import build_page, write_page


@print_errors_as_lines
def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="stages.report", description=__doc__)
    parser.add_argument("--params", default="params.yaml")
    parser.add_argument("--reports", type=Path, required=True, help="folder with what the stages have written")
    parser.add_argument("--split", type=Path, required=True, help="folder that the split stage made")
    parser.add_argument("--lock", type=Path, required=True, help="dvc.lock, for the hashes of outputs; it need not be there")
    parser.add_argument("--recipes", type=Path, required=True, help="folder of recipes, for the default one")
    parser.add_argument("--leaderboard", type=Path, required=True, help="CSV table of the leaderboard; it need not be there")
    parser.add_argument("--out", type=Path, required=True, help="HTML file to write, with a .runs.js beside it")
    args = parser.parse_args(argv)

    params = load_params(args.params)
    with show_stage("report", f"from {args.reports}") as shown:
        inputs = read_inputs(args.reports, args.split)
        metrics = args.reports / "metrics.json"
        context = read_context(metrics, args.lock, args.leaderboard, Path(args.params), args.recipes, revision=None)
        page = build_page(inputs, args.reports, params.report, context, args.out)
        write_page(page, args.out)
        shown.result = f"{len(page.html.encode()) / 1e6:.1f} MB; {args.out}, opens in any browser"
    return 0


if __name__ == "__main__":
    sys.exit(main())
