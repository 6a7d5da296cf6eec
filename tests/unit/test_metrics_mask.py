"""Mask scores against numbers worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch

from depthmask.metrics import join_batches, mean_over_images, pooled, score_family
from depthmask.metrics.mask import gather_mask

# 2 x 3 pixels: TP 2, FP 1, FN 1, TN 2; a probability and an alpha of exactly 0.5 count as foreground
PROBABILITY = torch.tensor([[[[0.9, 0.5, 0.6], [0.4, 0.1, 0.0]]]])
ALPHA = torch.tensor([[[[1.0, 0.5, 0.0], [0.8, 0.0, 0.4]]]])


def score_mask(statistics):
    return score_family("mask", statistics, 1.0)


def measure_mask(probability, alpha):
    return score_mask(gather_mask(probability, alpha))


def measure(probability: torch.Tensor, alpha: torch.Tensor) -> dict[str, float]:
    return {name: values.item() for name, values in measure_mask(probability, alpha).items()}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("iou", 2 / 4),
        ("dice", 4 / 6),
        ("precision", 2 / 3),
        ("recall", 2 / 3),
        ("mae", (0.1 + 0.0 + 0.6 + 0.4 + 0.1 + 0.4) / 6),
    ],
)
def test_score_by_hand(name, expected):
    assert measure(PROBABILITY, ALPHA)[name] == pytest.approx(expected, abs=1e-7)


EMPTY, FULL = torch.zeros(1, 1, 2, 2), torch.ones(1, 1, 2, 2)


@pytest.mark.parametrize(
    ("probability", "alpha", "expected"),
    [
        pytest.param(EMPTY, EMPTY, dict.fromkeys(("iou", "dice", "precision", "recall"), math.nan) | {"mae": 0}, id="both empty"),
        pytest.param(EMPTY, FULL, {"iou": 0, "dice": 0, "precision": 0, "recall": 0, "mae": 1}, id="missed all"),
        pytest.param(FULL, EMPTY, {"iou": 0, "dice": 0, "precision": 0, "recall": 0, "mae": 1}, id="false foreground"),
        pytest.param(FULL, FULL, {"iou": 1, "dice": 1, "precision": 1, "recall": 1, "mae": 0}, id="both full"),
    ],
)
def test_an_empty_mask_is_scored_only_if_something_is_wrong(probability, alpha, expected):
    assert measure(probability, alpha) == pytest.approx(expected, nan_ok=True)


def test_an_unknown_mask_is_not_scored_and_adds_nothing_to_pooled_scores():
    both = gather_mask(PROBABILITY.repeat(2, 1, 1, 1), ALPHA.repeat(2, 1, 1, 1), torch.tensor([False, True]))
    scores = score_mask(both)
    assert all(math.isnan(values[0]) for values in scores.values())
    assert {name: values[1].item() for name, values in scores.items()} == measure(PROBABILITY, ALPHA)
    assert pooled(both, score_mask) == pytest.approx(measure(PROBABILITY, ALPHA))


def test_batch_size_does_not_change_a_score():
    generator = torch.Generator().manual_seed(1)
    probability, alpha = torch.rand(2, 7, 1, 9, 11, generator=generator)
    whole = measure_mask(probability, alpha)
    for size in (1, 2, 3):
        parts = [measure_mask(p, a) for p, a in zip(probability.split(size), alpha.split(size), strict=True)]
        joined = join_batches(parts)
        for name, values in whole.items():
            torch.testing.assert_close(joined[name], values, rtol=1e-14, atol=0)
        assert mean_over_images(joined) == pytest.approx(mean_over_images(whole), rel=1e-14)


def test_pooled_weighs_by_pixels_and_the_mean_by_pictures():
    # first image: overlap 1 of union 1; second: overlap 1 of union 3
    probability = torch.tensor([[1.0, 0.0, 0.0, 0.0], [1.0, 1.0, 1.0, 0.0]]).view(2, 1, 2, 2)
    alpha = torch.tensor([[1.0, 0.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0]]).view(2, 1, 2, 2)
    statistics = gather_mask(probability, alpha)
    assert mean_over_images(score_mask(statistics))["iou"] == pytest.approx((1 + 1 / 3) / 2)
    assert pooled(statistics, score_mask)["iou"] == pytest.approx(2 / 4)


def test_mean_leaves_undefined_scores_out_and_does_not_depend_on_order():
    values = torch.tensor([0.1, float("nan"), 0.2, 0.7], dtype=torch.float64)
    assert mean_over_images({"x": values})["x"] == pytest.approx(1 / 3)
    assert mean_over_images({"x": values.flip(0)}) == mean_over_images({"x": values})
    assert math.isnan(mean_over_images({"x": values[1:2]})["x"])
