"""Every loss takes what every kind of network gives, or is rejected before any work."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from depthmask.losses import weigh_losses
from depthmask.models.model_file import make_model
from depthmask.params import LossParams, NetworkParams
from depthmask.params.loss import find_fault_of_terms
from depthmask.registry.losses import LOSSES
from depthmask.registry.networks import NETWORKS

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
        spec = NETWORKS[name]
        return spec.mask_gives, spec.standardised, spec.has_depth_bins

    assert {describe(name) for name in NETWORKS} == {describe(name) for name in KINDS}


@pytest.mark.parametrize("name", KINDS)
def test_every_loss_has_a_finite_gradient_or_is_rejected(name):
    """With respect to the maps: what is behind them is the same for all losses."""
    spec = NETWORKS[name]
    torch.manual_seed(0)
    settings = NetworkParams(
        name=name, width=4, dropout=0.0, background_input=spec.needs_background, encoder="efficientnet_lite0"
    )
    model = make_model(settings, CHANNELS, {"unit": "metre", "max": 20.0}).train()
    image = rand(1, 3)
    prediction = model(image, rand(2, 3) if spec.needs_background else None)
    maps = [value for value in prediction if isinstance(value, torch.Tensor)]
    # a truth not unlike the prediction: MS-SSIM has no gradient where the two are opposite
    batch = SimpleNamespace(
        image_B3HW=image,
        mask_B1HW=0.7 * prediction.mask_prob_B1HW.detach() + 0.3 * rand(3),
        depth_B1HW=0.7 * prediction.depth_clamped_B1HW.detach() + 0.3 * rand(4),
        valid_B1HW=rand(5) > 0.2,
    )
    for term in LOSSES:
        sections = {"mask": {}, "depth": {}, term.task: {term.name: 1.0}}
        weights = LossParams(**sections, foreground=1.0, scale=1.0, balance=None)
        if find_fault_of_terms(weights, name):
            with pytest.raises(ValueError, match="does not have"):
                weigh_losses(prediction, batch, weights)
            continue
        total, _ = weigh_losses(prediction, batch, weights)
        gradients = torch.autograd.grad(total, maps, retain_graph=True, allow_unused=True)
        assert torch.isfinite(total), term
        assert all(torch.isfinite(gradient).all() for gradient in gradients if gradient is not None), term
        assert any(gradient.abs().max() > 0 for gradient in gradients if gradient is not None), term
