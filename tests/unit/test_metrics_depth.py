"""Depth scores against numbers worked out by hand, and against another library's SSIM."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch
from torchmetrics.functional.image import structural_similarity_index_measure

from depthmask.metrics import join_batches, measure, score_family
from depthmask.metrics.depth import RATIO_FLOOR, align_scale_shift, gather_depth
from depthmask.metrics.ssim import gather_ssim

MAX_DEPTH = 10.0
# ratios of prediction and truth: 1, 1.2, 1.5, 1.9 and 4; the sixth pixel is unknown and wildly wrong
TRUTH = torch.tensor([[[[0.5, 0.5, 0.2, 0.1, 0.2, 0.9]]]])
PREDICTION = torch.tensor([[[[0.5, 0.6, 0.3, 0.19, 0.05, 0.0]]]])
VALID = torch.tensor([[[[True, True, True, True, True, False]]]])
ERRORS = [0.0, 0.1, 0.1, 0.09, 0.15]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("rmse", MAX_DEPTH * math.sqrt(sum(e**2 for e in ERRORS) / 5)),
        ("mae", MAX_DEPTH * sum(ERRORS) / 5),
        ("abs_rel", (0 + 0.1 / 0.5 + 0.1 / 0.2 + 0.09 / 0.1 + 0.15 / 0.2) / 5),
        ("log10", sum(math.log10(ratio) for ratio in (1, 1.2, 1.5, 1.9, 4)) / 5),
        ("delta1", 2 / 5),  # 1, 1.2 < 1.25
        ("delta2", 3 / 5),  # 1.5 < 1.5625
        ("delta3", 4 / 5),  # 1.9 < 1.953125
    ],
)
def test_score_by_hand(name, expected):
    scores = measure_depth(PREDICTION, TRUTH, VALID, MAX_DEPTH, thorough=False)
    assert scores[name].item() == pytest.approx(expected, abs=1e-6)


def measure_depth(depth, truth, valid, depth_max, mask=None, *, thorough=True):
    return score_family("depth", gather_depth(depth, truth, valid, mask, thorough=thorough), depth_max)


def test_aligned_scores_by_hand():
    # least squares of (0, 1, 2) to (0, 0, 0.3): slope 0.15, mean 0.1, so -0.05, 0.1, 0.25 and errors 0.05, 0.1, 0.05
    prediction = torch.tensor([[[[0.0, 1.0, 2.0]]]])
    truth = torch.tensor([[[[0.0, 0.0, 0.3]]]])
    scores = measure_depth(prediction, truth, torch.ones_like(truth).bool(), MAX_DEPTH)
    assert scores["mae_aligned"].item() == pytest.approx(MAX_DEPTH * 0.2 / 3, abs=1e-6)
    assert scores["rmse_aligned"].item() == pytest.approx(MAX_DEPTH * math.sqrt(0.015 / 3), abs=1e-6)
    assert scores["delta1_aligned"].item() == pytest.approx(2 / 3)  # -0.05 is raised to the floor, as is 0; 0.1 is not 0


@pytest.fixture
def maps() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    prediction, truth = torch.rand(2, 5, 1, 24, 20, generator=generator, dtype=torch.float64) * 0.9 + 0.05
    return prediction, truth, torch.rand(5, 1, 24, 20, generator=generator) > 0.2


@pytest.mark.parametrize(("scale", "shift"), [(3.0, 0.0), (1.0, -7.0), (0.01, 2.0), (-2.0, 1.0)])
def test_aligned_scores_do_not_change_with_scale_and_shift(maps, scale, shift):
    prediction, truth, valid = maps
    before, after = (measure_depth(p, truth, valid, 1.0) for p in (prediction, scale * prediction + shift))
    for name in before:
        if name.endswith("_aligned"):
            torch.testing.assert_close(after[name], before[name], rtol=1e-8, atol=1e-10)
    assert not torch.allclose(after["rmse"], before["rmse"])


def test_prediction_that_is_the_truth_scaled_and_shifted_is_perfect_after_alignment(maps):
    _, truth, valid = maps
    scores = measure_depth(0.3 * truth + 0.2, truth, valid, 1.0)
    assert scores["rmse_aligned"].max() < 1e-12
    assert scores["ssim_aligned"].min() > 1 - 1e-9


def test_alignment_of_a_constant_prediction_and_of_one_pixel():
    truth = torch.tensor([[[[0.2, 0.4], [0.6, 0.8]]]])
    everywhere = torch.ones_like(truth).bool()
    torch.testing.assert_close(
        align_scale_shift(torch.full_like(truth, 0.1), truth, everywhere), torch.full_like(truth, 0.5).double()
    )
    one = torch.zeros_like(truth).bool()
    one[..., 0, 1] = True
    scores = measure_depth(torch.rand_like(truth), truth, one, 1.0)
    assert scores["rmse_aligned"].item() == pytest.approx(0, abs=1e-7)


def test_constant_predictions_stay_finite():
    truth = torch.rand(3, 1, 16, 16)
    for level in (0.0, 1e-8, 0.5, 1.0):
        scores = measure_depth(torch.full_like(truth, level), truth, torch.ones_like(truth).bool(), 1.0)
        assert all(values.isfinite().all() for values in scores.values())


def test_depth_of_zero_is_floored():
    truth, prediction = torch.tensor([[[[0.0]]]]), torch.tensor([[[[2 * RATIO_FLOOR]]]])
    scores = measure_depth(prediction, truth, torch.ones_like(truth).bool(), 1.0, thorough=False)
    assert scores["abs_rel"].item() == pytest.approx(1, abs=1e-6)
    assert scores["log10"].item() == pytest.approx(math.log10(2), abs=1e-6)
    assert scores["delta1"].item() == 0
    both_zero = measure_depth(truth, truth, torch.ones_like(truth).bool(), 1.0, thorough=False)
    assert both_zero["delta1"].item() == 1


def test_picture_without_known_depth_is_undefined_and_the_others_are_not():
    truth = torch.rand(2, 1, 16, 16)
    valid = torch.stack([torch.zeros(1, 16, 16), torch.ones(1, 16, 16)]).bool()
    prediction = truth.clone()
    scores = measure_depth(prediction, truth, valid, 1.0)
    assert all(values[0].isnan() and values[1].isfinite() for values in scores.values())


def test_unknown_pixels_do_not_count(maps):
    prediction, truth, valid = maps
    changed, changed_truth = torch.where(valid, prediction, 1.0), torch.where(valid, truth, float("nan"))
    before, after = measure_depth(prediction, truth, valid, 1.0), measure_depth(changed, changed_truth, valid, 1.0)
    for name in before:
        torch.testing.assert_close(after[name], before[name])


def test_scores_inside_the_foreground():
    mask = torch.tensor([[[[1.0, 0.7, 0.2, 0.5, 0.0, 1.0]]]])  # known and foreground: pixels 0, 1 and 3
    scores = measure_depth(PREDICTION, TRUTH, VALID, MAX_DEPTH, mask, thorough=False)
    assert scores["fg_delta1"].item() == pytest.approx(2 / 3)
    assert scores["fg_abs_rel"].item() == pytest.approx((0 + 0.2 + 0.9) / 3, abs=1e-6)
    assert measure_depth(PREDICTION, TRUTH, VALID, MAX_DEPTH, mask * 0, thorough=False)["fg_delta1"].isnan().item()


def test_ssim_is_that_of_torchmetrics_where_everything_is_known(maps):
    prediction, truth, valid = maps
    _, reference = structural_similarity_index_measure(
        prediction, truth, data_range=1.0, reduction="none", return_full_image=True
    )
    inside = reference[..., 5:-5, 5:-5].mean(dim=(1, 2, 3))  # it averages over mirrored borders too
    total, number = gather_ssim(prediction, truth, torch.ones_like(valid))
    torch.testing.assert_close(total / number, inside, rtol=0, atol=1e-12)


def test_ssim_of_equal_maps_is_one_and_of_a_tiny_picture_is_defined(maps):
    prediction, _, valid = maps
    total, number = gather_ssim(prediction, prediction, valid)
    torch.testing.assert_close(total / number, torch.ones(5, dtype=torch.float64))
    total, number = gather_ssim(prediction[..., :4, :6], prediction[..., :4, :6], torch.ones(5, 1, 4, 6).bool())
    torch.testing.assert_close(total / number, torch.ones(5, dtype=torch.float64))


def test_ssim_by_hand_of_constant_maps():
    # variances 0: (2 a b + C1) / (a^2 + b^2 + C1) with C1 = 0.0001
    first, second = torch.full((1, 1, 16, 16), 0.5), torch.full((1, 1, 16, 16), 0.25)
    total, number = gather_ssim(first, second, torch.ones_like(first).bool())
    assert number.item() == 36
    assert (total / number).item() == pytest.approx((0.25 + 0.0001) / (0.3125 + 0.0001), abs=1e-9)


def test_batch_size_does_not_change_a_score(maps):
    prediction, truth, valid = maps
    whole = measure_depth(prediction, truth, valid, 20.0, (truth > 0.5).float())
    for size in (1, 2):
        parts = zip(prediction.split(size), truth.split(size), valid.split(size), strict=True)
        joined = join_batches([measure_depth(p, t, v, 20.0, (t > 0.5).float()) for p, t, v in parts])
        for name, values in whole.items():
            torch.testing.assert_close(joined[name], values, rtol=1e-12, atol=1e-14)


def test_measure_has_flat_keys_and_can_leave_the_costly_ones_out(maps):
    prediction, truth, valid = maps
    batch = SimpleNamespace(mask_B1HW=truth, depth_B1HW=truth, valid_B1HW=valid)
    thorough, quick = measure(prediction, prediction, batch, 1.0), measure(prediction, prediction, batch, 1.0, thorough=False)
    assert {"mask_iou", "depth_delta1", "depth_fg_abs_rel", "depth_ssim", "depth_rmse_aligned"} <= set(thorough)
    costly = ("ssim", "silog", "boundary", "scaled", "aligned", "published")
    assert {name for name in thorough if not any(part in name for part in costly)} == set(quick)
    assert all(len(values) == 5 and values.dtype == torch.float64 for values in thorough.values())


def test_prediction_that_is_not_finite_is_rejected(maps):
    prediction, truth, valid = maps
    batch = SimpleNamespace(mask_B1HW=truth, depth_B1HW=truth, valid_B1HW=valid)
    broken = prediction.clone()
    broken[0, 0, 0, 0] = float("nan")
    with pytest.raises(ValueError, match="predicted depth has values that are not finite"):
        measure(prediction, broken, batch, 1.0)
