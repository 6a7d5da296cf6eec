"""What every network of the registry must do."""

from __future__ import annotations

import functools
import importlib
import sys
from typing import get_args

import pytest
import torch
from choosing_networks import SLOW
from making_models import make_settings
from torch import nn

from depthmask.base.errors import UserError
from depthmask.models.blocks import ScaleMinMax, keep_dilated_depthwise_exact
from depthmask.models.model_file import DepthMaskModel, ModelCard, load_model, save_model
from depthmask.models.prediction import Prediction
from depthmask.params import NetworkParams
from depthmask.params.model import find_fault_of_size, find_nearest_sizes
from depthmask.registry.networks import NETWORKS
from depthmask.serving.folding import fold_batch_norms


def _find_peer() -> bool:
    try:
        importlib.import_module("segmentation_models_pytorch")
    except (ImportError, RuntimeError):
        return False
    return True


NEEDS_PACKAGE = pytest.mark.skipif(not _find_peer(), reason="the external network's package is not installed")
CASES = [
    pytest.param(name, background, marks=[NEEDS_PACKAGE] * (name == "smp_unet") + [pytest.mark.slow] * (name in SLOW))
    for name, spec in NETWORKS.items()
    for background in (False, True)
    if (spec.takes_background if background else not spec.needs_background)
]
SIDE = 32  # every network can take it, also a single image of it in training, but for smp_unet


@functools.cache
def _make_once(name: str, background: bool) -> DepthMaskModel:
    """In eval mode, for those who leave it as it is: large networks take a while to make."""
    return _make(name, background).eval()


def _make(name: str, background: bool) -> DepthMaskModel:
    torch.manual_seed(0)
    settings = make_settings(name, width=8, dropout=0.5, background_input=background)
    stats = {"mask_mean": 0.2, "mask_std": 0.3, "depth_mean": 0.4, "depth_std": 0.25}
    return DepthMaskModel(ModelCard(settings.model_dump(), (0.5, 0.4, 0.3), (0.2, 0.2, 0.2), "metre", 20.0, **stats))


def _inputs(background: bool, batch: int = 2, height: int = SIDE, width: int = SIDE) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.rand(batch, 3, height, width, generator=generator) for _ in range(2 if background else 1)]


def _list_maps(prediction: Prediction) -> dict[str, torch.Tensor]:
    return {name: value for name, value in prediction._asdict().items() if isinstance(value, torch.Tensor)}


def _backward(model: DepthMaskModel, inputs: list[torch.Tensor]) -> dict[str, torch.Tensor | None]:
    """Gradients of the parameters for a sum over all maps that weighs every pixel differently."""
    maps = _list_maps(model(*inputs)).values()
    generator = torch.Generator().manual_seed(2)
    sum((m * torch.rand(m.shape, generator=generator)).sum() for m in maps).backward()
    return {key: p.grad for key, p in model.named_parameters()}


@pytest.mark.parametrize(("name", "background"), CASES)
def test_in_bfloat16_on_a_cpu_gradients_are_the_same_each_time(name, background):
    """oneDNN has kernels of which that is not true; images are large enough for them."""
    inputs, found = _inputs(background, 2, 96, 96), []
    for number in range(3):
        left_behind = [torch.full((1000 * (7 + 90 * number + n),), float("nan")) for n in range(20)]
        del left_behind  # memory that is not written before it is read then shows
        model = _make(name, background).to(memory_format=torch.channels_last).train()
        torch.manual_seed(3)
        with torch.autocast("cpu", torch.bfloat16):
            prediction = model(*(picture.contiguous(memory_format=torch.channels_last) for picture in inputs))
        sum((values.float() ** 2).mean() for values in _list_maps(prediction).values()).backward()
        found.append([p.grad for p in model.parameters() if p.grad is not None])
    assert found[0] and all(torch.equal(*pair) for again in found[1:] for pair in zip(found[0], again, strict=True))


