"""Averages what several models, or one model and its mirror image, predict of the same photos.

A mask is the mean of the probabilities. Depth is the mean of its logarithms, the geometric mean: twice as far and half as far
then average to right, and models that differ only in scale keep the ratios of depths.

Shapes: B images of H x W.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from depthmask.base.errors import UserError
from depthmask.models.inference import Predict, PredictedMaps
from depthmask.models.model_card import ModelCard

DEPTH_FLOOR = 1e-3  # of the maximum, as in scores: one model's 0 would make the mean 0 whatever the others say


class MapMean:
    """The mean of maps that are added one after another, so that no more than two of a kind are in memory.

    Computed pixel by pixel in float32, in the order of adding: neither the batch nor the number of threads changes a bit.
    """

    def __init__(self) -> None:
        self._num = 0
        self._mask_sum: Tensor | None = None
        self._log_depth_sum: Tensor | None = None

    def add(self, mask_prob_B1HW: Tensor, depth_B1HW: Tensor, depth_scale: float = 1.0) -> None:
        """Add maps of 0..1, which are not changed. depth_scale: multiplies depth, which then counts as at most 1."""
        scaled = depth_B1HW if depth_scale == 1 else depth_B1HW * depth_scale
        log_depth = scaled.clamp(DEPTH_FLOOR, 1).log_()
        if self._mask_sum is None:
            self._mask_sum, self._log_depth_sum = mask_prob_B1HW.clone(), log_depth
        else:
            self._mask_sum += mask_prob_B1HW
            self._log_depth_sum += log_depth
        self._num += 1

    def take(self) -> PredictedMaps:
        """The means, 0..1; nothing can be added afterwards."""
        mask, depth = self._mask_sum.div_(self._num), self._log_depth_sum.div_(self._num).exp_()
        self._mask_sum = self._log_depth_sum = None
        return PredictedMaps(mask.clamp_(0, 1), depth.clamp_(0, 1))  # but for rounding they are within


def mirror(predict: Predict) -> Predict:
    """`predict` of the images, and clean backgrounds, mirrored left to right; its maps are mirrored back."""

    def predict_mirrored(image_B3HW: Tensor, background_B3HW: Tensor | None) -> PredictedMaps:
        pictures = (None if picture is None else picture.flip(-1) for picture in (image_B3HW, background_B3HW))
        return PredictedMaps(*(values.flip(-1) for values in predict(*pictures)))

    return predict_mirrored


def average(members: Sequence[tuple[Predict, bool, float]], flip: bool) -> Predict:
    """One function that predicts with every member and averages; it takes a background if a member does.

    members: a function, whether it takes the clean background, and what its depth is multiplied by. flip: each also predicts
    the mirror image.
    """

    @torch.inference_mode()
    def predict_average(image_B3HW: Tensor, background_B3HW: Tensor | None) -> PredictedMaps:
        mean = MapMean()
        for predict, background_input, depth_scale in members:
            background = background_B3HW if background_input else None
            for view in (predict, mirror(predict)) if flip else (predict,):
                mean.add(*view(image_B3HW, background), depth_scale)
        return mean.take()

    return predict_average


def find_common_depth(cards: Sequence[ModelCard], names: Sequence[str]) -> tuple[str, float]:
    """Unit and maximum of the mean depth: the smallest maximum, since a model cannot say how far what is beyond its own is.

    Raises:
        UserError: units differ, or relative depths have different maxima, so nothing says how one converts to the other.
    """
    first = cards[0]
    for card, name in zip(cards[1:], names[1:], strict=True):
        is_same = card.depth_max == first.depth_max or card.depth_unit == "metre"
        if card.depth_unit != first.depth_unit or not is_same:
            shown = (f"{name} up to {card.depth_max:g} ({card.depth_unit})" for card, name in ((first, names[0]), (card, name)))
            raise UserError(f"depth of different scales cannot be averaged: {', '.join(shown)}; choose models of one scale")
    return first.depth_unit, min(card.depth_max for card in cards)
