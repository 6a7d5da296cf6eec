"""Scores a set of samples and writes its result files: of the test set, and of other data sets."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from depthmask.base.files import replace_folder, write_csv, write_json
from depthmask.evaluation.averaged import Average
from depthmask.evaluation.baselines import Baseline, make_baselines
from depthmask.evaluation.confidence import add_intervals, find_score_intervals, make_intervals
from depthmask.evaluation.depth_protocol import describe_caps
from depthmask.evaluation.score import Withhold, make_metrics, make_rows, score_samples, separate_baselines, track_batches
from depthmask.evaluation.scores_table import print_scores
from depthmask.evaluation.shown_samples import Align, write_samples
from depthmask.loading.dataset import open_samples
from depthmask.loading.sample_set import SampleSet
from depthmask.loading.split_files import Groups
from depthmask.metrics import Thresholds
from depthmask.metrics.protocol import PLAIN_PROTOCOL, DepthProtocol
from depthmask.models.inference import Predict
from depthmask.params import DepthParams, EvaluateParams, Params
from depthmask.scores import AVERAGED
from depthmask.sources.folders import Data


class ResultFiles(NamedTuple):
    """The files that an evaluation writes; samples is a folder."""

    metrics: Path
    baselines: Path
    intervals: Path
    per_image: Path
    samples: Path
    fixed_samples: Path


def fit_baselines(data: Data, split: Path, params: Params) -> list[Baseline]:
    """The baselines, fitted to plain training samples: the same whatever the training's composites look like."""
    evaluate = params.evaluate
    fitted = open_samples(
        data,
        split,
        "train",
        num_samples=evaluate.baseline_samples,
        image_size_px=evaluate.image_size_px,
        compose=params.compose.plain(),
        seed=params.split_seed,
    )
    return make_baselines(track_batches(fitted, evaluate.batch_size, "baselines"))


def write_results(
    files: ResultFiles,
    predict: Predict,
    samples: SampleSet,
    baselines: list[Baseline],
    depth: DepthParams,
    thresholds: Thresholds,
    evaluate: EvaluateParams,
    seed: int,
    groups: Groups | None = None,
    write_more: Callable[[Path], None] | None = None,
    protocol: DepthProtocol = PLAIN_PROTOCOL,
    *,
    title: str = "test set",
    withhold: Withhold = lambda family, name: None,
    align: Align | None = None,
    averaged: tuple[Average, SampleSet] | None = None,
) -> dict[str, Any]:
    """Score every sample, write all files, print the main scores and return the metrics, baselines included.

    depth: the declaration of the depth in which scores are. seed: of the intervals. groups: see `score_samples`.
    write_more: writes further images into the folder of samples. protocol: of the depth scores, from `make_protocol`. title: of
    the printed table. withhold: see `score_samples`. align: fits predicted depths to the truth for the images.
    averaged: scored too, on the same samples opened for it.
    """
    batches = track_batches(samples, evaluate.batch_size)
    scores = score_samples(predict, batches, baselines, depth.max, thresholds, groups, protocol, withhold)
    intervals = find_score_intervals(scores, depth.max, seed)
    metrics = add_intervals(make_metrics(scores), intervals)
    metrics["test"] |= describe_caps(protocol, depth.max)
    if averaged is not None:
        average, same = averaged
        batches = track_batches(same, evaluate.batch_size, "scoring the average")
        means = score_samples(average.predict, batches, [], depth.max, thresholds, groups, protocol)
        found = add_intervals(make_metrics(means), find_score_intervals(means, depth.max, seed))["test"]
        metrics[AVERAGED] = average.count() | found | describe_caps(protocol, depth.max)
    with replace_folder(files.samples) as folder:
        shown = evaluate.num_shown, evaluate.batch_size
        write_samples(folder, files.fixed_samples, predict, samples, scores, *shown, align=align)
        if write_more is not None:
            write_more(folder)
    write_csv(files.per_image, *make_rows(scores))
    own, beside = separate_baselines(metrics)
    write_json(files.metrics, own)
    write_json(files.baselines, beside)
    write_json(files.intervals, make_intervals(intervals))
    print_scores(metrics, depth.unit, title=title)
    return metrics
