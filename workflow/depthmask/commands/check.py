"""`depthmask check`: the first mistake in params.yaml, or an estimate of what the run takes."""

from __future__ import annotations

import argparse
from pathlib import Path

from depthmask.base.errors import print_errors_as_lines
from depthmask.dvc_lock import remove_cut_off_rwlock
from depthmask.preflight.project import check_project


def make_parser() -> argparse.ArgumentParser:
    """The command's options."""
    parser = argparse.ArgumentParser(
        prog="depthmask check",
        description="Check params.yaml, and estimate what it takes; exit code 2: it is wrong, or far beyond this machine.",
    )
    parser.add_argument("--params", type=Path, default=Path("params.yaml"), help="the file to check (params.yaml)")
    return parser


@print_errors_as_lines
def main(argv: list[str] | None = None) -> int:
    args = make_parser().parse_args(argv)
    remove_cut_off_rwlock()  # here too, since `make repro` begins with this command
    print(check_project(args.params))
    return 0
