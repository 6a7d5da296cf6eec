"""Scores of predictions against the truth: one family a file, each with its protocol in its docstring.

A family gathers sums per picture (`gather`) and turns sums, of one picture or of a whole set, into scores (`score`).
To add a family, write its file and name it in FAMILIES; its scores then appear as `<family>_<score>` in the history, in
`per_image.csv` and, nested by family, in `metrics.json`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from depthmask.base.errors import NotFiniteError
from depthmask.metrics.depth import gather_depth, measure_depth, score_depth
from depthmask.metrics.mask import gather_mask, measure_mask, score_mask
from depthmask.metrics.published import Thresholds, find_thresholds, gather_published, score_published
from depthmask.metrics.reduce import Scores, Statistics, join_batches, mean_over_images, pooled

__all__ = [
    "FAMILIES", "REDUCTIONS", "Family", "Thresholds", "Truth", "find_thresholds", "gather", "join_batches",
    "mean_over_images", "measure", "measure_depth", "measure_mask", "pooled", "score",
]  # fmt: skip


class Truth(Protocol):
    """What is known of a batch of pictures; `dataset.Batch` is one."""

    mask_B1HW: Tensor
    depth_B1HW: Tensor
    valid_B1HW: Tensor


class Scope(NamedTuple):
    """thorough: also what costs the most, or is of use at the end alone. thresholds: of the standardised published scores."""

    thorough: bool = True
    thresholds: Thresholds | None = None


class Family(NamedTuple):
    """Scores of one kind: gather takes mask (probability) and depth (0..1), B x 1 x H x W, the truth and the scope, and gives
    sums a picture; score makes scores of them, whose depth is in the unit of the largest depth.
    """

    gather: Callable[[Tensor, Tensor, Truth, Scope], Statistics]
    score: Callable[[Statistics, float], Scores]


def _gather_mask(mask_prob_B1HW: Tensor, _depth_B1HW: Tensor, truth: Truth, _scope: Scope) -> Statistics:
    return gather_mask(mask_prob_B1HW, truth.mask_B1HW)


def _score_mask(statistics: Statistics, _max_depth: float) -> Scores:
    return score_mask(statistics)


def _gather_depth(_mask_prob_B1HW: Tensor, depth_B1HW: Tensor, truth: Truth, scope: Scope) -> Statistics:
    return gather_depth(depth_B1HW, truth.depth_B1HW, truth.valid_B1HW, truth.mask_B1HW, thorough=scope.thorough)


def _gather_published(mask_prob_B1HW: Tensor, depth_B1HW: Tensor, truth: Truth, scope: Scope) -> Statistics:
    if not scope.thorough:
        return {}
    maps = (mask_prob_B1HW, depth_B1HW, truth.mask_B1HW, truth.depth_B1HW, truth.valid_B1HW)
    return gather_published(*maps, scope.thresholds)


def _score_published(statistics: Statistics, _max_depth: float) -> Scores:
    return score_published(statistics) if statistics else {}


FAMILIES = {
    "mask": Family(_gather_mask, _score_mask),
    "depth": Family(_gather_depth, score_depth),
    "published": Family(_gather_published, _score_published),
}

REDUCTIONS = {
    "mean_over_images": mean_over_images,
    "pooled": pooled,
}


def gather(
    mask_prob_B1HW: Tensor,
    depth_B1HW: Tensor,
    truth: Truth,
    *,
    thorough: bool = True,
    families: tuple[str, ...] = tuple(FAMILIES),
    thresholds: Thresholds | None = None,
) -> dict[str, Statistics]:
    """Sums per picture, by family, of a batch of predictions (probabilities and depths, both 0..1).

    thresholds: of `find_thresholds`, for the published scores that are cut at a standardised value; None: without those.

    Raises:
        NotFiniteError: of a prediction; an average would hide it.
    """
    for name, values in (("mask", mask_prob_B1HW), ("depth", depth_B1HW)):
        if not torch.isfinite(values).all():
            raise NotFiniteError(
                f"the predicted {name} has values that are not finite",
                hint="train again with a lower learning_rate of pretrain or finetune, or with their clip_norm set",
            )
    scope = Scope(thorough, thresholds)
    return {name: FAMILIES[name].gather(mask_prob_B1HW, depth_B1HW, truth, scope) for name in families}


def score(statistics: dict[str, Statistics], max_depth: float) -> dict[str, Scores]:
    """Scores by family, in the shape of the statistics."""
    return {name: FAMILIES[name].score(sums, max_depth) for name, sums in statistics.items()}


def measure(mask_prob_B1HW: Tensor, depth_B1HW: Tensor, truth: Truth, max_depth: float, *, thorough: bool = True) -> Scores:
    """Scores of each picture (float64, B; NaN where undefined) under flat keys: `mask_iou`, `depth_delta1` and so on.

    `thorough=False` leaves out SSIM, the aligned and the published scores, for quick looks while training. Average with
    `mean_over_images(join_batches([...]))`.
    """
    scores = score(gather(mask_prob_B1HW, depth_B1HW, truth, thorough=thorough), max_depth)
    return {f"{family}_{name}": values for family, named in scores.items() for name, values in named.items()}
