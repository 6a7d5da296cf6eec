"""`depthmask scores`: prints the scores of the last evaluation, and those on other data sets, beside the best baselines."""

from __future__ import annotations

import argparse
from pathlib import Path

from depthmask.base.entry_points import print_errors_as_lines
from depthmask.evaluation.scores_table import print_scores
from depthmask.reporting.inputs import list_other_sets, read_depth_unit, read_other_scores, read_scores


@print_errors_as_lines
def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="depthmask scores", description="Print the scores of the last evaluation.")
    parser.add_argument("--reports", type=Path, default=Path("reports"), help="folder with the stages' results")
    args = parser.parse_args(argv)

    print_scores(read_scores(args.reports), read_depth_unit(args.reports))
    for name in list_other_sets(args.reports):
        metrics, unit = read_other_scores(args.reports, name)
        print_scores(metrics, unit, title=name)
    return 0
