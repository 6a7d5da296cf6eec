"""Copy or unpack the source that params.yaml names into data/raw, checked and complete."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from depthmask.errors import print_errors_as_lines
from depthmask.files import choose_cache
from depthmask.params import load_params
from depthmask.run_record import record_run_if_asked
from depthmask.sources import print_findings
from depthmask.sources.fetch import fetch


@print_errors_as_lines
def main(argv: list[str] | None = None, load: Callable[[str], Any] = load_params) -> int:
    """`load` reads the params file: another graph's file has the sections that are read here, among others of its own."""
    parser = argparse.ArgumentParser(prog="stages.download", description=__doc__)
    parser.add_argument("--params", default="params.yaml")
    parser.add_argument("--out", type=Path, required=True, help="folder to make")
    parser.add_argument("--run", type=Path, help="JSON file to write: how it was run")
    parser.add_argument(
        "--cache", type=Path, help="folder for what is fetched or labelled (DEPTHMASK_CACHE, or ~/.cache/depthmask)"
    )
    args = parser.parse_args(argv)

    download = load(args.params).download
    with record_run_if_asked("download", args.run, {"download": download.model_dump()}):
        record = fetch(download, args.out, args.cache or choose_cache())
    where = ", ".join(download.urls) or download.path
    print(f"{args.out}: {record['num_files']} files of {download.source} from {where}")
    if record["set"] is not None:
        print(f"licence: {record['set']['licence']}; to be cited: {record['set']['citation']}")
    if not all("#sha256=" in url for url in record["download"]["urls"]) and download.sha256 is None:
        for archive in record["archives"]:
            print(f"sha256 {archive['sha256']}: {archive['url']}")
    if record["teacher"] is not None and record["teacher"]["revision"] is not None:
        print(f"depth maps by {record['teacher']['model']}, revision {record['teacher']['revision']}")
    print_findings(record, args.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
