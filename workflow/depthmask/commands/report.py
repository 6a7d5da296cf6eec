"""`depthmask report`: rebuild the page from the stages' results, compared with any commit.

The pipeline's own reports/index.html is not touched.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from depthmask.base.entry_points import print_errors_as_lines
from depthmask.reporting.report import add_report_options, write_report

OUT = Path("runs/report.html")  # ignored by git and DVC


@print_errors_as_lines
def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="depthmask report", description=__doc__.splitlines()[0])
    parser.add_argument("--compare", metavar="REVISION", help="commit, branch or tag to compare with (the last commit)")
    parser.add_argument("--out", type=Path, default=OUT, help=f"HTML file to write, with a .runs.js beside it ({OUT})")
    parser.add_argument("--params", type=Path, default=Path("params.yaml"))
    add_report_options(parser)
    args = parser.parse_args(argv)

    num_bytes, context = write_report(args, args.compare)
    compared = f"compared with commit {context.changes.commit}" if context.changes.commit else context.changes.reason
    print(f"{args.out}: {num_bytes / 1e6:.1f} MB, {compared}")
    return 0