def test_a_dilated_depthwise_convolution_has_the_gradient_of_float32():
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Conv2d(48, 48, 3, padding=2, dilation=2, groups=48, bias=False))
    network.to(memory_format=torch.channels_last)
    picture = torch.randn(2, 48, 80, 80).contiguous(memory_format=torch.channels_last)
    network(picture).square().mean().backward()
    expected = network[0].weight.grad.clone()
    network.zero_grad()
    keep_dilated_depthwise_exact(network)
    with torch.autocast("cpu", torch.bfloat16):
        network(picture).square().mean().backward()
    torch.testing.assert_close(network[0].weight.grad, expected)


def test_the_schema_names_the_networks_of_the_registry():
    assert list(NETWORKS) == list(get_args(NetworkParams.model_fields["name"].annotation))


@pytest.mark.parametrize(("name", "background"), CASES)
@pytest.mark.parametrize(("height", "width"), [(SIDE, SIDE), (33, 47), (64, SIDE), (36, 80)])
def test_any_size_gives_maps_of_that_size_in_range_or_is_rejected(name, background, height, width):
    model, inputs = _make_once(name, background), _inputs(background, 1, height, width)
    if find_fault_of_size(name, height) or find_fault_of_size(name, width):
        with pytest.raises(UserError, match=f"{width} x {height} px: .* do not fit model.name: {name}; allowed: multiples of "):
            model(*inputs)
        return
    with torch.inference_mode():
        prediction = model(*inputs)
    for key, values in _list_maps(prediction).items():
        assert values.shape[0] == 1 and values.shape[2:] == (height, width), key
        assert torch.isfinite(values).all(), key
    for shown in (prediction.mask_prob_B1HW, prediction.depth_clamped_B1HW):
        assert shown.shape == (1, 1, height, width) and shown.dtype == torch.float32
        assert 0 <= shown.min() and shown.max() <= 1


@pytest.mark.parametrize("name", NETWORKS)
def test_sizes_that_are_rejected_are_those_that_the_network_cannot_take(name):
    spec = NETWORKS[name]
    assert spec.min_size_px % spec.stride == 0
    for size in (spec.min_size_px, 15 * spec.stride + spec.min_size_px):
        assert find_fault_of_size(name, size) is None
        assert find_nearest_sizes(name, size) == [size]
    odd = 3 * spec.stride + spec.min_size_px + 1
    assert find_nearest_sizes(name, odd) == [odd - 1, odd - 1 + spec.stride]
    assert find_nearest_sizes(name, spec.min_size_px - 1) == [spec.min_size_px]
    if spec.pads:
        assert find_fault_of_size(name, odd) is None
    else:
        assert find_fault_of_size(name, odd).endswith(f"as {odd - 1} or {odd - 1 + spec.stride}")


@pytest.mark.parametrize(("name", "background"), CASES)
def test_what_it_gives_is_what_its_spec_says(name, background):
    spec, model = NETWORKS[name], _make_once(name, background)
    with torch.inference_mode():
        prediction = model(*_inputs(background))
    assert (prediction.mask_logits_B1HW is not None) == (spec.mask_gives == "logits")
    assert (prediction.mask_B1HW is not None) == (spec.mask_gives == "probability")
    assert (prediction.depth_bins_BKHW is not None) == spec.has_depth_bins
    assert (prediction.stats is not None) == spec.standardised
    assert hasattr(model.network, "branches") == spec.has_branches


@pytest.mark.parametrize(("name", "background"), CASES)
def test_every_parameter_learns(name, background):
    training = _backward(_make(name, background).train(), _inputs(background))
    assert [key for key, grad in training.items() if grad is None or not torch.isfinite(grad).all()] == []
    # with fixed statistics, since a bias before a batch norm that measures them has no effect
    steady = _backward(_make(name, background).eval(), _inputs(background))
    assert [key for key, grad in steady.items() if not torch.isfinite(grad).all() or not grad.any()] == []


@pytest.mark.parametrize(("name", "background"), [case for case in CASES if case.values[0] != "smp_unet"])
def test_a_single_picture_can_be_learnt_from(name, background):
    side = max(SIDE, NETWORKS[name].deepest_stride + 1)  # smaller, and batch norm has a single value per channel
    grads = _backward(_make(name, background).train(), _inputs(background, batch=1, height=side, width=side))
    assert [key for key, grad in grads.items() if not torch.isfinite(grad).all()] == []


