"""Every loss takes what every kind of network gives, or is refused before any work."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from depthmask.losses import LOSSES, weigh_losses
from depthmask.models.model_file import make_model
from depthmask.params import LossParams, ModelParams
from depthmask.params.loss import refuse_terms
from depthmask.params.model import NETWORK_FACTS

SIZE_PX = 36  # MS-SSIM wants 33
# one network for each way to give a mask and a depth
KINDS = ("compact", "dilated_small", "dilated_depth_classes", "two_stream_separable")
CHANNELS = {
    "image": {"mean": [0.5] * 3, "std": [0.2] * 3},
    "mask": {"mean": [0.08], "std": [0.25]},
    "depth": {"mean": [0.25], "std": [0.2]},
}


def rand(seed: int, channels: int = 1) -> torch.Tensor:
    return torch.rand(2, channels, SIZE_PX, SIZE_PX, generator=torch.Generator().manual_seed(seed))


def test_each_way_to_give_a_mask_and_a_depth_is_among_the_kinds():
    def describe(name: str) -> tuple:
        facts = NETWORK_FACTS[name]
        return facts.mask_gives, facts.standardised, facts.has_depth_levels

    assert {describe(name) for name in NETWORK_FACTS} == {describe(name) for name in KINDS}


@pytest.mark.parametrize("name", KINDS)
def test_every_loss_has_a_finite_slope_or_is_refused(name):
    facts = NETWORK_FACTS[name]
    torch.manual_seed(0)
    settings = ModelParams(name=name, width=4, dropout=0.0, background_input=facts.needs_background)
    model = make_model(settings, CHANNELS, {"unit": "metre", "max": 20.0}).train()
    image = rand(1, 3)
    prediction = model(image, rand(2, 3) if facts.needs_background else None)
    # a truth not unlike the prediction: MS-SSIM has no slope where the two are opposite
    batch = SimpleNamespace(
        image_B3HW=image,
        mask_B1HW=0.7 * prediction.mask_prob_B1HW.detach() + 0.3 * rand(3),
        depth_B1HW=0.7 * prediction.depth_clamped_B1HW.detach() + 0.3 * rand(4),
        valid_B1HW=rand(5) > 0.2,
    )
    parameters = list(model.parameters())
    for task, terms in LOSSES.items():
        for term in terms:
            weights = LossParams(**{"mask": {}, "depth": {}, task: {term: 1.0}}, foreground=1.0, scale=1.0, balance=None)
            gives_logits = facts.mask_gives == "logits"
            if refuse_terms(weights, name, gives_logits=gives_logits, gives_levels=facts.has_depth_levels):
                with pytest.raises(ValueError, match="does not have"):
                    weigh_losses(prediction, batch, weights)
                continue
            total, _ = weigh_losses(prediction, batch, weights)
            slopes = torch.autograd.grad(total, parameters, retain_graph=True, allow_unused=True)
            assert torch.isfinite(total), term
            assert all(torch.isfinite(slope).all() for slope in slopes if slope is not None), term
            assert any(slope.abs().max() > 0 for slope in slopes if slope is not None), term
