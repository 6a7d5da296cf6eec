"""Predict mask and depth of your own photos; without ground truth there are no scores."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from depthmask.base.arguments import make_stage_parser
from depthmask.base.entry_points import print_errors_as_lines
from depthmask.base.files import replace_folder
from depthmask.base.terminal import count, note
from depthmask.compute.device import prepare_device
from depthmask.models.inference import make_predict
from depthmask.models.model_file import load_model
from depthmask.params import load_params
from depthmask.runs.run_record import record_run
from depthmask.serving.photos import find_unread, read_photos, write_predictions
from depthmask.serving.predictor import Predictor


@print_errors_as_lines
def main(argv: list[str] | None = None) -> int:
    args = _parse(argv)
    params = load_params(args.params)
    folder, size_px = params.evaluate.photos, params.evaluate.image_size_px
    device = prepare_device(params.compute)
    about = f"{folder}, {args.weights}, {size_px} px, {device.type}, {count(params.compute.threads, 'thread')}"
    in_force = {"evaluate": {"image_size_px": size_px, "photos": folder}, "compute": params.compute.model_dump()}
    with record_run("photos", args.run, in_force, about) as record:
        model = load_model(args.weights)
        predictor = Predictor(make_predict(model, device, params.compute.channels_last), model.card, size_px)
        photos, skipped = read_photos(Path(folder), predictor)
        with replace_folder(args.out) as out:
            write_predictions(out, photos, skipped, predictor)
        for line in filter(None, (skipped, find_unread(Path(folder)))):
            note(line)
        record.result = f"{count(len(photos), 'photo')}; {args.out}"
    return 0


def _parse(argv: list[str] | None) -> argparse.Namespace:
    parser = make_stage_parser("photos", __doc__)
    parser.add_argument("--weights", type=Path, required=True, help="model file")
    parser.add_argument("--out", type=Path, required=True, help="folder to write: predictions for each photo")
    parser.add_argument("--run", type=Path, required=True, help="JSON file to write: the run record")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
