"""`depthmask check`: whether params.yaml can be used, and if not, the first thing that is wrong with it."""

from __future__ import annotations

import argparse
from pathlib import Path

from depthmask.check_paths import check_layout, check_project
from depthmask.errors import print_errors_as_lines


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="depthmask check", description="Check params.yaml against its schema; exit code 2: it is wrong."
    )
    parser.add_argument("--params", type=Path, default=Path("params.yaml"), help="the file to check (params.yaml)")
    return parser


@print_errors_as_lines
def main(argv: list[str] | None = None) -> int:
    args = make_parser().parse_args(argv)
    check_layout(check_project(args.params).download, str(args.params))
    print(f"{args.params}: ok")
    return 0
