"""Copy, fetch or unpack a source of the trials, as the project's own stage does."""

from __future__ import annotations

import sys
from pathlib import Path

from depthmask.base.entry_points import print_errors_as_lines
from depthmask.sweep.places import SweepParser, find_plan
from depthmask.sweep.planning import read_base
from stages import download


@print_errors_as_lines
def main(argv: list[str] | None = None) -> int:
    parser = SweepParser("download", __doc__)
    parser.add_argument("--source", help="name in download.more_sources (the section's own source)")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    args = parser.parse_args(argv)
    more = [] if args.source is None else ["--source", args.source]
    return download.main(["--params", str(find_plan(args.folder)), "--out", str(args.out), *more], load=read_base)


if __name__ == "__main__":
    sys.exit(main())
