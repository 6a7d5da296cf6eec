"""Score the test set and the baselines."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from depthmask.base.arguments import add_result_options, add_split_options, make_stage_parser
from depthmask.base.entry_points import print_errors_as_lines
from depthmask.base.files import read_json
from depthmask.base.terminal import count
from depthmask.compute.device import prepare_device
from depthmask.evaluation.augmented import write_augmented
from depthmask.evaluation.averaged import open_average
from depthmask.evaluation.depth_protocol import make_protocol, require_nyu_frames
from depthmask.evaluation.origin import describe_data, read_depth_scale, require_same_depth
from depthmask.evaluation.results import ResultFiles, fit_baselines, write_results
from depthmask.loading.dataset import open_samples
from depthmask.loading.sample_set import SampleSet
from depthmask.loading.split_files import read_groups, read_weights
from depthmask.metrics import find_thresholds
from depthmask.models.inference import make_predict
from depthmask.models.model_file import count_parameters, load_model
from depthmask.params import load_params
from depthmask.runs.run_record import record_run
from depthmask.sources.folders import choose_data


@print_errors_as_lines
def main(argv: list[str] | None = None) -> int:
    args = _parse(argv)
    params = load_params(args.params)
    evaluate = params.evaluate
    device = prepare_device(params.compute)
    about = f"{args.weights}, {evaluate.image_size_px} px, {device.type}, {count(params.compute.threads, 'thread')}"
    in_force = {"seed": params.split_seed} | {
        name: getattr(params, name).model_dump() for name in ("compose", "evaluate", "compute")
    }
    for key in ("photos", "more"):  # read by the stages photos and evaluate_other
        del in_force["evaluate"][key]
    with record_run("evaluate", args.run, in_force, about) as record:
        names = list(read_weights(args.split))
        data = choose_data(args.raw, args.store, args.more, names)
        model, origin = load_model(args.weights), describe_data(data, args.split)
        card, depth = model.card, read_depth_scale(data)  # not from params.yaml, which may have changed since
        require_same_depth(card, depth, args.weights, args.raw)
        if evaluate.depth_crop is not None:
            require_nyu_frames([args.raw, *(args.more / name for name in names[1:])], params.compose)
        predict = make_predict(model, device, params.compute.channels_last)
        average = open_average(args.weights, model, predict, params, depth, device)
        record.extra["source"] = origin
        record.extra["model"] = {**card.settings, "num_parameters": count_parameters(model)}
        record.extra |= {} if average is None else {"averaged": average.describe()}
        common = {"image_size_px": evaluate.image_size_px, "compose": params.compose, "seed": params.split_seed}
        baselines = fit_baselines(data, args.split, params)

        def open_test(background_input: bool) -> SampleSet:
            num = evaluate.num_samples
            return open_samples(data, args.split, "test", num_samples=num, with_background=background_input, **common)

        test = open_test(model.background_input)
        averaged = None if average is None else (average, open_test(average.background_input))
        thresholds = find_thresholds(read_json(args.split / "statistics.json")["channels"])

        def write_training(folder: Path) -> None:
            training = open_samples(data, args.split, "train", num_samples=evaluate.baseline_samples, prepare=False, **common)
            write_augmented(folder, training, params.augment)

        files = ResultFiles(args.metrics, args.baselines, args.intervals, args.per_image, args.samples, args.fixed_samples)
        groups, seed = read_groups(args.split, "test"), params.split_seed
        protocol = make_protocol(depth, evaluate, params.compose.fit)
        options = {"groups": groups, "write_more": write_training, "protocol": protocol, "averaged": averaged}
        write_results(files, predict, test, baselines, depth, thresholds, evaluate, seed, **options)
        if args.other is not None:
            args.other.mkdir(parents=True, exist_ok=True)
        record.result = f"{len(test):,} images; {args.metrics}, {args.per_image}"
    return 0


def _parse(argv: list[str] | None) -> argparse.Namespace:
    parser = make_stage_parser("evaluate", __doc__)
    add_split_options(parser)
    parser.add_argument("--weights", type=Path, required=True, help="model file")
    add_result_options(parser)
    other = "folder of the results on other data sets, made if it is missing: the report reads it, even if there are none"
    parser.add_argument("--other", type=Path, help=other)
    parser.add_argument("--run", type=Path, required=True, help="JSON file to write: the run record")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
