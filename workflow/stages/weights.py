"""Write the weights that training starts from, with their origin and licence."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path

from depthmask.base.arguments import make_stage_parser
from depthmask.base.entry_points import print_errors_as_lines
from depthmask.base.files import replace_folder
from depthmask.params import load_params
from depthmask.runs.run_record import record_run
from depthmask.weights.start import write_start


@print_errors_as_lines
def main(argv: list[str] | None = None) -> int:
    parser = make_stage_parser("weights", __doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--run", type=Path, required=True, help="JSON file to write: the run record")
    args = parser.parse_args(argv)

    model = load_params(args.params).model
    in_force = {"model": model.model_dump(include={"name", "encoder", "encoder_weights"})}
    with record_run("weights", args.run, in_force, f"model.name: {model.name}") as record:
        with replace_folder(args.out) as folder:
            encoder = write_start(model, folder)
        record.extra["encoder"] = asdict(encoder) if encoder else None
        record.result = f"{encoder.source} ({encoder.licence}); {args.out}" if encoder else f"random; {args.out}"
    return 0


if __name__ == "__main__":
    sys.exit(main())
