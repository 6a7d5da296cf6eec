"""What every network of the registry must do."""

from __future__ import annotations

import pytest
import torch

from depthmask.models import NETWORKS
from depthmask.models.model_file import DepthMaskModel, ModelCard, load_model, save_model
from depthmask.params import ModelParams

CASES = [(name, background) for name in NETWORKS for background in (False, True)]


def _make(name: str, background: bool) -> DepthMaskModel:
    torch.manual_seed(0)
    settings = ModelParams(name=name, width=8, dropout=0.5, background_input=background)
    card = ModelCard(settings.model_dump(), (0.5, 0.4, 0.3), (0.2, 0.2, 0.2), "metre", 20.0)
    return DepthMaskModel(card)


def _inputs(background: bool, batch: int = 2, height: int = 32, width: int = 32) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.rand(batch, 3, height, width, generator=generator) for _ in range(2 if background else 1)]


@pytest.mark.parametrize(("name", "background"), CASES)
@pytest.mark.parametrize(("height", "width"), [(32, 32), (33, 47), (64, 16), (17, 80)])
def test_any_size_gives_maps_of_that_size_in_range(name, background, height, width):
    model = _make(name, background).eval()
    with torch.inference_mode():
        logits, depth = model(*_inputs(background, height=height, width=width))
    assert logits.shape == depth.shape == (2, 1, height, width)
    assert torch.isfinite(logits).all()
    assert 0 <= depth.min() and depth.max() <= 1


@pytest.mark.parametrize(("name", "background"), CASES)
def test_every_parameter_learns(name, background):
    model = _make(name, background).train()
    logits, depth = model(*_inputs(background))
    (logits.square().mean() + depth.square().mean()).backward()
    idle = [key for key, p in model.named_parameters() if p.grad is None or not torch.isfinite(p.grad).all() or not p.grad.any()]
    assert not idle


@pytest.mark.parametrize(("name", "background"), CASES)
def test_a_batch_of_one_gives_what_it_gives_within_a_larger_one(name, background):
    model = _make(name, background).eval()
    inputs = _inputs(background)
    with torch.inference_mode():
        both, one = model(*inputs), model(*(x[:1] for x in inputs))
    torch.testing.assert_close(one.mask_logits_B1HW, both.mask_logits_B1HW[:1], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(one.depth_B1HW, both.depth_B1HW[:1], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("name", "background"), CASES)
def test_a_saved_model_is_the_same_model_and_the_same_bytes(name, background, tmp_path):
    model = _make(name, background).eval()
    save_model(model, tmp_path / "one.safetensors", epochs=3)
    save_model(model, tmp_path / "two.safetensors", epochs=3)
    assert (tmp_path / "one.safetensors").read_bytes() == (tmp_path / "two.safetensors").read_bytes()
    loaded = load_model(tmp_path / "one.safetensors")
    assert loaded.card.epochs == 3
    inputs = _inputs(background)
    with torch.inference_mode():
        assert torch.equal(loaded(*inputs).mask_logits_B1HW, model(*inputs).mask_logits_B1HW)
        assert torch.equal(loaded(*inputs).depth_B1HW, model(*inputs).depth_B1HW)


@pytest.mark.parametrize(("name", "background"), CASES)
def test_a_constant_picture_gives_finite_maps(name, background):
    model = _make(name, background).train()
    logits, depth = model(*(torch.zeros_like(x) for x in _inputs(background)))
    assert torch.isfinite(logits).all() and torch.isfinite(depth).all()


@pytest.mark.parametrize("name", NETWORKS)
def test_the_background_is_neither_ignored_nor_forgotten(name):
    model = _make(name, True).eval()
    image, background = _inputs(True)
    with torch.inference_mode():
        assert not torch.equal(model(image, background)[0], model(image, 1 - background)[0])
    with pytest.raises(ValueError, match="takes a background"):
        model(image)
    with pytest.raises(ValueError, match="takes no background"):
        _make(name, False)(image, background)
