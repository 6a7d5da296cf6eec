"""Copy or unpack the source that params.yaml names into data/raw, checked and complete."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from depthmask.errors import print_errors_as_lines
from depthmask.params import load_params
from depthmask.sources.fetch import fetch


@print_errors_as_lines
def main(argv: list[str] | None = None, load: Callable[[str], Any] = load_params) -> int:
    """`load` reads the params file: another graph's file has the sections that are read here, among others of its own."""
    parser = argparse.ArgumentParser(prog="stages.download", description=__doc__)
    parser.add_argument("--params", default="params.yaml")
    parser.add_argument("--out", type=Path, required=True, help="folder to make")
    args = parser.parse_args(argv)

    params = load(args.params)
    record = fetch(params.download, args.out)
    print(f"{args.out}: {record['num_files']} files of {params.download.source} from {params.download.path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
