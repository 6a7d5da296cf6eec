"""Score the trained model, and the baselines, on another data set, all of which is test data."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from depthmask.base.arguments import add_result_options, add_split_options, make_stage_parser
from depthmask.base.entry_points import print_errors_as_lines
from depthmask.base.errors import UserError
from depthmask.base.files import read_json
from depthmask.base.terminal import count, note, warn
from depthmask.compute.device import prepare_device
from depthmask.evaluation.depth_protocol import find_fault_of_crop
from depthmask.evaluation.origin import read_depth_scale, require_same_depth
from depthmask.evaluation.results import ResultFiles, fit_baselines, write_results
from depthmask.loading.split_files import read_weights
from depthmask.metrics import find_thresholds
from depthmask.models.inference import make_predict
from depthmask.models.model_file import count_parameters, load_model
from depthmask.other_sets.comparing import compare_depths
from depthmask.other_sets.describing import describe_set, explain_range, warn_of_matches
from depthmask.other_sets.matching import match_pictures
from depthmask.other_sets.samples import knows_masks, open_whole
from depthmask.params import load_params
from depthmask.params.other_sets import find_other_set, name_other_set
from depthmask.runs.run_record import record_run
from depthmask.sources import open_source, read_record
from depthmask.sources.folders import choose_data, choose_folder

NOT_READ = ("photos", "more", "flip", "ensemble")  # of the section evaluate, but for the set's own entry in `more`


@print_errors_as_lines
def main(argv: list[str] | None = None) -> int:
    args = _parse(argv)
    params, name = load_params(args.params), args.name
    evaluate, declared = params.evaluate, find_other_set(params, name, "--name")
    device = prepare_device(params.compute)
    about = f"{name}, {args.weights}, {evaluate.image_size_px} px, {device.type}, {count(params.compute.threads, 'thread')}"
    scoring = {key: value for key, value in evaluate.model_dump().items() if key not in NOT_READ}
    in_force = {"seed": params.split_seed, "compose": params.compose.model_dump(), "compute": params.compute.model_dump()}
    in_force |= {"evaluate": scoring, "evaluate_other": {name: declared.model_dump()}}
    with record_run(f"evaluate {name}", args.run, in_force, about) as record:
        data = choose_data(args.raw, args.store, args.more, list(read_weights(args.split)))
        model, trained_on = load_model(args.weights), read_depth_scale(data)
        require_same_depth(model.card, trained_on, args.weights, args.raw)
        source = open_source(choose_folder(args.set_raw, args.set_store))
        comparison = compare_depths(source.scale, trained_on)
        if comparison.scored == "nothing" and not knows_masks(source):
            raise UserError(f"{name_other_set(name)}.{comparison.reason}; it has no masks either, so nothing can be scored")
        origin = describe_set(name, read_record(source.root, "download"), comparison)
        record.extra["source"] = origin
        record.extra["model"] = {**model.card.settings, "num_parameters": count_parameters(model)}
        matches = match_pictures(source, declared, data, args.split, params.split, params.compose.fit)
        shared = list(warn_of_matches(name, matches))
        for line in shared:
            warn(line)
        predict = comparison.wrap(make_predict(model, device, params.compute.channels_last))
        baselines = [comparison.map_baseline(baseline) for baseline in fit_baselines(data, args.split, params)]
        samples = open_whole(source, declared, params, comparison, model.background_input)
        thresholds = find_thresholds(read_json(args.split / "statistics.json")["channels"])
        files = ResultFiles(args.metrics, args.baselines, args.intervals, args.per_image, args.samples, args.fixed_samples)
        crop_fault = find_fault_of_crop(args.set_raw, evaluate, params.compose)
        protocol = comparison.make_protocol(evaluate, params.compose.fit, crop_fault is None)
        common = comparison.scale, thresholds, evaluate, params.split_seed, matches.groups
        options = {"protocol": protocol, "withhold": comparison.find_reason, "align": comparison.align, "title": name}
        write_results(files, predict, samples, baselines, *common, **options)
        fractions = samples.describe_range()
        lines = [f"{name}: not scored in the crop, because {crop_fault}"] if crop_fault else []
        lines += explain_range(name, fractions, comparison, source.scale.max)
        for line in lines:
            note(line)
        origin |= fractions | {"warnings": [*origin["warnings"], *shared], "notes": lines}
        record.result = f"{len(samples):,} images; {args.metrics}, {args.per_image}"
    return 0


def _parse(argv: list[str] | None) -> argparse.Namespace:
    parser = make_stage_parser("evaluate_other", __doc__)
    add_split_options(parser)
    parser.add_argument("--name", required=True, help="name of the data set in evaluate.more")
    parser.add_argument("--set-raw", type=Path, required=True, help="folder that the stage download_other wrote")
    parser.add_argument("--set-store", type=Path, help="folder that the stage pack_other wrote, for pre-composited samples")
    parser.add_argument("--weights", type=Path, required=True, help="model file")
    add_result_options(parser)
    parser.add_argument("--run", type=Path, required=True, help="JSON file to write: the run record")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