@pytest.mark.parametrize(("name", "background"), [case for case in CASES if NETWORKS[case.values[0]].has_branches])
def test_a_branch_serves_one_task_alone(name, background):
    model, inputs = _make(name, background).eval(), _inputs(background)
    prediction = model(*inputs)
    maps = {"mask": prediction.mask_prob_B1HW, "depth": prediction.depth_B1HW}
    for task, other in (("mask", "depth"), ("depth", "mask")):
        parameters = [p for module in model.network.branches[other] for p in module.parameters()]
        assert parameters
        grads = torch.autograd.grad(maps[task].sum(), parameters, retain_graph=True, allow_unused=True)
        assert all(grad is None for grad in grads), f"the {task} reaches the {other}'s branch"


@pytest.mark.parametrize(("name", "background"), CASES)
def test_a_batch_of_one_gives_what_it_gives_within_a_larger_one(name, background):
    model, inputs = _make_once(name, background), _inputs(background)
    with torch.inference_mode():
        both, one = model(*inputs), model(*(x[:1] for x in inputs))
    for key, values in _list_maps(one).items():
        torch.testing.assert_close(values, getattr(both, key)[:1], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("name", "background"), CASES)
def test_a_saved_model_is_the_same_model_and_the_same_bytes(name, background, tmp_path):
    model = _make_once(name, background)
    save_model(model, tmp_path / "one.safetensors", epochs=3)
    save_model(model, tmp_path / "two.safetensors", epochs=3)
    assert (tmp_path / "one.safetensors").read_bytes() == (tmp_path / "two.safetensors").read_bytes()
    loaded = load_model(tmp_path / "one.safetensors")
    assert loaded.card.epochs == 3
    inputs = _inputs(background, batch=1)
    with torch.inference_mode():
        given, again = model(*inputs), loaded(*inputs)
    assert given.stats == again.stats
    for key, values in _list_maps(given).items():
        assert torch.equal(values, getattr(again, key)), key


@pytest.mark.parametrize(("name", "background"), CASES)
def test_folded_it_gives_the_same_but_for_rounding(name, background):
    model = _make(name, background)
    with torch.no_grad():
        model.train()(*_inputs(background, batch=4, height=64, width=64))  # batch norms that have seen something
        model.eval()
        cases = [_inputs(background, 1, 64, 96), _inputs(background, 3, 96, 64)]
        given = [model(*inputs) for inputs in cases]
        fold_batch_norms(model)
        for number in (0, 1):
            for key, values in _list_maps(model(*cases[number])).items():
                torch.testing.assert_close(
                    values, getattr(given[number], key), rtol=1e-4, atol=1e-4, msg=lambda printed, key=key: f"{key}: {printed}"
                )


@pytest.mark.parametrize(("name", "background"), CASES)
def test_the_same_seed_gives_the_same_network(name, background):
    one, other = _make(name, background).state_dict(), _make_once(name, background).state_dict()
    assert all(torch.equal(values, other[key]) for key, values in one.items())


@pytest.mark.parametrize(("name", "background"), CASES)
def test_a_constant_picture_gives_finite_maps_and_gradients(name, background):
    model = _make(name, background).train()
    inputs = [torch.zeros_like(x) for x in _inputs(background)]
    assert all(torch.isfinite(values).all() for values in _list_maps(model(*inputs)).values())
    assert all(torch.isfinite(grad).all() for grad in _backward(model, inputs).values())


@pytest.mark.parametrize(("name", "background"), [case for case in CASES if case.values[1]])
def test_the_background_is_neither_ignored_nor_forgotten(name, background):
    model = _make_once(name, background)
    image, scene = _inputs(background)
    with torch.inference_mode():
        given, other = model(image, scene), model(image, 1 - scene)
    for key in ("mask_prob_B1HW", "depth_B1HW"):
        assert not torch.equal(getattr(given, key), getattr(other, key))
    with pytest.raises(ValueError, match="takes a background"):
        model(image)


