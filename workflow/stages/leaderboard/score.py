"""Score one trained recipe on the common test images, predicted at the size it was last trained at."""

from __future__ import annotations

import sys
from pathlib import Path

from depthmask.base.arguments import add_split_options, make_stage_parser
from depthmask.base.entry_points import print_errors_as_lines
from depthmask.base.files import write_csv, write_json, write_text
from depthmask.base.terminal import note, show_stage
from depthmask.compute.device import prepare_device
from depthmask.evaluation.depth_protocol import make_protocol
from depthmask.evaluation.score import make_metrics, make_rows, score_samples, separate_baselines, track_batches
from depthmask.leaderboard.params import load_leaderboard_params
from depthmask.leaderboard.plan import load_plan
from depthmask.leaderboard.scoring import open_test_pictures, predict_at
from depthmask.loading.split_files import read_groups
from depthmask.models.inference import make_predict
from depthmask.models.model_file import load_model
from depthmask.sources import choose_folder, open_source


@print_errors_as_lines
def main(argv: list[str] | None = None) -> int:
    parser = make_stage_parser("leaderboard.score", __doc__)
    parser.add_argument("--plan", type=Path, required=True, help="JSON file written by the plan stage")
    add_split_options(parser)
    parser.add_argument("--weights", type=Path, required=True, help="model file")
    parser.add_argument("--scores", type=Path, required=True, help="JSON file to write")
    parser.add_argument("--images", type=Path, required=True, help="CSV file to write: scores of each image")
    args = parser.parse_args(argv)

    params, plan = load_leaderboard_params(args.params), load_plan(args.plan)
    if plan.missing:
        write_json(args.scores, {"missing": plan.missing})
        write_text(args.images, "")  # a stage must write its outputs; their readers check the plan first
        note(f"recipe {plan.recipe} is skipped: {plan.missing}")
        return 0
    with show_stage(f"score {plan.recipe}", str(args.weights)) as shown:
        model, device = load_model(args.weights), prepare_device(params.compute)
        raw = choose_folder(args.raw, args.store)
        test = open_test_pictures(params, raw, args.split, with_background=model.background_input)
        predict = predict_at(make_predict(model, device, params.compute.channels_last), model.card.image_size_px)
        batches = track_batches(test, params.evaluate.batch_size)
        scale = open_source(raw).scale
        groups = read_groups(args.split, "test")
        scores = score_samples(predict, batches, [], scale.max, groups=groups, protocol=make_protocol(scale))
        own, _ = separate_baselines(make_metrics(scores))
        write_json(args.scores, own)
        write_csv(args.images, *make_rows(scores))
        mask, depth = own["test"]["mask"], own["test"]["depth"]
        shown.result = f"{len(test)} images, mask IoU {mask['iou']}, depth delta1 {depth['delta1']}; {args.scores}"
    return 0


if __name__ == "__main__":
    sys.exit(main())
