"""The published systems' scores against numbers worked out by hand."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch

from depthmask.metrics import find_thresholds, gather, join_batches, mean_over_images, measure, pooled, score, score_family
from depthmask.metrics.mask import gather_mask
from depthmask.metrics.published import Thresholds, gather_published

# 2 x 2 pixels of one image; the last one's depth is unknown
PROBABILITY = torch.tensor([[[[0.9, 0.4], [0.6, 0.1]]]])
ALPHA = torch.tensor([[[[1.0, 0.8], [0.0, 0.0]]]])
DEPTH = torch.tensor([[[[0.6, 0.5], [0.2, 0.9]]]])
TRUTH = torch.tensor([[[[0.8, 0.3], [0.1, 0.0]]]])
VALID = torch.tensor([[[[True, True], [True, False]]]])
THRESHOLDS = Thresholds(mask=0.3, depth=0.25)


def score_published(statistics):
    return score_family("published", statistics, 1.0)


def measure_one(thresholds: Thresholds | None = THRESHOLDS) -> dict[str, float]:
    scores = score_published(gather_published(PROBABILITY, DEPTH, ALPHA, TRUTH, VALID, thresholds))
    return {name: values.item() for name, values in scores.items()}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("mask_mse", (0.01 + 0.16 + 0.36 + 0.01) / 4),
        ("mask_iou", 1 / 3),  # predicted 1st and 3rd, true 1st and 2nd
        ("mask_iou_standardised", 2 / 3),  # from 0.3 on: predicted the first three, true the first two
        ("mask_dice_loss", 1 - (2 * (0.9 + 0.32) + 1) / ((0.81 + 0.16 + 0.36 + 0.01) + (1 + 0.64) + 1)),
        ("depth_rmse_of_max", math.sqrt((0.04 + 0.04 + 0.01) / 3)),
        ("depth_l1_of_max", (0.2 + 0.2 + 0.1) / 3),
        ("depth_iou", 1 / 2),  # predicted 1st and 2nd, true 1st
        ("depth_iou_standardised", 2 / 2),
        ("depth_dice_loss", 1 - (2 * (0.48 + 0.15 + 0.02) + 1) / ((0.36 + 0.25 + 0.04) + (0.64 + 0.09 + 0.01) + 1)),
    ],
)
def test_score_by_hand(name, expected):
    assert measure_one()[name] == pytest.approx(expected, abs=1e-6)


def test_without_thresholds_there_are_no_standardised_scores():
    with_thresholds, without = measure_one(), measure_one(None)
    assert set(with_thresholds) - set(without) == {"mask_iou_standardised", "depth_iou_standardised"}
    assert without.items() <= with_thresholds.items()


def test_thresholds_are_half_a_deviation_above_the_mean():
    channels = {"mask": {"mean": [0.08], "std": [0.25]}, "depth": {"mean": [0.3], "std": [0.2]}, "image": {}}
    assert find_thresholds(channels) == pytest.approx((0.08 + 0.125, 0.3 + 0.1))
    # (map - mean) / std >= 0.5 is the same question
    values = torch.linspace(0, 1, 101, dtype=torch.float64)
    assert torch.equal(values >= find_thresholds(channels).depth + 1e-9, (values - 0.3) / 0.2 >= 0.5 + 1e-8)
    assert find_thresholds({"mask": channels["mask"], "depth": {"mean": None, "std": None}}).depth == 0.5
    assert find_thresholds({}) == (0.5, 0.5)


def test_empty_maps_and_unknown_depth():
    zeros = torch.zeros(1, 1, 2, 2)
    nowhere = torch.zeros(1, 1, 2, 2, dtype=torch.bool)
    scores = score_published(gather_published(zeros, zeros, zeros, zeros, nowhere, THRESHOLDS))
    assert scores["mask_iou"].item() == 1 and scores["mask_dice_loss"].item() == 0 == scores["mask_mse"].item()
    assert all(values.isnan().item() == name.startswith("depth_") for name, values in scores.items())
    false = score_published(gather_published(zeros + 1, zeros, zeros, zeros, ~nowhere, THRESHOLDS))
    assert false["mask_iou"].item() == 0
    assert false["mask_dice_loss"].item() == pytest.approx(1 - 1 / 5)
    assert false["depth_iou"].item() == 1  # known, and nothing over the threshold in either


@pytest.fixture
def maps() -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(5)
    prob, alpha, depth, truth = torch.rand(4, 7, 1, 9, 11, generator=generator)
    alpha[2] = 0
    return prob, depth, alpha, truth, torch.rand(7, 1, 9, 11, generator=generator) > 0.2


@pytest.mark.parametrize("size", [1, 2, 3])
def test_batch_size_changes_neither_the_mean_nor_the_pooled_score(maps, size):
    whole = gather_published(*maps, THRESHOLDS)
    parts = join_batches([gather_published(*part, THRESHOLDS) for part in zip(*(m.split(size) for m in maps), strict=True)])
    assert mean_over_images(score_published(parts)) == mean_over_images(score_published(whole))
    assert pooled(parts, score_published) == pooled(whole, score_published)


def test_one_union_over_each_batch_depends_on_its_size_with_the_mean_and_the_pooled_score_at_the_ends(maps):
    """What system D takes, averaged over batches."""
    prob, _, alpha, _, _ = maps

    def average_over_batches(size: int) -> float:
        unions = []
        for p, a in zip(prob.split(size), alpha.split(size), strict=True):
            predicted, true = p >= 0.5, a >= 0.5
            unions.append(((predicted & true).sum() / (predicted | true).sum()).item())
        return sum(unions) / len(unions)

    statistics = gather_published(*maps)
    assert average_over_batches(1) == pytest.approx(mean_over_images(score_published(statistics))["mask_iou"])
    assert average_over_batches(7) == pytest.approx(pooled(statistics, score_published)["mask_iou"])
    assert len({round(average_over_batches(size), 6) for size in (1, 2, 3, 7)}) == 4


def test_mask_iou_is_that_of_the_mask_family_and_rmse_that_of_depth_over_its_maximum(maps):
    prob, depth, alpha, truth, valid = maps
    batch = SimpleNamespace(mask_B1HW=alpha, depth_B1HW=truth, valid_B1HW=valid)
    scores = score(gather(prob, depth, batch), depth_max=20.0)
    torch.testing.assert_close(scores["published"]["mask_iou"], score_family("mask", gather_mask(prob, alpha), 1.0)["iou"])
    torch.testing.assert_close(20 * scores["published"]["depth_rmse_of_max"], scores["depth"]["rmse"])
    torch.testing.assert_close(20 * scores["published"]["depth_l1_of_max"], scores["depth"]["mae"])


def test_quick_looks_leave_them_out(maps):
    prob, depth, alpha, truth, valid = maps
    batch = SimpleNamespace(mask_B1HW=alpha, depth_B1HW=truth, valid_B1HW=valid)
    assert not [name for name in measure(prob, depth, batch, 1.0, thorough=False) if name.startswith("published")]
    assert "published_mask_mse" in measure(prob, depth, batch, 1.0)
