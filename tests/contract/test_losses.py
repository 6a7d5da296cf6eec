"""What every loss of the registry must do, whatever it reads."""

from __future__ import annotations

import pytest
import torch

from depthmask.losses import find_loss
from depthmask.params import DepthLossWeights, MaskLossWeights
from depthmask.registry.losses import LOSSES

NUM_LEVELS = 5
CASES = [tuple(term) for term in LOSSES]


def _random(seed: int, size_px: int, channels: int = 1) -> torch.Tensor:
    return torch.rand(2, channels, size_px, size_px, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _size(name: str) -> int:
    """MS-SSIM wants 33 px; the others are checked at an odd size that SSIM's window fits into."""
    return 36 if name == "ms_ssim" else 13


def _make_target(kind: str, name: str) -> torch.Tensor:
    size_px = _size(name)
    if kind == "random":
        return _random(1, size_px)
    return torch.full((2, 1, size_px, size_px), {"empty": 0.0, "full": 1.0, "constant": 0.3}[kind], dtype=torch.float64)


def _make_prediction(kind: str, reads: str, size_px: int) -> torch.Tensor:
    channels = NUM_LEVELS if reads == "bins" else 1
    if kind == "constant":
        return torch.full((2, channels, size_px, size_px), 0.4, dtype=torch.float64)
    prediction = _random(3, size_px, channels)
    if kind == "wild":
        prediction = 3 * prediction - 1
        prediction[..., 0, 0], prediction[..., 0, 1] = 0.0, 1.0
        return prediction * (40 if reads in ("logits", "bins") else 1)
    return 0.05 + 0.9 * prediction  # away from the kinks where it equals the target


def _bind(task: str, name: str, target: torch.Tensor, valid: torch.Tensor):
    """The loss as a function of the prediction alone; the image takes the target's place where that is what is read."""
    other = target.expand(-1, 3, -1, -1) if LOSSES[task, name].reads == "image" else target
    return lambda prediction: find_loss(task, name)(prediction, other, valid)


def test_the_schema_has_a_weight_for_each_loss_and_no_other():
    sections = {"mask": MaskLossWeights, "depth": DepthLossWeights}
    assert [(task, name) for task, section in sections.items() for name in section.model_fields] == list(LOSSES)


@pytest.mark.parametrize(("task", "name"), CASES)
@pytest.mark.parametrize("known", ["everywhere", "in part", "nowhere"])
def test_value_and_gradient_are_finite(task, name, known):
    reads, size_px = LOSSES[task, name].reads, _size(name)
    valid = _random(2, size_px) >= {"everywhere": 0, "in part": 0.5, "nowhere": 2}[known]
    for target in ("random", "empty", "full", "constant"):
        for kind in ("random", "constant", "wild"):
            prediction = _make_prediction(kind, reads, size_px).requires_grad_()
            value = _bind(task, name, _make_target(target, name), valid)(prediction)
            assert value.shape == ()
            assert torch.isfinite(value), (target, kind)
            value.backward()
            assert torch.isfinite(prediction.grad).all(), (target, kind)
            if known == "nowhere":
                assert value == 0 and prediction.grad.abs().max() == 0, (target, kind)


@pytest.mark.parametrize(("task", "name"), CASES)
@pytest.mark.parametrize("target", ["random", "empty", "full", "constant"])
def test_the_gradient_is_the_derivative(task, name, target):
    size_px = _size(name)
    loss = _bind(task, name, _make_target(target, name), _random(2, size_px) > 0.3)
    # equal steps of the logarithm, but for rounding, are a kink of log_gradient: there it has no derivative
    kinds = ("random",) if name == "log_gradient" and target != "random" else ("random", "constant")
    for kind in kinds:
        prediction = _make_prediction(kind, LOSSES[task, name].reads, size_px).requires_grad_()
        # a mean's slopes are small: times the number of pixels they are about 1, and the tolerance means something
        times = 1 if name == "l1_sum" else prediction.numel()
        assert torch.autograd.gradcheck(
            lambda p, times=times: times * loss(p), (prediction,), eps=1e-6, atol=1e-5, fast_mode=True
        ), kind


@pytest.mark.parametrize(("task", "name"), [case for case in CASES if case[1] != "smoothness"])
def test_the_truth_costs_nothing_and_errors_cost(task, name):
    reads, size_px = LOSSES[task, name].reads, _size(name)
    truth = (_random(1, size_px) > 0.5).double()
    right = truth
    if reads == "logits":
        right = (truth * 2 - 1) * 50
    if reads == "bins":
        right = torch.zeros(2, NUM_LEVELS, size_px, size_px, dtype=torch.float64)
        right[:, :1], right[:, -1:] = 50 * (1 - truth), 50 * truth
    loss = _bind(task, name, truth, torch.ones_like(truth, dtype=torch.bool))
    assert loss(right).item() == pytest.approx(0, abs=1e-9)
    assert loss(_make_prediction("random", reads, size_px)) > 0.01


@pytest.mark.parametrize(("task", "name"), CASES)
def test_unknown_pixels_do_not_count(task, name):
    reads, size_px = LOSSES[task, name].reads, _size(name)
    valid = torch.ones(2, 1, size_px, size_px, dtype=torch.bool)
    valid[..., :4] = False
    loss = _bind(task, name, torch.where(valid, _random(1, size_px), 0.0), valid)
    prediction = _make_prediction("random", reads, size_px)
    before = loss(prediction)
    assert loss(torch.where(valid, prediction, 1 - prediction)) == before
    assert loss(torch.where(valid, 1 - prediction, prediction)) != before


@pytest.mark.parametrize(("task", "name"), CASES)
def test_valid_as_bool_and_as_weights_of_one_are_the_same(task, name):
    size_px = _size(name)
    target, valid = _random(1, size_px), _random(2, size_px) > 0.3
    prediction = _make_prediction("random", LOSSES[task, name].reads, size_px)
    assert _bind(task, name, target, valid)(prediction) == _bind(task, name, target, valid.double())(prediction)


@pytest.mark.parametrize("name", ["dice", "dice_squared"])
def test_dice_charges_foreground_where_there_is_none(name):
    empty = torch.zeros(1, 1, 8, 8)
    everywhere = torch.ones_like(empty, dtype=torch.bool)
    costs = [
        find_loss("mask", name)((torch.arange(64).view(1, 1, 8, 8) < num_false).float(), empty, everywhere).item()
        for num_false in (0, 1, 8, 64)
    ]
    assert costs == pytest.approx([0, 1 - 1 / 2, 1 - 1 / 9, 1 - 1 / 65])
