"""Split the source once for all trials, as the project's own stage does."""

from __future__ import annotations

import sys
from pathlib import Path

from depthmask.base.entry_points import print_errors_as_lines
from depthmask.sweep.places import SweepParser, find_plan
from depthmask.sweep.planning import read_base
from stages import split


@print_errors_as_lines
def main(argv: list[str] | None = None) -> int:
    parser = SweepParser("split", __doc__)
    for name in ("raw", "more", "store"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    args = parser.parse_args(argv)
    options = {"params": find_plan(args.folder), "raw": args.raw, "more": args.more, "store": args.store, "out": args.out}
    given = [text for name, value in options.items() for text in (f"--{name}", str(value))]
    return split.main(given, load=read_base)


if __name__ == "__main__":
    sys.exit(main())
