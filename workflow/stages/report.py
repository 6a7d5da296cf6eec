"""Write the results of all stages to one self-contained page."""

from __future__ import annotations

import sys
from pathlib import Path

from depthmask.base.arguments import make_stage_parser
from depthmask.base.entry_points import print_errors_as_lines
from depthmask.base.terminal import show_stage
from depthmask.reporting.report import add_report_options, write_report


@print_errors_as_lines
def main(argv: list[str] | None = None) -> int:
    parser = make_stage_parser("report", __doc__)
    add_report_options(parser)
    parser.add_argument("--out", type=Path, required=True, help="HTML file to write, with a .runs.js beside it")
    args = parser.parse_args(argv)

    with show_stage("report", f"from {args.reports}") as shown:
        num_bytes, _ = write_report(args, revision=None)
        shown.result = f"{num_bytes / 1e6:.1f} MB; {args.out}, opens in any browser"
    return 0


if __name__ == "__main__":
    sys.exit(main())
