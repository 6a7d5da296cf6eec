"""Pack the source of the trials at every size that one of them trains at, as the project's own stage does."""

from __future__ import annotations

import sys
from pathlib import Path

from depthmask.base.entry_points import print_errors_as_lines
from depthmask.sweep.places import SweepParser, find_plan
from depthmask.sweep.planning import read_base, read_sizes
from stages import pack


@print_errors_as_lines
def main(argv: list[str] | None = None) -> int:
    parser = SweepParser("pack", __doc__)
    parser.add_argument("--raw", type=Path, required=True, help="folder that the download stage made")
    parser.add_argument("--more", type=Path, required=True, help="folder of further sources")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--out", type=Path, help="folder to write")
    what.add_argument("--shard", help="make only this shard, for a later run with --out")
    parser.add_argument("--note", type=Path, help="with --shard: file to write when the shard is finished")
    args = parser.parse_args(argv)
    plan, sizes = find_plan(args.folder), read_sizes(find_plan(args.folder))
    options = {"params": plan, "raw": args.raw, "more": args.more, "out": args.out, "shard": args.shard, "note": args.note}
    given = [text for name, value in options.items() if value is not None for text in (f"--{name}", str(value))]
    return pack.main(given, load=read_base, sizes=lambda _params: sizes)


if __name__ == "__main__":
    sys.exit(main())
