"""Scores on the test part of a fold: as the project's stage evaluate does it without caps or crop, on every picture of the part.

The test composites depend on the seed of the split and the fold, not on that of a training: so all seeds are scored on the same
images.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from depthmask.base.files import read_json
from depthmask.cross_validation.scored_part import ScoredPart, read_scored_part
from depthmask.evaluation.baselines import Baseline
from depthmask.evaluation.depth_protocol import make_protocol
from depthmask.evaluation.origin import read_depth_scale
from depthmask.evaluation.score import TestScores, score_samples, track_batches
from depthmask.loading.dataset import open_samples
from depthmask.loading.split_files import read_groups, read_weights
from depthmask.metrics import find_thresholds
from depthmask.models.inference import Predict
from depthmask.params import Params
from depthmask.sources.folders import Data, choose_data


@dataclass(frozen=True)
class OpenFold:
    """A fold's data and split, and what its test part holds."""

    data: Data
    split: Path
    part: ScoredPart


def open_fold(raw: Path, store: Path | None, more: Path | None, split: Path) -> OpenFold:
    """Raises UserError as `choose_data`."""
    return OpenFold(choose_data(raw, store, more, list(read_weights(split))), split, read_scored_part(split))


def score_fold(
    fold: OpenFold, params: Params, predict: Predict, with_background: bool, baselines: Sequence[Baseline]
) -> TestScores:
    """Score the test part: evaluate.num_samples images, and more if it takes more to see every picture once."""
    evaluate = params.evaluate
    test = open_samples(
        fold.data,
        fold.split,
        "test",
        image_size_px=evaluate.image_size_px,
        compose=params.compose,
        seed=params.split_seed,
        num_samples=max(evaluate.num_samples, fold.part.num_needed),
        with_background=with_background,
    )
    thresholds = find_thresholds(read_json(fold.split / "statistics.json")["channels"])
    batches = track_batches(test, evaluate.batch_size)
    groups = read_groups(fold.split, "test")
    depth = read_depth_scale(fold.data)
    return score_samples(predict, batches, baselines, depth.max, thresholds, groups, make_protocol(depth))
