"""Score one training run on the test part of its fold: every picture of it, in the same composites from every seed."""

from __future__ import annotations

import sys
from pathlib import Path

from depthmask.base.arguments import add_split_options
from depthmask.base.entry_points import print_errors_as_lines
from depthmask.base.files import write_csv, write_json
from depthmask.base.terminal import show_stage
from depthmask.compute.device import prepare_device
from depthmask.cross_validation.arguments import make_own_parser
from depthmask.cross_validation.params import load_both
from depthmask.cross_validation.scoring import open_fold, score_fold
from depthmask.evaluation.score import make_metrics, make_rows, separate_baselines
from depthmask.models.inference import make_predict
from depthmask.models.model_file import load_model


@print_errors_as_lines
def main(argv: list[str] | None = None) -> int:
    parser = make_own_parser("score", __doc__)
    add_split_options(parser)
    parser.add_argument("--weights", type=Path, required=True, help="model file")
    parser.add_argument("--scores", type=Path, required=True, help="JSON file to write: scores of the fold's test part")
    parser.add_argument("--per-image", type=Path, required=True, help="CSV file to write: scores of each image")
    args = parser.parse_args(argv)

    params, _ = load_both(args.params, args.settings)
    with show_stage("score", str(args.weights)) as shown:
        model, device = load_model(args.weights), prepare_device(params.compute)
        fold = open_fold(args.raw, args.store, args.more, args.split)
        predict = make_predict(model, device, params.compute.channels_last)
        scores = score_fold(fold, params, predict, model.background_input, [])
        write_csv(args.per_image, *make_rows(scores))
        own, _ = separate_baselines(make_metrics(scores))
        write_json(args.scores, own)
        mask, depth = own["test"]["mask"], own["test"]["depth"]
        shown.result = f"{len(scores.identity)} images, mask IoU {mask['iou']}, depth delta1 {depth['delta1']}; {args.scores}"
    return 0


if __name__ == "__main__":
    sys.exit(main())
