"""Networks on a pretrained encoder: their files, and what of the encoder a phase trains."""

from __future__ import annotations

import pytest
import torch
from making_models import make_settings

from depthmask.models.model_card import EncoderCard
from depthmask.models.model_file import DepthMaskModel, load_model, make_model, save_model
from depthmask.params import ModelParams
from depthmask.training.freezing import freeze_modules, set_training
from depthmask.training.schedules import make_optimizer, make_scheduler

IMAGE = {"image": {"mean": [0.5] * 3, "std": [0.2] * 3}}
CARD = EncoderCard("imagenet", "a package 1.0 (PyPI)", "Apache-2.0", "0" * 64)


def test_a_file_says_where_the_weights_of_its_encoder_are_from(tmp_path):
    model = make_model(make_settings("encoder_decoder"), IMAGE, {"unit": "metre", "max": 20.0}, encoder=CARD).eval()
    save_model(model, tmp_path / "m.safetensors")
    loaded = load_model(tmp_path / "m.safetensors")
    assert loaded.card == model.card
    assert loaded.card.encoder == CARD
    image = torch.rand(1, 3, 36, 52)
    with torch.inference_mode():
        assert torch.equal(loaded(image).depth_B1HW, model(image).depth_B1HW)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, "imagenet"),
        ({"name": "compact"}, "random"),
        ({"encoder_weights": "none"}, "random"),
        ({"encoder_weights": f"encoder.safetensors#sha256={'0' * 64}"}, "file"),
        ({"name": "compact", "init": f"model.safetensors#sha256={'0' * 64}"}, "file"),
    ],
)
def test_what_training_starts_from_has_a_name(changes, expected):
    given = make_settings("encoder_decoder").model_dump() | {"encoder_weights": "imagenet", "init": None}
    assert ModelParams(**(given | changes)).initial_weights == expected


@pytest.fixture(scope="module")
def model() -> DepthMaskModel:
    torch.manual_seed(0)
    return make_model(make_settings("encoder_decoder"), IMAGE, {"unit": "metre", "max": 20.0})


def take_step(model: DepthMaskModel, phase) -> set[str]:
    """The names of the tensors that a step changes."""
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with freeze_modules(model, phase) as frozen:
        set_training(model, frozen)
        optimizer = make_optimizer(model, phase, fused=False)
        prediction = model(torch.rand(2, 3, 48, 48))
        (prediction.mask_logits_B1HW.square().mean() + prediction.depth_B1HW.square().mean()).backward()
        optimizer.step()
        optimizer.zero_grad()
    return {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}


def test_frozen_stages_stand_still_and_the_next_ones_learn(model, params):
    changed = take_step(model, params.pretrain.change(frozen_encoder_stages=2))
    stages = {name.split(".")[3] for name in changed if name.startswith("network.encoder.stages.")}
    assert stages == {"2", "3", "4"}
    assert any(name.endswith("running_mean") for name in changed if name.startswith("network.encoder."))


def test_frozen_batch_norms_keep_their_statistics_and_learn_their_weights(model, params):
    changed = take_step(model, params.pretrain.change(freeze_batch_norm=True, frozen_encoder_stages=0))
    of_encoder = {name for name in changed if name.startswith("network.encoder.")}
    assert of_encoder
    assert not any("running" in name or "num_batches" in name for name in of_encoder)
    assert any("running" in name for name in changed - of_encoder)
    norms = {name for name, module in model.named_modules() if isinstance(module, torch.nn.BatchNorm2d)}
    assert any(name.rpartition(".")[0] in norms for name in of_encoder)


@pytest.mark.parametrize("schedule", ["one_cycle", "cosine", "triangular2", "constant"])
def test_the_encoder_learns_at_its_own_rate_all_along(model, params, schedule):
    phase = params.pretrain.change(encoder_lr_factor=0.25, frozen_encoder_stages=0, schedule=schedule)
    optimizer = make_optimizer(model, phase, fused=False)
    scheduler = make_scheduler(optimizer, phase, steps_per_epoch=3)
    encoder = {id(p) for p in model.network.encoder.parameters()}
    for _ in range(4):
        rates = {bool({id(p) for p in group["params"]} & encoder): group["lr"] for group in optimizer.param_groups}
        assert rates[True] == pytest.approx(0.25 * rates[False])
        optimizer.step()
        scheduler.step()
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(list(model.parameters()))
