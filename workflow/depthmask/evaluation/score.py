"""Scores of a model over a set of samples, and of the answers that need no network beside it.

Shapes: B pictures of H x W; N pictures in the whole set.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from depthmask.base.errors import UserError
from depthmask.base.terminal import track
from depthmask.data.batch import Batch, collate
from depthmask.data.sample import Sample
from depthmask.evaluation.baselines import Baseline
from depthmask.loading.dataset import SampleSet
from depthmask.metrics import Thresholds, gather, join_batches, mean_over_images, pooled, score, score_family
from depthmask.metrics.reduce import Scores, Statistics
from depthmask.registry.scores import POOLED, SCORES

IDENTITY_COLUMNS = (
    "key",
    "background",
    "cutout",
    "kind",
    "mask_fraction",
    "valid_fraction",
    "foreground_depth",  # mean, in the unit of depth, like the next three
    "scene_near",
    "scene_far",
    "foreground_x",  # of the centre of mass, 0..1 from the left and from the top
    "foreground_y",
)
SCENE_PERCENTILES = (5, 95)
SIGNIFICANT_DIGITS = 6


class Answer(NamedTuple):
    """What a model says of a batch: the probability of foreground and the depth, both 0..1, float32 on the CPU."""

    mask_prob_B1HW: Tensor
    depth_B1HW: Tensor


Predict = Callable[[Batch], Answer]


@dataclass(frozen=True)
class TestScores:
    """identity: one mapping a picture, with IDENTITY_COLUMNS. scores: by family and key, N values, NaN where undefined.

    summary: by family and key, the means over images and, as `..._pooled`, the pooled ones. baselines: the same by the
    baseline's name and key.
    """

    identity: list[dict[str, Any]]
    scores: dict[str, Scores]
    summary: dict[str, dict[str, float]]
    baselines: dict[str, dict[str, float]]

    def value(self, family: str, key: str, index: int) -> float:
        return float(self.scores[family][key][index])


def make_predict(model: torch.nn.Module, device: torch.device | str, channels_last: bool = False) -> Predict:
    """Predictions under inference mode in float32, whatever the model was trained in.

    The function raises UserError when the model's answer is not finite.
    """
    model = model.to(device, memory_format=torch.channels_last if channels_last else torch.contiguous_format).eval()

    @torch.inference_mode()
    def predict(batch: Batch) -> Answer:
        batch = batch.to(device, channels_last)
        prediction = model(batch.image_B3HW, batch.background_B3HW)
        answer = Answer(prediction.mask_prob_B1HW.cpu(), prediction.depth_clamped_B1HW.cpu())
        if not all(torch.isfinite(values.sum()) for values in answer):  # of 0 to 1: no sum of them overflows
            raise UserError(
                f"the weights give predictions that are not finite, first among {batch.keys[0]} .. {batch.keys[-1]}",
                hint="train again with a lower learning_rate of pretrain or finetune, or with their clip_norm set",
            )
        return answer

    return predict


def iterate_batches(samples: SampleSet, indices: Sequence[int], batch_size: int) -> Iterator[list[Sample]]:
    """Samples in the order of `indices`, in lists of at most batch_size."""
    for start in range(0, len(indices), batch_size):
        yield [samples.sample(index) for index in indices[start : start + batch_size]]


def track_batches(samples: SampleSet, batch_size: int) -> Iterator[list[Sample]]:
    """All of them, with a bar."""
    batches = iterate_batches(samples, range(len(samples)), batch_size)
    return track(batches, "scoring", "batches", -(-len(samples) // batch_size))


def score_samples(
    predict: Predict,
    batches: Iterable[list[Sample]],
    baselines: Sequence[Baseline],
    max_depth: float,
    thresholds: Thresholds | None = None,
) -> TestScores:
    """Score the predictions and the baselines on every sample.

    max_depth: the depth that 1 stands for. thresholds: of `metrics.find_thresholds`; None leaves some published scores out.
    """
    identity: list[dict[str, Any]] = []
    gathered: dict[str, list[dict[str, Statistics]]] = {"": [], **{baseline.name: [] for baseline in baselines}}
    for samples in batches:
        batch = collate(samples)
        identity.extend(describe_sample(sample, max_depth) for sample in samples)
        gathered[""].append(gather(*predict(batch), batch, thresholds=thresholds))
        for baseline in baselines:
            answer = baseline.answer_11HW.expand_as(batch.mask_B1HW)
            gathered[baseline.name].append(gather(answer, answer, batch, families=(baseline.family,)))
    joined = {name: _join(parts) for name, parts in gathered.items()}
    own = joined.pop("")
    return TestScores(
        identity=identity,
        scores=score(own, max_depth),
        summary=_summarise(own, max_depth),
        baselines={b.name: _summarise(joined[b.name], max_depth)[b.family] for b in baselines},
    )


def _summarise(statistics: dict[str, Statistics], max_depth: float) -> dict[str, dict[str, float]]:
    """By family: every score as the mean over images, and some of them over the pooled set."""
    summary = {}
    for family, sums in statistics.items():
        whole = pooled(sums, lambda total, family=family: score_family(family, total, max_depth))
        names = [spec.name for spec in SCORES.values() if spec.family == family and spec.pooled and spec.name in whole]
        pooled_scores = {f"{name}{POOLED}": whole[name] for name in names}
        summary[family] = mean_over_images(score_family(family, sums, max_depth)) | pooled_scores
    return summary


def _join(parts: list[dict[str, Statistics]]) -> dict[str, Statistics]:
    return {family: join_batches([part[family] for part in parts]) for family in parts[0]}


def describe_sample(sample: Sample, max_depth: float) -> dict[str, Any]:
    """What a picture shows: its parts, how much of it is foreground and where, where depth is known, how far things are."""
    foreground = sample.mask >= 0.5
    known = foreground & sample.valid
    rows, columns = np.nonzero(foreground)
    scene = np.percentile(sample.depth[sample.valid], SCENE_PERCENTILES) * max_depth if sample.valid.any() else None
    return {
        "key": sample.key,
        "background": sample.background_key,
        "cutout": sample.cutout_key or "",
        "kind": sample.kind or "",
        "mask_fraction": round_score(float(foreground.mean())),
        "valid_fraction": round_score(float(sample.valid.mean())),
        "foreground_depth": round_score(float(sample.depth[known].mean(dtype="float64")) * max_depth) if known.any() else "",
        "scene_near": "" if scene is None else round_score(float(scene[0])),
        "scene_far": "" if scene is None else round_score(float(scene[1])),
        "foreground_x": _find_centre(columns, sample.mask.shape[1]),
        "foreground_y": _find_centre(rows, sample.mask.shape[0]),
    }


def _find_centre(places: np.ndarray, size: int) -> float | str:
    """The mean of pixels' places along a side as a part of it; empty where there is no pixel."""
    return round_score((float(places.mean()) + 0.5) / size) if places.size else ""


