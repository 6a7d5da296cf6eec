"""Scores a trial on the validation part, never on the test part.

The best of many trials is chosen by this score, so it is a little too good for what it is: the more trials, the more of it is
luck. The test part, which no trial has seen and no choice was made by, says afterwards how good the best one is.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from depthmask.base.files import read_csv
from depthmask.compute.device import prepare_device
from depthmask.evaluation.depth_protocol import make_protocol
from depthmask.evaluation.origin import read_depth_scale
from depthmask.evaluation.score import make_rows, score_samples, track_batches
from depthmask.leaderboard.scoring import predict_at
from depthmask.loading.dataset import open_samples
from depthmask.loading.split_files import read_groups
from depthmask.models.inference import make_predict
from depthmask.models.model_file import load_model
from depthmask.params import Params
from depthmask.scores import SCORES
from depthmask.scores.rounding import round_score
from depthmask.sources.folders import Data
from depthmask.sweep.intervals import measure_intervals
from depthmask.sweep.params import SweepParams
from depthmask.sweep.trial import DIVERGED, FINISHED, STOPPED, Result, Trial
from depthmask.training.stopping import find_score, find_stop

SPECS = {spec.column: spec for spec in SCORES.values()}


def score_trial(
    trial: Trial, params: SweepParams, shared: Params, data: Data, split: Path, weights: Path
) -> tuple[dict[str, float | None], dict[str, Any], int]:
    """Mean scores by column, their intervals and that of their mean (`score`), and the number of images.

    Images are made at the size of `evaluate`, and predicted at the size that the trial was last trained at.
    """
    model, device = load_model(weights), prepare_device(trial.compute)
    images = open_samples(
        data,
        split,
        "validation",
        image_size_px=shared.evaluate.image_size_px,
        compose=shared.compose,
        seed=shared.split_seed,
        num_samples=params.score_images,
        with_background=model.background_input,
    )
    predict = predict_at(make_predict(model, device, trial.compute.channels_last), model.card.image_size_px)
    groups = read_groups(split, "validation")
    depth = read_depth_scale(data)
    batches = track_batches(images, shared.evaluate.batch_size)
    scores = score_samples(predict, batches, [], depth.max, groups=groups, protocol=make_protocol(depth))
    means = {column: round_score(_find_mean(scores.summary, column)) for column in params.optimise}
    _, rows = make_rows(scores)
    return means, measure_intervals(rows, params.optimise, find_mean_score(means), shared.split_seed), len(images)


def _find_mean(summary: Mapping[str, Mapping[str, float]], column: str) -> float:
    spec = SPECS[column]
    return summary[spec.family].get(spec.name, math.nan)


def make_result(trial: Trial, params: SweepParams, history: Path, diverged: str | None, scored: tuple | None) -> Result:
    """Join what the training left, its history and why it diverged, with `score_trial`; scored: None if it diverged."""
    rows = [{**row, "step": int(row["step"])} for row in read_csv(history)] if scored is not None else []
    means, intervals, num_images = scored or (dict.fromkeys(params.optimise), {}, 0)
    stop = find_stop(trial.stop, rows)
    outcome, reason = FINISHED, None
    if scored is None:
        outcome, reason = DIVERGED, diverged
    elif stop is not None:
        outcome, reason = STOPPED, f"below {stop.at_least:.4f} at step {stop.step} of {trial.steps}"
    return Result(
        name=trial.name,
        values=trial.values,
        outcome=outcome,
        reason=reason,
        score=find_mean_score(means),
        scores=means,
        intervals=intervals,
        curve=[(row["step"], round_score(find_score(row, params.optimise))) for row in rows],
        steps=rows[-1]["step"] if rows else 0,
        planned_steps=trial.steps,
        num_images=num_images,
    )


def find_mean_score(means: Mapping[str, float | None]) -> float | None:
    """The mean of the scores that a sweep optimises; None if one is unknown."""
    values = means.values()
    return None if None in values else round_score(math.fsum(values) / len(values))
