"""How losses become one number: weights, factor, balance, resolution, stats, and what is refused."""

from __future__ import annotations

import contextlib
from types import SimpleNamespace

import pytest
import torch
from torch.nn import functional as F

from depthmask.losses import find_loss, list_terms, weigh_losses
from depthmask.models.prediction import NormalizationStats, Prediction
from depthmask.params import LossParams
from depthmask.params.loss import find_fault_of_loss_size, find_fault_of_terms
from depthmask.registry.losses import LOSSES

SIZE_PX = 16


def rand(seed: int, channels: int = 1, size_px: int = SIZE_PX) -> torch.Tensor:
    return torch.rand(2, channels, size_px, size_px, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def batch() -> SimpleNamespace:
    return SimpleNamespace(image_B3HW=rand(0, 3), mask_B1HW=(rand(1) > 0.7).float(), depth_B1HW=rand(2), valid_B1HW=rand(3) > 0.2)


@pytest.fixture
def prediction() -> Prediction:
    return Prediction(mask_logits_B1HW=4 * rand(4) - 2, depth_B1HW=rand(5))


def make_weights(mask: dict | None = None, depth: dict | None = None, **rest) -> LossParams:
    common = {"foreground": 1.0, "scale": 1.0, "balance": None}
    return LossParams(mask=mask or {}, depth=depth or {}, **common | rest)


def test_the_sum_is_of_the_named_terms_and_the_rest_is_skipped(prediction, batch):
    weights = make_weights({"bce_with_logits": 2.0, "dice": 0.5}, {"l1": 0.25, "gradient": 3.0})
    total, terms = weigh_losses(prediction, batch, weights)
    assert (
        list(terms)
        == list_terms(weights)
        == [
            ("mask", "bce_with_logits"),
            ("mask", "dice"),
            ("depth", "l1"),
            ("depth", "gradient"),
        ]
    )
    bce, dice, l1, gradient = (value.item() for value in terms.values())
    assert total.item() == pytest.approx(2 * bce + 0.5 * dice + 0.25 * l1 + 3 * gradient)
    expected = find_loss("mask", "dice")(torch.sigmoid(prediction.mask_logits_B1HW), batch.mask_B1HW, torch.ones(2, 1, 1, 1))
    assert dice == pytest.approx(expected.item())


def test_terms_of_the_default_recipe_are_those_that_it_names(params):
    weights = params.loss
    assert {term: weights.weigh(term) for term in list_terms(weights)} == {
        ("mask", "bce_with_logits"): 2.0,
        ("mask", "dice"): 2.0,
        ("depth", "log_l1"): 1.5,
        ("depth", "log_gradient"): 0.5,
    }
    assert [term.column for term in list_terms(weights)][2:] == ["depth_log_l1", "depth_log_gradient"]


def test_every_loss_can_be_weighed(prediction, batch):
    bins = rand(6, channels=5)
    prediction = prediction._replace(depth_bins_BKHW=bins)
    for task, name in LOSSES:
        if name != "ms_ssim":
            total, _ = weigh_losses(prediction, batch, make_weights(**{task: {name: 2.0}}))
            assert torch.isfinite(total), name


@pytest.mark.parametrize("scale", [1.0, 10.0, 70.0])
def test_the_whole_sum_is_multiplied_by_scale_and_terms_are_not(prediction, batch, scale):
    named = {"mask": {"mse": 1.0}, "depth": {"mse": 1.0, "ssim": 1.0}}
    total, terms = weigh_losses(prediction, batch, make_weights(**named, scale=scale))
    assert total.item() == pytest.approx(scale * sum(value.item() for value in terms.values()))


def test_a_mixture_of_l1_and_ms_ssim_is_made_by_weights():
    batch = SimpleNamespace(image_B3HW=rand(0, 3, 33), mask_B1HW=rand(1, 1, 33), depth_B1HW=rand(2, 1, 33))
    batch.valid_B1HW = torch.ones(2, 1, 33, 33, dtype=torch.bool)
    prediction = Prediction(None, 0.5 * batch.depth_B1HW + 0.5 * rand(3, 1, 33), 0.5 * batch.mask_B1HW)
    mixture = {"l1": 0.16, "ms_ssim": 0.84}
    total, terms = weigh_losses(prediction, batch, make_weights(mixture, mixture))
    expected = sum(0.16 * terms[task, "l1"] + 0.84 * terms[task, "ms_ssim"] for task in ("mask", "depth"))
    assert total.item() == pytest.approx(expected.item())


@pytest.mark.parametrize(
    ("mask_weight", "largest", "factor"),
    [
        pytest.param(0.5, 20.0, None, id="depth loss / mask loss"),
        pytest.param(1e-6, 20.0, 20.0, id="at most max"),
        pytest.param(1e-6, 4.0, 4.0, id="at most another max"),
        pytest.param(100.0, 20.0, 1.0, id="at least 1"),
    ],
)
def test_balance(prediction, batch, mask_weight, largest, factor):
    logits = prediction.mask_logits_B1HW.requires_grad_()
    depth = prediction.depth_B1HW.requires_grad_()
    weights = make_weights({"mse": mask_weight}, {"l1": 3.0}, balance={"max": largest})
    total, terms = weigh_losses(prediction, batch, weights)
    mask_loss, depth_loss = mask_weight * terms["mask", "mse"], 3 * terms["depth", "l1"]
    factor = (depth_loss / mask_loss).item() if factor is None else factor
    assert 1 <= factor <= largest
    assert total.item() == pytest.approx((factor * mask_loss + depth_loss).item())
    # not differentiated: the slopes are those of a sum with a constant factor
    slopes = torch.autograd.grad(total, (logits, depth), retain_graph=True)
    expected = torch.autograd.grad(factor * mask_loss + depth_loss, (logits, depth))
    for slope, other in zip(slopes, expected, strict=True):
        torch.testing.assert_close(slope, other)


def test_balance_of_a_perfect_mask_is_finite(batch):
    right = Prediction(None, 0.5 * batch.depth_B1HW, batch.mask_B1HW)
    weights = make_weights({"l1": 1.0}, {"l1": 1.0}, balance={"max": 20.0})
    total, terms = weigh_losses(right, batch, weights)
    assert total == terms["depth", "l1"] > 0
    everything_right = Prediction(None, batch.depth_B1HW, batch.mask_B1HW)
    assert weigh_losses(everything_right, batch, weights)[0] == 0


def test_only_the_terms_of_the_tasks_count(prediction, batch):
    weights = make_weights({"bce_with_logits": 2.0}, {"l1": 1.0}, scale=3.0, balance={"max": 20.0})
    for task, name, factor in (("mask", "bce_with_logits", 6), ("depth", "l1", 3)):
        assert list_terms(weights, tasks=(task,)) == [(task, name)]
        total, terms = weigh_losses(prediction, batch, weights, tasks=(task,))
        assert list(terms) == [(task, name)]
        assert total.item() == pytest.approx(factor * terms[task, name].item())
    with pytest.raises(ValueError, match="no loss of these tasks"):
        weigh_losses(prediction, batch, make_weights({"l1": 1.0}), tasks=("depth",))


def test_the_foreground_counts_as_often_as_configured(batch):
    batch.mask_B1HW = torch.zeros(2, 1, SIZE_PX, SIZE_PX)
    batch.mask_B1HW[..., : SIZE_PX // 4] = 1
    batch.depth_B1HW, batch.valid_B1HW = torch.full_like(batch.mask_B1HW, 0.5), torch.ones_like(batch.mask_B1HW).bool()
    prediction = Prediction(torch.zeros_like(batch.mask_B1HW), torch.where(batch.mask_B1HW > 0, 0.9, 0.6))
    costs = [
        weigh_losses(prediction, batch, make_weights(depth={"l1": 1.0}, foreground=foreground))[0].item()
        for foreground in (1.0, 3.0)
    ]
    assert costs == [pytest.approx(0.25 * 0.4 + 0.75 * 0.1), pytest.approx((0.75 * 0.4 + 0.75 * 0.1) / 1.5)]


def test_outputs_and_targets_are_enlarged_before_the_loss(prediction, batch):
    batch.valid_B1HW = torch.ones_like(batch.valid_B1HW)
    weights = make_weights({"bce_with_logits": 1.0, "mse": 1.0}, {"mse": 1.0, "smoothness": 1.0})

    def enlarge(maps: torch.Tensor) -> torch.Tensor:
        return F.interpolate(maps, scale_factor=2, mode="bilinear", align_corners=False)

    larger = SimpleNamespace(**{name: enlarge(maps.float()) for name, maps in vars(batch).items()})
    larger.valid_B1HW = larger.valid_B1HW > 0.5
    by_hand, _ = weigh_losses(Prediction(*map(enlarge, prediction[:2])), larger, weights)
    total, terms = weigh_losses(prediction, batch, weights, upscale=2)
    assert total.item() == pytest.approx(by_hand.item())
    assert terms["mask", "mse"] != weigh_losses(prediction, batch, weights)[1]["mask", "mse"]


def test_an_unknown_depth_is_not_mixed_into_an_enlarged_one(prediction, batch):
    batch.valid_B1HW[..., :8] = False
    batch.depth_B1HW = torch.where(batch.valid_B1HW, 0.7, 0.0)
    prediction = prediction._replace(depth_B1HW=torch.full_like(batch.depth_B1HW, 0.7))
    total, _ = weigh_losses(prediction, batch, make_weights(depth={"l1": 1.0}), upscale=4)
    assert total.item() == pytest.approx(0, abs=1e-6)
    batch.valid_B1HW[:] = False
    assert weigh_losses(prediction, batch, make_weights(depth={"l1": 1.0}), upscale=2)[0] == 0


def test_a_network_that_learns_by_normalized_maps_is_compared_by_them(batch):
    stats = NormalizationStats(mask_mean=0.1, mask_std=0.25, depth_mean=0.3, depth_std=0.2)
    mask, depth = rand(4) - 0.2, rand(5) + 0.1
    prediction = Prediction(None, depth, mask, stats=stats)
    _, terms = weigh_losses(
        prediction, batch, make_weights({"l1": 1.0, "mse": 1.0, "dice": 1.0}, {"smooth_l1": 1.0, "ssim": 1.0})
    )
    _, plain = weigh_losses(
        prediction._replace(stats=None), batch, make_weights({"l1": 1.0, "mse": 1.0, "dice": 1.0}, {"ssim": 1.0})
    )
    assert terms["mask", "l1"].item() == pytest.approx(plain["mask", "l1"].item() / 0.25)
    assert terms["mask", "mse"].item() == pytest.approx(plain["mask", "mse"].item() / 0.25**2)
    # overlap and similarity are those of maps of 0..1
    assert terms["mask", "dice"] == plain["mask", "dice"] and terms["depth", "ssim"] == plain["depth", "ssim"]
    error = (depth - batch.depth_B1HW)[batch.valid_B1HW] / 0.2
    assert terms["depth", "smooth_l1"].item() == pytest.approx(F.smooth_l1_loss(error, torch.zeros_like(error)).item())


def test_a_network_that_gives_a_mask_and_no_logits(batch):
    prediction = Prediction(None, rand(5), rand(4))
    _, terms = weigh_losses(prediction, batch, make_weights({"bce": 1.0, "dice": 1.0}))
    expected = F.binary_cross_entropy(prediction.mask_B1HW.clamp(1e-3, 1 - 1e-3), batch.mask_B1HW)
    assert terms["mask", "bce"].item() == pytest.approx(expected.item(), rel=1e-2)
    with pytest.raises(ValueError, match="reads logits"):
        weigh_losses(prediction, batch, make_weights({"bce_with_logits": 1.0}))
    with pytest.raises(ValueError, match="reads bins"):
        weigh_losses(prediction, batch, make_weights(depth={"cross_entropy": 1.0}))


def test_half_precision_is_weighed_in_float32(prediction, batch):
    halves = Prediction(*(maps.bfloat16() for maps in prediction[:2]))
    total, terms = weigh_losses(halves, batch, make_weights({"bce_with_logits": 1.0}, {"log_l1": 1.0}))
    assert {value.dtype for value in (total, *terms.values())} == {torch.float32}


def test_each_term_is_computed_inside_its_timer(prediction, batch):
    log = []

    @contextlib.contextmanager
    def timer(name):
        log.append(f"{name} begins")
        yield
        log.append(f"{name} ends")

    weights = make_weights({"mse": 1.0}, {"l1": 1.0})
    total, terms = weigh_losses(prediction, batch, weights, timer=timer)
    assert log == ["mask_mse begins", "mask_mse ends", "depth_l1 begins", "depth_l1 ends"]
    assert (total, terms) == weigh_losses(prediction, batch, weights)


def test_terms_that_a_network_cannot_serve_are_rejected_in_one_line():
    logits, bins = make_weights({"bce_with_logits": 2.0}), make_weights(depth={"cross_entropy": 0.5})
    assert find_fault_of_terms(logits, "compact") is None
    assert find_fault_of_terms(bins, "dilated_depth_classes") is None
    printed = find_fault_of_terms(logits, "dilated_small")
    assert printed.startswith("loss.mask.bce_with_logits: 2; model.name: dilated_small") and "allowed: 0, and bce" in printed
    printed = find_fault_of_terms(bins, "compact")
    assert printed.startswith("loss.depth.cross_entropy: 0.5; model.name: compact") and printed.endswith("allowed: 0")


@pytest.mark.parametrize("task", ["mask", "depth"])
def test_ms_ssim_of_small_pictures_is_rejected_for_either_task(task):
    weights = make_weights(**{task: {"ms_ssim": 1.0}})
    assert find_fault_of_loss_size(weights, 33) is None
    assert find_fault_of_loss_size(weights, 32) == f"loss.{task}.ms_ssim needs images of at least 33 px"
    assert find_fault_of_loss_size(make_weights({"ssim": 1.0}), 16) is None


@pytest.mark.parametrize(
    ("values", "printed"),
    [
        ({"mask": {}, "depth": {}}, "every weight is 0"),
        ({"mask": {"l1": 1.0}, "depth": {}, "balance": {"max": 20.0}}, r"balance\.max: 20\.0 .* one of them has no weight"),
        ({"mask": {"l1": 1.0}, "depth": {"l1": 1.0}, "balance": {"max": 0.5}}, "greater than or equal to 1"),
        ({"mask": {"l1": 1.0}, "depth": {}, "scale": 0.0}, "greater than or equal to 0.000001"),
    ],
)
def test_weights_that_make_no_sense_are_rejected(values, printed):
    with pytest.raises(ValueError, match=printed):
        make_weights(**values)
