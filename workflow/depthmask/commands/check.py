"""`depthmask check`: reports the first mistake in params.yaml, or an estimate of what the run takes."""

from __future__ import annotations

import argparse
from pathlib import Path

from depthmask.base.entry_points import print_errors_as_lines
from depthmask.dvc_lock import remove_cut_off_rwlock
from depthmask.preflight.project import check_project


def make_parser() -> argparse.ArgumentParser:
    """The command's options."""
    parser = argparse.ArgumentParser(
        prog="depthmask check",
        description="Check params.yaml and estimate memory, disk and time; exit code 2: invalid, or far beyond this machine.",
    )
    parser.add_argument("--params", type=Path, default=Path("params.yaml"), help="file to check (params.yaml)")
    return parser


@print_errors_as_lines
def main(argv: list[str] | None = None) -> int:
    args = make_parser().parse_args(argv)
    remove_cut_off_rwlock()  # here too, because `make repro` begins with this command
    print(check_project(args.params))
    return 0
