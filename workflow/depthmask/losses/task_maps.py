"""What the losses of one task read: the network's maps and the truth, in float32 at least, at the resolution of the loss.

Shapes: B images of H x W; K depth bins.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from depthmask.data.batch import ABSOLUTE, AFFINE_TO_INVERSE
from depthmask.models.prediction import Prediction, promote_to_float32

INVERSE_FLOOR = 0.02  # of the depth's maximum: nearer than that, a few pixels would outweigh all others


class Truth(Protocol):
    """The ground truth of a batch; `data.batch.Batch` is one.

    It may have `mask_known_B`, see `find_known_masks`. The last two may be missing.
    """

    image_B3HW: Tensor
    mask_B1HW: Tensor
    depth_B1HW: Tensor
    valid_B1HW: Tensor
    relative_B1HW: Tensor | None
    relation_B: Tensor | None


@dataclass(frozen=True)
class TaskMaps:
    """One task's prediction and truth; what the network or task lacks is None.

    weight: how much each pixel counts, bool or float. shape_weight: the same where the truth is known up to a scale and a shift
    at least, and relation: how, see `ByteBatch`; None: where weight says, with the truth's own scale. mean, std: of the truth,
    where the network learns (map - mean) / std.
    """

    map_B1HW: Tensor
    target_B1HW: Tensor
    weight_B1HW: Tensor
    logits_B1HW: Tensor | None = None
    bins_BKHW: Tensor | None = None
    image_B3HW: Tensor | None = None
    shape_weight_B1HW: Tensor | None = None
    relation_B111: Tensor | None = None
    mean: float = 0.0
    std: float = 1.0

    def read(self, what: str) -> tuple[Tensor, Tensor]:
        """The pair that a term compares, by the word of its `LossSpec.reads`.

        Raises:
            ValueError: the network has no such output.
        """
        prediction, target = self.map_B1HW, self.target_B1HW
        if what == "standardised_map" and (self.mean, self.std) != (0.0, 1.0):
            prediction, target = (prediction - self.mean) / self.std, (target - self.mean) / self.std
        elif what == "logits":
            prediction = self.logits_B1HW
        elif what == "bins":
            prediction = self.bins_BKHW
        elif what == "image":
            target = self.image_B3HW
        elif what == "shape" and self.relation_B111 is not None:
            prediction = torch.where(self.relation_B111 == AFFINE_TO_INVERSE, _invert(prediction), prediction)
        if prediction is None or target is None:
            raise ValueError(f"a loss reads {what}, which this network or this batch does not have")
        return prediction, target

    def weigh(self, what: str) -> Tensor:
        """How much each pixel of that pair counts."""
        has_more = what == "shape" and self.shape_weight_B1HW is not None
        return self.shape_weight_B1HW if has_more else self.weight_B1HW


def view_mask(prediction: Prediction, truth: Truth, upscale: int = 1) -> TaskMaps:
    """The mask's maps. Every pixel of a known mask counts once, those of an unknown one not at all.

    upscale: all maps are enlarged that many times before the loss, the network's outputs as they are (logits as logits).
    """
    logits = _view(prediction.mask_logits_B1HW, upscale)
    target = _enlarge(truth.mask_B1HW, upscale)
    weight = torch.ones_like(target, dtype=torch.bool)
    known = find_known_masks(truth)
    return TaskMaps(
        torch.sigmoid(logits) if logits is not None else _view(prediction.mask_B1HW, upscale),
        target,
        weight if known is None else weight & known[:, None, None, None],
        logits_B1HW=logits,
        **_take_stats(prediction, "mask"),
    )


def view_depth(prediction: Prediction, truth: Truth, foreground: float, upscale: int = 1) -> TaskMaps:
    """The depth's maps. Known pixels count, those of the foreground `foreground` times, soft edges in between.

    Where the mask is unknown (0 everywhere), no pixel counts as foreground.

    upscale: as in `view_mask`; where the depth is known is enlarged pixel by pixel, and no unknown depth is mixed in.
    """
    target, known, relation_B111, shape_weight = truth.depth_B1HW, truth.valid_B1HW, None, None
    relation_B = getattr(truth, "relation_B", None)
    if relation_B is not None:
        known, relation_B111 = known | truth.relative_B1HW, relation_B[:, None, None, None]
    if upscale != 1:
        parts = known.to(target)
        known = F.interpolate(parts, scale_factor=upscale, mode="nearest") > 0
        # of four neighbours the pixel's own weighs 9 / 16, so a known pixel never divides by 0
        known_part = torch.where(known, _enlarge(parts, upscale), 1.0)
        target = torch.where(known, _enlarge(target * parts, upscale) / known_part, 0.0)
    weight = known * (1 + (foreground - 1) * _enlarge(truth.mask_B1HW, upscale))
    if relation_B111 is not None:
        weight, shape_weight = weight * (relation_B111 == ABSOLUTE), weight
    return TaskMaps(
        _view(prediction.depth_B1HW, upscale),
        target,
        weight,
        bins_BKHW=_view(prediction.depth_bins_BKHW, upscale),
        image_B3HW=_enlarge(truth.image_B3HW, upscale),
        shape_weight_B1HW=shape_weight,
        relation_B111=relation_B111,
        **_take_stats(prediction, "depth"),
    )


def find_known_masks(truth: Truth) -> Tensor | None:
    """Which samples' masks are known, bool B; None: all, as for a truth that says nothing of it."""
    return getattr(truth, "mask_known_B", None)


def _take_stats(prediction: Prediction, task: str) -> dict[str, float]:
    stats = prediction.stats
    return {} if stats is None else {name: getattr(stats, f"{task}_{name}") for name in ("mean", "std")}


def _invert(depth: Tensor) -> Tensor:
    """-1 / depth, which grows with depth as a relative inverse depth counts it; below INVERSE_FLOOR its tangent there."""
    floor = INVERSE_FLOOR
    return torch.where(depth < floor, (depth - 2 * floor) / floor**2, -1 / depth.clamp(min=floor))


def _view(values: Tensor | None, upscale: int) -> Tensor | None:
    return None if values is None else _enlarge(promote_to_float32(values), upscale)


def _enlarge(values: Tensor, factor: int) -> Tensor:
    """Bilinear, pixel centres aligned."""
    return values if factor == 1 else F.interpolate(values, scale_factor=factor, mode="bilinear", align_corners=False)
