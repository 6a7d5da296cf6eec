"""Write the lists of training, validation and test items, and the channel statistics of the training part."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from depthmask.base.arguments import add_source_options, make_stage_parser
from depthmask.base.entry_points import print_errors_as_lines
from depthmask.base.files import replace_folder
from depthmask.base.terminal import count, note
from depthmask.params import load_params
from depthmask.params.mixture import list_weights
from depthmask.runs.run_record import record_run
from depthmask.sources.folders import choose_data
from depthmask.split.writing import write_split


@print_errors_as_lines
def main(argv: list[str] | None = None, load: Callable[[str], Any] = load_params) -> int:
    """load: reads the params file; another graph's file has the same sections."""
    parser = make_stage_parser("split", __doc__)
    add_source_options(parser)
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--run", type=Path, help="JSON file to write: the run record")
    args = parser.parse_args(argv)

    params = load(args.params)
    weights = list_weights(params.download)
    in_force = {"seed": params.seed, "split": params.split.model_dump(), "compose": params.compose.model_dump()}
    in_force |= {"weights": weights} if weights else {}
    about = f"test {params.split.test:g}, validation {params.split.validation:g}, seed {params.split_seed}"
    with record_run("split", args.run, in_force, about) as run:
        data = choose_data(args.raw, args.store, args.more, list(weights))
        with replace_folder(args.out) as folder:
            counts, remarks = write_split(folder, data, params)
        for remark in remarks:
            note(remark)
        run.result = f"{describe_counts(counts)}; {args.out}"
    return 0


def describe_counts(counts: dict[str, dict[str, int]]) -> str:
    """How many items of each role are in each part."""
    return ", ".join(f"{part} " + " + ".join(count(num, role) for role, num in roles.items()) for part, roles in counts.items())


if __name__ == "__main__":
    sys.exit(main())
