"""Score the baselines, fitted to a fold's training part, on its test part."""

from __future__ import annotations

import sys
from pathlib import Path

from depthmask.base.arguments import add_split_options
from depthmask.base.entry_points import print_errors_as_lines
from depthmask.base.files import write_json
from depthmask.base.terminal import show_stage
from depthmask.compute.device import prepare_cpu
from depthmask.cross_validation.arguments import make_own_parser
from depthmask.cross_validation.params import load_both
from depthmask.cross_validation.scoring import open_fold, score_fold
from depthmask.evaluation.origin import describe_data
from depthmask.evaluation.results import fit_baselines
from depthmask.evaluation.score import make_metrics, separate_baselines
from depthmask.leaderboard.scoring import predict_nothing


@print_errors_as_lines
def main(argv: list[str] | None = None) -> int:
    parser = make_own_parser("baselines", __doc__)
    add_split_options(parser)
    parser.add_argument("--scores", type=Path, required=True, help="JSON file to write")
    args = parser.parse_args(argv)

    params, _ = load_both(args.params, args.settings)
    with show_stage("baselines", "trivial predictions, without a network") as shown:
        prepare_cpu(params.compute)  # sets the threads: sums must not depend on who started this
        fold = open_fold(args.raw, args.store, args.more, args.split)
        baselines = fit_baselines(fold.data, fold.split, params)
        scores = score_fold(fold, params, predict_nothing, with_background=False, baselines=baselines)
        _, beside = separate_baselines(make_metrics(scores))
        num_images = len(scores.identity)
        write_json(args.scores, {**beside, "num_images": num_images, "source": describe_data(fold.data, args.split)})
        shown.result = f"{len(baselines)} baselines on {num_images} images; {args.scores}"
    return 0


if __name__ == "__main__":
    sys.exit(main())
