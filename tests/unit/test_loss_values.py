"""Losses against numbers worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from depthmask.losses import find_loss
from depthmask.losses.maps import PROBABILITY_FLOOR

# errors -0.1, 0 / 0.3; the fourth pixel is unknown
TRUTH = torch.tensor([[[[0.2, 0.4], [0.5, 0.0]]]], dtype=torch.float64)
MAP = torch.tensor([[[[0.1, 0.4], [0.8, 0.9]]]], dtype=torch.float64)
VALID = torch.tensor([[[[True, True], [True, False]]]])


def compute(task: str, name: str, prediction: torch.Tensor, truth: torch.Tensor, valid: torch.Tensor | None = None) -> float:
    everywhere = torch.ones_like(prediction[:, :1], dtype=torch.bool)
    return find_loss(task, name)(prediction, truth, everywhere if valid is None else valid).item()


@pytest.mark.parametrize("task", ["mask", "depth"])
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("l1", (0.1 + 0 + 0.3) / 3),
        ("l1_sum", 0.1 + 0 + 0.3),
        ("mse", (0.01 + 0 + 0.09) / 3),
        ("smooth_l1", (0.01 + 0 + 0.09) / 2 / 3),
        ("gradient", 0.1 + 0.4),  # one known step right, one known step down
        (
            "bce",
            -(
                0.2 * math.log(0.1)
                + 0.8 * math.log(0.9)
                + 0.4 * math.log(0.4)
                + 0.6 * math.log(0.6)
                + 0.5 * math.log(0.8)
                + 0.5 * math.log(0.2)
            )
            / 3,
        ),
    ],
)
def test_loss_of_any_map(task, name, expected):
    assert compute(task, name, MAP, TRUTH, VALID) == pytest.approx(expected)


def test_smooth_l1_beyond_1_is_linear():
    assert compute("depth", "smooth_l1", TRUTH + 3, TRUTH) == pytest.approx(3 - 0.5)


def test_bce_is_that_of_torch_and_stays_finite_where_that_jumps():
    generator = torch.Generator().manual_seed(0)
    truth = torch.rand(2, 1, 5, 5, generator=generator, dtype=torch.float64)
    prob = 0.001 + 0.998 * torch.rand(2, 1, 5, 5, generator=generator, dtype=torch.float64)
    assert compute("mask", "bce", prob, truth) == pytest.approx(F.binary_cross_entropy(prob, truth).item(), rel=1e-12)
    one = torch.ones(1, 1, 1, 1, dtype=torch.float64)
    # the tangent at the floor: one unit of log more at 0, where torch says 100
    assert compute("mask", "bce", 0 * one, one) == pytest.approx(1 - math.log(PROBABILITY_FLOOR))
    wrong = (0 * one).requires_grad_()
    find_loss("mask", "bce")(wrong, one, one).backward()
    assert wrong.grad.item() == pytest.approx(-1 / PROBABILITY_FLOOR)


def test_bce_with_logits_and_bce_agree():
    logits = torch.linspace(-6, 6, 25, dtype=torch.float64).view(1, 1, 5, 5)
    truth = logits.flip(-1).sigmoid()
    assert compute("mask", "bce_with_logits", logits, truth) == pytest.approx(compute("mask", "bce", logits.sigmoid(), truth))
    assert compute("mask", "bce_with_logits", 0 * logits, truth) == pytest.approx(math.log(2))


def test_dice():
    prob = torch.tensor([0.5, 1.0, 0.0, 0.5, 0.0, 0.0, 0.0, 0.0], dtype=torch.float64).view(2, 1, 2, 2)
    truth = torch.tensor([1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0], dtype=torch.float64).view(2, 1, 2, 2)
    # overlap 1.5; sums 2 and 2, of squares 1.5 and 2; the second image is empty in both
    assert compute("mask", "dice", prob, truth) == pytest.approx((1 - 4 / 5) / 2)
    assert compute("mask", "dice_squared", prob, truth) == pytest.approx((1 - 4 / 4.5) / 2)
    soft = torch.full((1, 1, 2, 2), 0.5, dtype=torch.float64)
    assert compute("mask", "dice_squared", soft, soft) == 0
    assert compute("mask", "dice", soft, soft) == pytest.approx(1 - 3 / 5)


def test_log_l1():
    logs = abs(math.log(0.101 / 0.201)) + 0 + abs(math.log(0.801 / 0.501))
    assert compute("depth", "log_l1", MAP, TRUTH, VALID) == pytest.approx(logs / 3)


def test_log_l1_continues_below_0_with_the_slope_that_it_has_there():
    truth = torch.zeros(1, 1, 1, 1, dtype=torch.float64)
    assert compute("depth", "log_l1", truth - 0.002, truth) == pytest.approx(0.002 / 1e-3)
    for depth in (0.0, -0.5):
        prediction = (truth + depth).requires_grad_()
        find_loss("depth", "log_l1")(prediction, truth + 0.5, truth + 1).backward()
        assert prediction.grad.item() == pytest.approx(-1 / 1e-3)


def test_steps_of_the_log_error():
    truth = torch.full((1, 1, 4, 4), 0.2, dtype=torch.float64)
    errors = torch.zeros_like(truth)
    errors[..., :2, :2] = 0.6  # the upper left quarter is too far by a factor of e^0.6
    depth = (truth + 1e-3) * errors.exp() - 1e-3
    # right: 2 of 12 steps at 1 px, 1 of 2 at 2 px, none where one cell holds all; down likewise
    expected = 2 * (2 / 12 + 1 / 2) * 0.6
    assert compute("depth", "log_gradient", depth, truth) == pytest.approx(expected)
    assert compute("depth", "log_gradient", 1.7 * depth + 0.7e-3, truth) == pytest.approx(expected)
    # without one of the quarter's pixels its cell has the same mean, but one of the two steps that differ is unknown
    known = torch.ones_like(truth, dtype=torch.bool)
    known[..., 1, 1] = False
    assert compute("depth", "log_gradient", depth, truth, known) == pytest.approx(2 * (1 / 10 + 1 / 2) * 0.6)


def test_a_step_counts_by_the_geometric_mean_of_its_pixels():
    error = torch.tensor([0.0, 1.0, 3.0, 3.0], dtype=torch.float64).view(1, 1, 1, 4)
    weights = torch.tensor([1.0, 1.0, 4.0, 4.0], dtype=torch.float64).view(1, 1, 1, 4)
    # steps 1, 2, 0 with weights 1, 2, 4
    assert compute("depth", "gradient", error, 0 * error, weights) == pytest.approx((1 + 2 * 2 + 0) / 7)


def test_smoothness_lets_depth_change_where_the_picture_does():
    depth = torch.tensor([0.2, 0.5, 0.9], dtype=torch.float64).view(1, 1, 1, 3)
    image = torch.zeros(1, 3, 1, 3, dtype=torch.float64)
    assert compute("depth", "smoothness", depth, image) == pytest.approx((0.3 + 0.4) / 2)
    image[:, 0, :, 2] = 0.6  # one of three channels steps by 0.6: a mean of 0.2
    assert compute("depth", "smoothness", depth, image) == pytest.approx((0.3 + 0.4 * math.exp(-0.2)) / 2)
    known = torch.tensor([True, True, False]).view(1, 1, 1, 3)
    assert compute("depth", "smoothness", depth, image, known) == pytest.approx(0.3)


def test_cross_entropy_of_classes_of_depth():
    # levels stand for 0, 0.5 and 1; the truth is nearest to the second, then to the third
    truth = torch.tensor([0.3, 0.76], dtype=torch.float64).view(1, 1, 1, 2)
    levels = torch.tensor([[0.0, 1.0, 0.0], [2.0, 0.0, 0.0]], dtype=torch.float64).T.reshape(1, 3, 1, 2)
    expected = -math.log(math.e / (math.e + 2)) - math.log(1 / (math.exp(2) + 2))
    assert compute("depth", "cross_entropy", levels, truth) == pytest.approx(expected / 2)
    true_class = torch.tensor([[[1, 2]]])
    assert compute("depth", "cross_entropy", levels, truth) == pytest.approx(F.cross_entropy(levels, true_class).item())
