"""Scores every network on the same test images, whatever size it was trained at.

The test images are made at one common size. Each is resized to the network's size, and the prediction is resized back and
scored against the common ground truth, so that all are compared on the same pixels.

Shapes: B images of S x S, S the common size.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from depthmask.leaderboard.params import LeaderboardParams
from depthmask.loading.dataset import SampleSet, open_samples
from depthmask.models.inference import Predict, PredictedMaps
from depthmask.models.prediction import resize_maps


def open_test_pictures(params: LeaderboardParams, raw: Path, split: Path, *, with_background: bool) -> SampleSet:
    """The test images, the same for all recipes and seeds."""
    return open_samples(
        raw,
        split,
        "test",
        image_size_px=params.evaluate.image_size_px,
        compose=params.compose,
        seed=params.split_seed,
        num_samples=params.evaluate.num_samples,
        with_background=with_background,
    )


def predict_at(predict: Predict, size_px: int) -> Predict:
    """`predict` at size_px, for images and maps of another size."""

    def predict_resized(image_B3HW: Tensor, background_B3HW: Tensor | None) -> PredictedMaps:
        side_px = image_B3HW.shape[-1]
        background = None if background_B3HW is None else resize(background_B3HW, size_px)
        return PredictedMaps(*(resize(values, side_px) for values in predict(resize(image_B3HW, size_px), background)))

    return predict_resized


def resize(maps_BCHW: Tensor, side_px: int) -> Tensor:
    """Square maps or images at another size."""
    return resize_maps(maps_BCHW, side_px, side_px)


def predict_nothing(image_B3HW: Tensor, _background_B3HW: Tensor | None) -> PredictedMaps:
    """Zeros, for scoring the baselines alone."""
    nothing = torch.zeros_like(image_B3HW[:, :1])
    return PredictedMaps(nothing, nothing)
