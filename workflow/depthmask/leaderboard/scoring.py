"""Scores every network on the same test pictures, whatever size it was trained at.

The test pictures are made at one common size. Each is resized to the network's size, and the prediction is resized back and
scored against the common ground truth, so that all are compared on the same pixels.

Shapes: B pictures of S x S, S the common size.
"""

from __future__ import annotations

import statistics
import time
from pathlib import Path

import torch
from torch import Tensor

from depthmask.leaderboard.params import LeaderboardParams
from depthmask.loading.dataset import SampleSet, open_samples
from depthmask.models.inference import Predict, PredictedMaps
from depthmask.models.model_file import DepthMaskModel
from depthmask.models.prediction import resize_maps

NUM_WARM, NUM_TIMED = 3, 30  # predictions of one picture; fewer for a slow network, where a few agree well enough
TIMED_SECONDS = 5.0


def open_test_pictures(params: LeaderboardParams, raw: Path, split: Path, *, with_background: bool) -> SampleSet:
    """The test pictures, the same for all recipes and seeds."""
    return open_samples(
        raw,
        split,
        "test",
        image_size_px=params.evaluate.image_size_px,
        compose=params.compose,
        seed=params.seed,
        num_samples=params.evaluate.num_samples,
        with_background=with_background,
    )


def predict_at(predict: Predict, size_px: int) -> Predict:
    """`predict` at size_px, for pictures and maps of another size."""

    def predict_resized(image_B3HW: Tensor, background_B3HW: Tensor | None) -> PredictedMaps:
        side_px = image_B3HW.shape[-1]
        background = None if background_B3HW is None else resize(background_B3HW, size_px)
        return PredictedMaps(*(resize(values, side_px) for values in predict(resize(image_B3HW, size_px), background)))

    return predict_resized


def resize(maps_BCHW: Tensor, side_px: int) -> Tensor:
    """Square maps or pictures at another size."""
    return resize_maps(maps_BCHW, side_px, side_px)


def predict_nothing(image_B3HW: Tensor, _background_B3HW: Tensor | None) -> PredictedMaps:
    """Zeros, for scoring the baselines alone."""
    nothing = torch.zeros_like(image_B3HW[:, :1])
    return PredictedMaps(nothing, nothing)


@torch.inference_mode()
def measure_inference_ms(model: DepthMaskModel, size_px: int, device: torch.device, channels_last: bool) -> float:
    """Median milliseconds of one picture of size_px, with its clean background if the model takes one, in float32."""
    memory = torch.channels_last if channels_last else torch.contiguous_format
    model = model.to(device, memory_format=memory).eval()
    pictures = torch.rand(2, 1, 3, size_px, size_px, generator=torch.Generator().manual_seed(0))
    image, background = (picture.to(device).contiguous(memory_format=memory) for picture in pictures)
    times: list[float] = []
    until = None
    while len(times) < NUM_WARM + NUM_TIMED and (until is None or time.perf_counter() < until):
        began = time.perf_counter()
        model(image, background if model.background_input else None)
        if device.type == "cuda":
            torch.cuda.synchronize()
        elif device.type == "mps":
            torch.mps.synchronize()
        times.append(time.perf_counter() - began)
        if len(times) == NUM_WARM:
            until = time.perf_counter() + TIMED_SECONDS
    return 1000 * statistics.median(times[NUM_WARM:] or times[-1:])
