"""Write the weights that training starts from, with their origin and licence."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path

from depthmask.base.arguments import make_stage_parser
from depthmask.base.entry_points import print_errors_as_lines
from depthmask.base.files import replace_folder
from depthmask.base.terminal import note
from depthmask.params import Params, load_params
from depthmask.runs.run_record import record_run
from depthmask.weights.init import read_init
from depthmask.weights.start import write_start
from depthmask.weights.start_folder import INIT, StartRecord


@print_errors_as_lines
def main(argv: list[str] | None = None) -> int:
    parser = make_stage_parser("weights", __doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--run", type=Path, required=True, help="JSON file to write: the run record")
    args = parser.parse_args(argv)

    params = load_params(args.params)
    with record_run("weights", args.run, {"model": params.model.model_dump()}, f"model.name: {params.model.name}") as record:
        with replace_folder(args.out) as folder:
            start = write_start(params.model, folder)
            differences = list_differences(start, folder, params)
        for difference in differences:
            note(difference)
        record.extra |= {"encoder": start.encoder and asdict(start.encoder), "init": start.init and asdict(start.init)}
        record.extra["differences"] = differences
        record.result = f"{describe_origin(start)}; {args.out}"
    return 0


def list_differences(start: StartRecord, folder: Path, params: Params) -> list[str]:
    """What differs between the model file to start from and params.yaml, and may; UserError where it may not."""
    if start.init is None:
        return []
    depth = params.download.depth.model_dump()
    return read_init(folder / INIT, start.init.source, params.model.network, depth).notes


def describe_origin(start: StartRecord) -> str:
    """Where the weights are from, and their licence."""
    origin = start.init or start.encoder
    return "random" if origin is None else f"{origin.source} ({origin.licence or 'licence unknown'})"


if __name__ == "__main__":
    sys.exit(main())
