"""`depthmask check`: reports the first mistake in params.yaml, or an estimate of what the run takes, and what is in the data."""

from __future__ import annotations

import argparse
from pathlib import Path

from depthmask.base.entry_points import print_errors_as_lines
from depthmask.base.errors import UserError
from depthmask.dvc_lock import remove_cut_off_rwlock
from depthmask.execution.speed_options import read_speed_options
from depthmask.missing_data import note_missing_data_here
from depthmask.params import Params, load_params
from depthmask.preflight.paths import list_outside
from depthmask.preflight.project import check_params, check_project
from depthmask.trackers import require_trackers

NUM_READ = 300


def make_parser() -> argparse.ArgumentParser:
    """The command's options."""
    parser = argparse.ArgumentParser(
        prog="depthmask check",
        description="Check params.yaml and estimate memory, disk and time; exit code 2: invalid, or far beyond this machine.",
    )
    parser.add_argument("--params", type=Path, default=Path("params.yaml"), help="file to check (params.yaml)")
    parser.add_argument("--data", action="store_true", help="print a report of the data: numbers, sizes, ranges and what is odd")
    parser.add_argument("--page", type=Path, metavar="FILE", help="write that report as an HTML page with examples")
    parser.add_argument(
        "--num", type=int, default=NUM_READ, help=f"files of each kind to read for the report, evenly spaced ({NUM_READ}; 0: all)"
    )
    parser.add_argument("--raw", type=Path, default=Path("data/raw"), help="folder of the download stage (data/raw)")
    parser.add_argument("--more", type=Path, default=Path("data/raw_more"), help="folder of further sources (data/raw_more)")
    parser.add_argument("--other", type=Path, default=Path("data/other"), help="folder of other data sets (data/other)")
    return parser


@print_errors_as_lines
def main(argv: list[str] | None = None) -> int:
    args = make_parser().parse_args(argv)
    remove_cut_off_rwlock()  # here too, because `make repro` begins with this command
    require_trackers(read_speed_options().trackers)
    if not args.data and args.page is None:
        print(check_project(args.params))
        note_missing_data_here()
        for key, path in list_outside(load_params(args.params)).items():
            absolute = f"write {Path(path).resolve()} instead"
            print(f"{key}: {path} is outside the project; for dvc exp run --queue or --temp, which run in a copy, {absolute}")
        return 0
    if args.num < 0:
        raise UserError(f"--num {args.num}: allowed: 0 (all) or more")
    if args.page is not None and args.page.suffix.lower() not in (".html", ".htm"):
        raise UserError(f"--page {args.page}: the report is HTML; use the suffix .html")
    return report_data(check_params(args.params), args)


def report_data(params: Params, args: argparse.Namespace) -> int:
    """Print the report and write its page.

    Raises:
        UserError: the data cannot be opened, or their values cannot be right; the report is printed first.
    """
    from depthmask.data_report.looking import look_at_data  # late: plain checks do without it
    from depthmask.data_report.opening import list_declared, list_others, open_data
    from depthmask.data_report.page import write_page
    from depthmask.data_report.text import format_report
    from depthmask.params.mixture import name_keys

    reports = []
    declared = list_declared(params.download, args.raw, args.more) + list_others(params, args.other)
    for key, download, raw in declared:
        with name_keys(key) as rename, open_data(download, raw) as (source, where, explain):
            report = look_at_data(source, where, args.num or None, with_examples=args.page is not None)
            reports.append(report.explained(explain).explained(rename))
    print("\n\n".join("\n".join(format_report(report)) for report in reports))
    if args.page is not None:
        write_page(reports, args.page)
        print(f"{args.page}: the same with examples")
    for report in reports:
        for finding in report.findings:
            if finding.is_error:
                raise UserError(f"{report.where}: {finding.line}")
    return 0
