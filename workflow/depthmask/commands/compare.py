"""`depthmask compare`: is B better than A? Two evaluations of the same test images, paired, with intervals."""

from __future__ import annotations

import argparse
import sys
from contextlib import ExitStack
from pathlib import Path

from depthmask.base.entry_points import print_errors_as_lines
from depthmask.base.files import format_json, write_text
from depthmask.base.terminal import print_error_line

WORSE_EXIT_CODE = 3  # not that of an error, so that a script can tell them apart
STDOUT = "-"


@print_errors_as_lines
def main(argv: list[str] | None = None) -> int:
    args = _parse(argv)

    from depthmask.comparison.comparison import compare, find_worse, make_json
    from depthmask.comparison.results import open_results
    from depthmask.comparison.words import describe_score
    from depthmask.comparison.writing import build_markdown, print_comparison
    from depthmask.comparison_report.page import build_page

    with ExitStack() as opened:
        a, b = (opened.enter_context(open_results(where, with_samples=args.page is not None)) for where in (args.a, args.b))
        comparison = compare(a, b)
        worse = find_worse(comparison, args.fail_if_worse)
        page = None if args.page is None else build_page(comparison)
    if args.json != STDOUT and args.markdown != STDOUT:
        print_comparison(comparison)
    for target, text in ((args.json, format_json(make_json(comparison))), (args.markdown, build_markdown(comparison))):
        if target == STDOUT:
            sys.stdout.write(text)
        elif target is not None:
            write_text(Path(target), text)
    if page is not None:
        write_text(args.page, page)
    for one in worse:
        line = describe_score(one, comparison.unit)
        print_error_line(f"{one.column}: {b.title} is worse than {a.title}: {line.b} instead of {line.a} ({line.interval})")
    return WORSE_EXIT_CODE if worse else 0


def _parse(argv: list[str] | None) -> argparse.Namespace:
    what = "commit, branch, tag, experiment, folder with results, per_image.csv, or workspace"
    parser = argparse.ArgumentParser(prog="depthmask compare", description=__doc__.partition(": ")[2])
    parser.add_argument("a", nargs="?", default="HEAD~1", metavar="A", help=f"{what} (%(default)s)")
    parser.add_argument("b", nargs="?", default="workspace", metavar="B", help="the same (%(default)s)")
    parser.add_argument("--json", metavar="FILE", help="write everything as JSON; - for standard output, instead of the table")
    parser.add_argument("--markdown", metavar="FILE", help="write a table for a pull request; - as for --json")
    parser.add_argument("--page", type=Path, metavar="FILE", help="write a self-contained HTML page with all scores and maps")
    parser.add_argument(
        "--fail-if-worse",
        nargs="+",
        action="extend",
        default=[],
        metavar="SCORE",
        help=f"exit code {WORSE_EXIT_CODE} if B is worse by one of these columns of per_image.csv, such as mask_iou",
    )
    args = parser.parse_args(argv)
    if args.json == args.markdown == STDOUT:
        parser.error("--json - and --markdown -: only one can be written to standard output")
    return args
