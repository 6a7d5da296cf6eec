"""What every loss of the registries must do."""

from __future__ import annotations

import math

import pytest
import torch

from depthmask.losses import DEPTH_LOSSES, MASK_LOSSES, name_terms, weigh_losses
from depthmask.models import Prediction
from depthmask.params import DepthLossWeights, LossParams, MaskLossWeights

SIZE = 36  # MS-SSIM wants 33
LOSSES = [("mask", name) for name in MASK_LOSSES] + [("depth", name) for name in DEPTH_LOSSES]


def _random(seed: int, size: int = SIZE) -> torch.Tensor:
    return torch.rand(2, 1, size, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


TARGETS = {
    "random": _random(1),
    "empty": torch.zeros(2, 1, SIZE, SIZE, dtype=torch.float64),
    "full": torch.ones(2, 1, SIZE, SIZE, dtype=torch.float64),
    "constant": torch.full((2, 1, SIZE, SIZE), 0.3, dtype=torch.float64),
}


def _get(task: str, name: str):
    return (MASK_LOSSES if task == "mask" else DEPTH_LOSSES)[name]


def test_the_schema_has_a_weight_for_each_loss_and_no_other():
    assert set(MaskLossWeights.model_fields) == set(MASK_LOSSES)
    assert set(DepthLossWeights.model_fields) == set(DEPTH_LOSSES)


@pytest.mark.parametrize(("task", "name"), LOSSES)
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("known", ["everywhere", "in part", "nowhere"])
def test_value_and_gradient_are_finite(task, name, target, known):
    valid = {"everywhere": _random(2) >= 0, "in part": _random(2) > 0.5, "nowhere": _random(2) > 2}[known]
    prediction = _random(3).requires_grad_()
    value = _get(task, name)(prediction, TARGETS[target], valid)
    assert value.shape == ()
    assert torch.isfinite(value)
    value.backward()
    assert torch.isfinite(prediction.grad).all()
    if known == "nowhere":
        assert prediction.grad.abs().max() == 0


@pytest.mark.parametrize(("task", "name"), LOSSES)
@pytest.mark.parametrize("target", TARGETS)
def test_the_gradient_is_the_derivative(task, name, target):
    valid = _random(2) > 0.3
    prediction = (0.05 + 0.9 * _random(3)).requires_grad_()  # away from the kink where it equals the target
    truth = TARGETS[target]
    assert torch.autograd.gradcheck(
        lambda p: _get(task, name)(p, truth, valid), (prediction,), eps=1e-7, atol=1e-4, fast_mode=True
    )


@pytest.mark.parametrize(("task", "name"), LOSSES)
def test_the_truth_costs_least_and_errors_cost(task, name):
    truth = (_random(1) > 0.5).double() if task == "mask" else _random(1)
    everywhere = torch.ones_like(truth, dtype=torch.bool)
    right = (truth * 2 - 1) * 30 if task == "mask" else truth
    loss = _get(task, name)
    assert loss(right, truth, everywhere).item() == pytest.approx(0, abs=2e-3)
    assert loss(_random(5), truth, everywhere) > 0.01


@pytest.mark.parametrize(("task", "name"), LOSSES)
def test_unknown_pixels_do_not_count(task, name):
    valid = torch.ones(2, 1, SIZE, SIZE, dtype=torch.bool)
    valid[..., :4] = False
    truth, prediction = TARGETS["random"], _random(3)
    spoilt = torch.where(valid, prediction, 1 - prediction)
    loss = _get(task, name)
    assert loss(spoilt, torch.where(valid, truth, 0.0), valid).item() == pytest.approx(
        loss(prediction, torch.where(valid, truth, 0.0), valid).item(), rel=0.2 if "ssim" in name else 1e-9
    )


def test_dice_charges_foreground_where_there_is_none():
    empty = torch.zeros(1, 1, 8, 8)
    everywhere = torch.ones_like(empty, dtype=torch.bool)
    costs = [
        MASK_LOSSES["dice"](torch.where(torch.arange(64).view(1, 1, 8, 8) < n, 20.0, -20.0), empty, everywhere) for n in (0, 1, 8)
    ]
    assert [round(c.item(), 4) for c in costs] == [0.0, 0.5, round(1 - 1 / 9, 4)]


def test_values_worked_out_by_hand():
    truth = torch.tensor([[[[0.2, 0.4], [0.5, 0.0]]]])
    depth = torch.tensor([[[[0.1, 0.4], [0.8, 0.9]]]])
    valid = torch.tensor([[[[True, True], [True, False]]]])
    assert DEPTH_LOSSES["l1"](depth, truth, valid).item() == pytest.approx((0.1 + 0 + 0.3) / 3)
    # errors -0.1, 0 / 0.3: one known step right (0.1), one known step down (0.4)
    assert DEPTH_LOSSES["gradient"](depth, truth, valid).item() == pytest.approx(0.1 + 0.4)
    logs = abs(math.log(0.101 / 0.201)) + 0 + abs(math.log(0.801 / 0.501))
    assert DEPTH_LOSSES["log_l1"](depth, truth, valid).item() == pytest.approx(logs / 3, rel=1e-5)
    assert MASK_LOSSES["bce"](torch.zeros(1, 1, 2, 2), truth, valid).item() == pytest.approx(math.log(2))


def test_steps_of_the_log_error_worked_out_by_hand():
    truth = torch.full((1, 1, 4, 4), 0.2, dtype=torch.float64)
    errors = torch.zeros_like(truth)
    errors[..., :2, :2] = 0.6  # the upper left quarter is too far by a factor of e^0.6
    depth = (truth + 1e-3) * errors.exp() - 1e-3
    everywhere = torch.ones_like(truth, dtype=torch.bool)
    # right: 2 of 12 steps at 1 px, 1 of 2 at 2 px, none where one cell holds all; down likewise
    expected = 2 * (2 / 12 + 1 / 2) * 0.6
    assert DEPTH_LOSSES["log_gradient"](depth, truth, everywhere).item() == pytest.approx(expected)
    assert DEPTH_LOSSES["log_gradient"](1.7 * depth + 0.7e-3, truth, everywhere).item() == pytest.approx(expected)
    # without one of the quarter's pixels its cell has the same mean, but one of the two steps that differ is unknown
    everywhere[..., 1, 1] = False
    assert DEPTH_LOSSES["log_gradient"](depth, truth, everywhere).item() == pytest.approx(2 * (1 / 10 + 1 / 2) * 0.6)


def test_weighting_sums_the_named_terms_and_skips_the_rest():
    class Truth:
        mask_B1HW, depth_B1HW = (_random(1) > 0.5).float(), _random(2).float()
        valid_B1HW = torch.ones(2, 1, SIZE, SIZE, dtype=torch.bool)

    weights = LossParams(mask=MaskLossWeights(bce=2.0), depth=DepthLossWeights(l1=0.5, gradient=3.0), foreground=1.0)
    total, terms = weigh_losses(Prediction(_random(3).float(), _random(4).float()), Truth, weights)
    assert list(terms) == name_terms(weights) == ["mask_bce", "depth_l1", "depth_gradient"]
    assert total.item() == pytest.approx(
        2 * terms["mask_bce"].item() + 0.5 * terms["depth_l1"].item() + 3 * terms["depth_gradient"].item()
    )


def test_the_foreground_counts_as_often_as_it_is_told():
    class Truth:
        mask_B1HW = torch.zeros(1, 1, SIZE, SIZE)
        depth_B1HW = torch.full((1, 1, SIZE, SIZE), 0.5)
        valid_B1HW = torch.ones(1, 1, SIZE, SIZE, dtype=torch.bool)

    Truth.mask_B1HW[..., : SIZE // 4] = 1
    depth = torch.where(Truth.mask_B1HW > 0, 0.9, 0.6)
    costs = []
    for foreground in (1.0, 3.0):
        weights = LossParams(mask=MaskLossWeights(), depth=DepthLossWeights(l1=1.0), foreground=foreground)
        costs.append(weigh_losses(Prediction(torch.zeros_like(depth), depth), Truth, weights)[0].item())
    assert costs == [pytest.approx(0.25 * 0.4 + 0.75 * 0.1), pytest.approx((0.75 * 0.4 + 0.75 * 0.1) / 1.5)]
