"""Scores of predictions against the ground truth: one family per file, with its protocol in the docstring.

A family gathers sums per image (`gather`); a score is a function of sums, of one image or of a whole set. Scores are listed
in `depthmask.scores`. They are `<family>_<score>` in the history and in `per_image.csv`, and nested by family in `metrics.json`.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from depthmask.base.errors import NotFiniteError
from depthmask.metrics.depth import gather_depth
from depthmask.metrics.mask import gather_mask
from depthmask.metrics.protocol import PLAIN_PROTOCOL, DepthProtocol
from depthmask.metrics.published import Thresholds, find_thresholds, gather_published
from depthmask.metrics.reduce import Scores, Statistics, join_batches, mean_over_images, pooled
from depthmask.scores import FAMILIES, PLAIN, SCORES, VARIANTS, ScoreSpec, Variant

__all__ = [
    "REDUCTIONS", "DepthProtocol", "Thresholds", "Truth", "find_finite", "find_thresholds", "gather", "join_batches",
    "mean_over_images", "measure", "pooled", "require_finite", "score", "score_family",
]  # fmt: skip


class Truth(Protocol):
    """The ground truth of a batch; `data.batch.Batch` is one. It may have `mask_known_B` (bool; missing or None: all known)."""

    mask_B1HW: Tensor
    depth_B1HW: Tensor
    valid_B1HW: Tensor


class Scope(NamedTuple):
    """thorough: include expensive scores, and those only needed at the end. thresholds: of the standardised published scores.

    protocol: of the restricted depth scores.
    """

    thorough: bool = True
    thresholds: Thresholds | None = None
    protocol: DepthProtocol = PLAIN_PROTOCOL


def _gather_mask(mask_prob_B1HW: Tensor, _depth_B1HW: Tensor, truth: Truth, _scope: Scope) -> Statistics:
    return gather_mask(mask_prob_B1HW, truth.mask_B1HW, _find_known_masks(truth))


def _gather_depth(_mask_prob_B1HW: Tensor, depth_B1HW: Tensor, truth: Truth, scope: Scope) -> Statistics:
    maps = depth_B1HW, truth.depth_B1HW, truth.valid_B1HW, truth.mask_B1HW
    return gather_depth(*maps, thorough=scope.thorough, protocol=scope.protocol)


def _gather_published(mask_prob_B1HW: Tensor, depth_B1HW: Tensor, truth: Truth, scope: Scope) -> Statistics:
    if not scope.thorough:
        return {}
    maps = (mask_prob_B1HW, depth_B1HW, truth.mask_B1HW, truth.depth_B1HW, truth.valid_B1HW)
    return gather_published(*maps, scope.thresholds, _find_known_masks(truth))


def _find_known_masks(truth: Truth) -> Tensor | None:
    return getattr(truth, "mask_known_B", None)


GATHERERS: dict[str, Callable[[Tensor, Tensor, Truth, Scope], Statistics]] = {
    "mask": _gather_mask,
    "depth": _gather_depth,
    "published": _gather_published,
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
    families: tuple[str, ...] = FAMILIES,
    thresholds: Thresholds | None = None,
    protocol: DepthProtocol = PLAIN_PROTOCOL,
    is_finite: bool = False,
) -> dict[str, Statistics]:
    """Sums per image, by family, of a batch of predictions (probabilities and depths, both 0..1).

    thresholds: of `find_thresholds`, for the published scores that are cut at a standardised value; None: without those.
    protocol: of the depth scores. is_finite: whether the caller sees to it that predictions are finite.

    Raises:
        NotFiniteError: a prediction is not finite, which an average would hide.
    """
    if not is_finite:
        require_finite(find_finite(mask_prob_B1HW, depth_B1HW))
    scope, known = Scope(thorough, thresholds, protocol), _find_known_masks(truth)
    statistics = {family: GATHERERS[family](mask_prob_B1HW, depth_B1HW, truth, scope) for family in families}
    for spec in SCORES.values():
        if thorough and spec.own_sums and spec.family in families:
            sums = _find_function(spec, f"gather_{spec.name}")(mask_prob_B1HW, depth_B1HW, truth)
            if spec.family == "mask" and known is not None:
                sums = {name: values * known.to(values.device) for name, values in sums.items()}
            statistics[spec.family] |= {f"{spec.name}.{name}": values for name, values in sums.items()}
    return statistics


def find_finite(mask_prob_B1HW: Tensor, depth_B1HW: Tensor) -> Tensor:
    """Whether all of a batch's predicted masks are finite, and all of its depths: two bools, on the device."""
    return torch.stack([torch.isfinite(values).all() for values in (mask_prob_B1HW, depth_B1HW)])


def require_finite(finite: Tensor) -> None:
    """Raise NotFiniteError unless both of `find_finite` are true; waits for the device."""
    for name, is_finite in zip(("mask", "depth"), finite.tolist(), strict=True):
        if not is_finite:
            raise NotFiniteError(
                f"the predicted {name} has values that are not finite",
                hint="train again with a lower learning_rate of pretrain or finetune, or with their clip_norm set",
            )


def score(statistics: dict[str, Statistics], depth_max: float) -> dict[str, Scores]:
    """Scores by family, in the shape of the statistics; depth_max: the depth, in the source's unit, that 1 stands for."""
    return {family: score_family(family, sums, depth_max) for family, sums in statistics.items()}


def score_family(family: str, statistics: Statistics, depth_max: float) -> Scores:
    """The scores of one family, as far as their sums were gathered."""
    scores: Scores = {}
    for variant in VARIANTS.get(family, PLAIN):
        sums = _choose_sums(statistics, variant.prefix, variant.suffix)
        if variant != Variant() and "num_pixels" not in sums:  # not gathered: what is chosen is of a variant with a longer name
            continue
        for spec in SCORES.values():
            if spec.family != family or (spec.own_sums and variant != Variant()):
                continue
            own = _choose_sums(statistics, f"{spec.name}.", "") if spec.own_sums else sums
            values = _find_function(spec, spec.name)(own) if own else None
            if values is not None and family == "mask" and spec.own_sums:  # the others see by their sums that a mask is unknown
                values = torch.where(statistics["num_pixels"] > 0, values, torch.nan)
            if values is not None:
                key = f"{variant.prefix}{spec.name}{variant.suffix}"
                scores[key] = values * depth_max if spec.in_depth_unit else values
    return scores


def _choose_sums(statistics: Statistics, prefix: str, suffix: str) -> Statistics:
    """The sums whose names begin and end so, without that."""
    return {
        name[len(prefix) : len(name) - len(suffix)]: values
        for name, values in statistics.items()
        if name.startswith(prefix) and name.endswith(suffix)
    }


def measure(
    mask_prob_B1HW: Tensor, depth_B1HW: Tensor, truth: Truth, depth_max: float, *, thorough: bool = True, is_finite: bool = False
) -> Scores:
    """Scores of each image (float64, B; NaN where undefined) under flat keys: `mask_iou`, `depth_delta1` and so on.

    `thorough=False` skips SSIM, aligned and published scores, for speed during training. Average with
    `mean_over_images(join_batches([...]))`. is_finite: as in `gather`.
    """
    scores = score(gather(mask_prob_B1HW, depth_B1HW, truth, thorough=thorough, is_finite=is_finite), depth_max)
    return {f"{family}_{name}": values for family, named in scores.items() for name, values in named.items()}


def _find_function(spec: ScoreSpec, name: str) -> Callable:
    return getattr(importlib.import_module(f"depthmask.metrics.{spec.module or spec.family}"), name)
