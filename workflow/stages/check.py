"""Check params.yaml, and stop before the outputs of any other stage are removed if it cannot work."""

from __future__ import annotations

import sys
from pathlib import Path

from depthmask.base.arguments import add_more_option, make_stage_parser
from depthmask.base.entry_points import print_errors_as_lines
from depthmask.base.files import write_text
from depthmask.base.terminal import print_line
from depthmask.params import load_params
from depthmask.preflight.leftovers import remove_gone_sets, remove_other_runs, remove_other_sources
from depthmask.preflight.project import check_project

# always the same bytes, so that a change in params.yaml makes only the stages stale that read it
PASSED = "params.yaml fits its schema\n"


@print_errors_as_lines
def main(argv: list[str] | None = None) -> int:
    parser = make_stage_parser("check", __doc__)
    parser.add_argument("--out", type=Path, required=True, help="text file, written when params.yaml passes")
    add_more_option(parser)
    parser.add_argument("--more-runs", type=Path, help="folder in which the download_more stages write their run records")
    parser.add_argument("--other", type=Path, help="folder in which the download_other and pack_other stages write data sets")
    parser.add_argument("--other-reports", type=Path, help="folder in which the evaluate_other stages write")
    args = parser.parse_args(argv)

    line = check_project(args.params)
    params = load_params(args.params)
    download = params.download
    if args.more is not None:
        remove_other_sources(args.more, download)
    if args.more_runs is not None:
        remove_other_runs(args.more_runs, download)
    if args.other is not None and args.other_reports is not None:
        remove_gone_sets(args.other, args.other_reports, params)
    write_text(args.out, PASSED)
    print_line(f"  {line}", label="check", style="stage")
    return 0


if __name__ == "__main__":
    sys.exit(main())
