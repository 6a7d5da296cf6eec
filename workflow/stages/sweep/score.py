"""Score one trial on the validation images, which are the same for all trials."""

from __future__ import annotations

import sys
from pathlib import Path

from depthmask.base.entry_points import print_errors_as_lines
from depthmask.base.files import read_json, write_json
from depthmask.base.terminal import show_stage
from depthmask.loading.split_files import read_weights
from depthmask.scores.labels import format_score
from depthmask.sources.folders import choose_data
from depthmask.sweep.places import SweepParser, add_data_options, find_plan, load_params_of
from depthmask.sweep.planning import read_base
from depthmask.sweep.scoring import make_result, score_trial
from depthmask.sweep.trial import read_trial


@print_errors_as_lines
def main(argv: list[str] | None = None) -> int:
    parser = SweepParser("score", __doc__)
    parser.add_argument("--trial", type=Path, required=True, help="JSON file written by the suggest stage")
    add_data_options(parser)
    parser.add_argument("--weights", type=Path, required=True, help="model file")
    parser.add_argument("--history", type=Path, required=True, help="CSV file written by the train stage")
    parser.add_argument("--outcome", type=Path, required=True, help="JSON file written by the train stage")
    parser.add_argument("--result", type=Path, required=True, help="JSON file to write")
    args = parser.parse_args(argv)

    trial, params, shared = read_trial(args.trial), load_params_of(args.folder), read_base(find_plan(args.folder))
    diverged = read_json(args.outcome)["diverged"]
    with show_stage(f"score {trial.name}", str(args.weights)) as shown:
        scored = None
        if diverged is None:
            data = choose_data(args.raw, args.store, args.more, list(read_weights(args.split)))
            scored = score_trial(trial, params, shared, data, args.split, args.weights)
        result = make_result(trial, params, args.history, diverged, scored)
        write_json(args.result, result.model_dump())
        shown.result = f"{result.outcome}, {' and '.join(params.optimise)} {format_score(result.score)}; {args.result}"
    return 0


if __name__ == "__main__":
    sys.exit(main())