@pytest.mark.parametrize(("name", "background"), [case for case in CASES if not case.values[1]])
def test_a_background_that_is_not_wanted_is_rejected(name, background):
    with pytest.raises(ValueError, match="takes no background"):
        _make_once(name, background)(*_inputs(True))


def test_a_constant_map_is_scaled_to_zero_and_its_gradient_is_finite():
    constant, nearly = torch.full((1, 1, 4, 4), 3.0), torch.full((1, 1, 4, 4), 3.0)
    nearly[0, 0, 0, 0] += 1e-6
    for values in (constant, nearly):
        values.requires_grad_(True)
        scaled = ScaleMinMax()(values)
        (scaled * torch.arange(16.0).view(1, 1, 4, 4)).sum().backward()
        assert scaled.abs().max() <= 1e-5
        assert torch.isfinite(values.grad).all() and values.grad.abs().max() <= 16


def test_every_map_of_every_picture_is_scaled_by_its_own_range():
    values = torch.tensor([[[[1.0, 3.0]], [[-2.0, 0.0]]], [[[10.0, 5.0]], [[7.0, 7.0]]]])
    assert ScaleMinMax()(values).tolist() == [[[[0.0, 1.0]], [[0.0, 1.0]]], [[[1.0, 0.0]], [[0.0, 0.0]]]]


class _Fixed(nn.Module):
    def forward(self, *_):
        maps = torch.tensor([-2.0, 0.0, 3.0, 0.5]).view(1, 1, 2, 2)
        return Prediction(None, maps, maps / 2)


def test_maps_in_standard_units_become_maps_again_and_losses_are_reported():
    model = _make("two_stream_separable", True)
    model.network = _Fixed()
    prediction = model(*_inputs(True, 1, 16, 16))
    # 0.4 + 0.25 d, and 0.2 + 0.3 m
    assert prediction.depth_B1HW.flatten().tolist() == pytest.approx([-0.1, 0.4, 1.15, 0.525])
    assert prediction.mask_B1HW.flatten().tolist() == pytest.approx([-0.1, 0.2, 0.65, 0.275])
    assert prediction.depth_clamped_B1HW.flatten().tolist() == pytest.approx([0, 0.4, 1, 0.525])
    assert prediction.mask_prob_B1HW.flatten().tolist() == pytest.approx([0, 0.2, 0.65, 0.275])
    assert prediction.stats == (0.2, 0.3, 0.4, 0.25)


def test_the_depth_of_levels_is_their_mean():
    model = _make_once("dilated_depth_classes", False)
    with torch.inference_mode():
        prediction = model(*_inputs(False, 1, 16, 16))
    share = prediction.depth_bins_BKHW.double().softmax(dim=1)
    expected = sum(share[:, k] * k / 254 for k in range(255))
    torch.testing.assert_close(prediction.depth_B1HW[:, 0].double(), expected, rtol=1e-5, atol=1e-6)


def test_the_outside_peer_without_its_package_is_one_line_that_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "segmentation_models_pytorch", None)
    with pytest.raises(UserError, match=r"smp_unet needs the package .* pip install -e '\.\[peer\]'") as error:
        _make("smp_unet", False)
    assert "\n" not in str(error.value)


def test_the_outside_peer_reads_its_channels(monkeypatch):
    """With a stand-in for the package: the first channel is the mask's logits, the second the depth, the third unused."""

    class Unet(nn.Conv2d):
        def __init__(self, encoder_name, encoder_weights, in_channels, classes):
            assert (encoder_name, encoder_weights, classes) == ("resnet18", None, 3)
            super().__init__(in_channels, classes, 1)

    stand_in = type("package", (), {"Unet": Unet})
    monkeypatch.setitem(sys.modules, "segmentation_models_pytorch", stand_in)
    model = _make("smp_unet", True).eval()
    inputs = _inputs(True, 1, 33, 47)
    with torch.inference_mode():
        prediction = model(*inputs)
        image, background = ((x - model.mean) / model.std for x in inputs)
        maps = model.network.unet(torch.cat([background, image], dim=1))
    torch.testing.assert_close(prediction.mask_logits_B1HW, maps[:, :1])
    torch.testing.assert_close(prediction.depth_B1HW, maps[:, 1:2].sigmoid())
