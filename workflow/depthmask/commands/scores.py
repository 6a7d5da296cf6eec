"""`depthmask scores`: prints the scores of the last evaluation, beside the best baselines."""

from __future__ import annotations

import argparse
from pathlib import Path

from depthmask.base.entry_points import print_errors_as_lines
from depthmask.evaluation.scores_table import print_scores
from depthmask.reporting.inputs import read_depth_unit, read_scores


@print_errors_as_lines
def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="depthmask scores", description="Print the scores of the last evaluation.")
    parser.add_argument("--reports", type=Path, default=Path("reports"), help="folder with the stages' results")
    args = parser.parse_args(argv)

    print_scores(read_scores(args.reports), read_depth_unit(args.reports))
    return 0