def make_metrics(scores: TestScores) -> dict[str, Any]:
    """Means over images, nested by task; `..._pooled` beside them; baselines by name.

    A score that is undefined over the whole set (no depth known) is null.
    """
    with_depth = sum(not math.isnan(value) for value in scores.scores["depth"]["rmse"].tolist())
    return {
        "test": {
            **{family: _round_all(values) for family, values in scores.summary.items()},
            "num_images": len(scores.identity),
            "num_images_with_depth": with_depth,
            "baselines": {name: _round_all(values) for name, values in scores.baselines.items()},
        }
    }


def separate_baselines(metrics: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The contents of metrics.json and of baselines.json, whose many columns would drown the former in DVC's tables."""
    own = {name: value for name, value in metrics["test"].items() if name != "baselines"}
    return {"test": own}, {"test": metrics["test"]["baselines"]}


def _round_all(values: dict[str, float]) -> dict[str, float | None]:
    return {key: round_score(value) for key, value in values.items()}


def make_rows(scores: TestScores) -> tuple[list[str], list[dict[str, Any]]]:
    """Columns and rows of per_image.csv: identity, then `mask_...` and `depth_...`; an undefined score is empty."""
    flat = {f"{family}_{key}": values.tolist() for family, named in scores.scores.items() for key, values in named.items()}
    rows = []
    for index, identity in enumerate(scores.identity):
        values = {key: round_score(column[index]) for key, column in flat.items()}
        rows.append(identity | {key: "" if value is None else value for key, value in values.items()})
    return [*IDENTITY_COLUMNS, *flat], rows


def rank_samples(scores: TestScores, family: str, key: str, best_first: bool = False) -> list[int]:
    """Indices from the worst to the best, or the other way round, by a score of which more is better.

    Equal ones stand in the order of the set; undefined ones are left out.
    """
    values = scores.scores[family][key].tolist()
    defined = [index for index, value in enumerate(values) if not math.isnan(value)]
    return sorted(defined, key=lambda index: -values[index] if best_first else values[index])


def round_score(value: float) -> float | None:
    """Six significant digits, so that files are short and the last bits of a sum do not show; None if not finite."""
    return float(f"{value:.{SIGNIFICANT_DIGITS}g}") if math.isfinite(value) else None
