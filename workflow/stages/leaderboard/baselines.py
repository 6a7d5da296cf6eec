"""Score the baselines on the common test images."""

from __future__ import annotations

import sys
from pathlib import Path

from depthmask.base.arguments import add_split_options, make_stage_parser
from depthmask.base.entry_points import print_errors_as_lines
from depthmask.base.files import read_json, write_json
from depthmask.base.terminal import show_stage
from depthmask.compute.device import prepare_cpu
from depthmask.evaluation.baselines import make_baselines
from depthmask.evaluation.confidence import add_intervals, find_score_intervals
from depthmask.evaluation.depth_protocol import make_protocol
from depthmask.evaluation.score import make_metrics, score_samples, separate_baselines, track_batches
from depthmask.leaderboard.params import load_leaderboard_params
from depthmask.leaderboard.scoring import open_test_pictures, predict_nothing
from depthmask.loading.dataset import open_samples
from depthmask.loading.loader import load_in_order
from depthmask.loading.split_files import read_groups
from depthmask.sources import RECORD, choose_folder, open_source


@print_errors_as_lines
def main(argv: list[str] | None = None) -> int:
    parser = make_stage_parser("leaderboard.baselines", __doc__)
    add_split_options(parser)
    parser.add_argument("--scores", type=Path, required=True, help="JSON file to write")
    args = parser.parse_args(argv)

    params = load_leaderboard_params(args.params)
    with show_stage("baselines", "trivial predictions, without a network") as shown:
        prepare_cpu(params.compute)  # sets the threads: sums must not depend on who started this
        raw = choose_folder(args.raw, args.store)
        evaluate, scale = params.evaluate, open_source(raw).scale
        training = open_samples(
            raw,
            args.split,
            "train",
            image_size_px=evaluate.image_size_px,
            compose=params.compose.plain(),
            seed=params.split_seed,
            num_samples=evaluate.baseline_samples,
        )
        baselines = make_baselines(load_in_order(training, evaluate.batch_size))
        test = open_test_pictures(params, raw, args.split, with_background=False)
        batches = track_batches(test, evaluate.batch_size)
        groups = read_groups(args.split, "test")
        scores = score_samples(predict_nothing, batches, baselines, scale.max, groups=groups, protocol=make_protocol(scale))
        intervals = find_score_intervals(scores, scale.max, params.split_seed)
        _, beside = separate_baselines(add_intervals(make_metrics(scores), intervals))
        source = {"name": read_json(raw / RECORD)["download"]["source"], "depth_unit": scale.unit, "num_images": len(test)}
        write_json(args.scores, {**beside, "source": source})
        shown.result = f"{len(baselines)} baselines on {len(test)} images; {args.scores}"
    return 0


if __name__ == "__main__":
    sys.exit(main())
