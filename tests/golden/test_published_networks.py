"""The published systems' networks give what their authors' own code gave, and are made of the same layers.

published/NAME.npz: the authors' mask and depth for weights and inputs that follow from fixed generators; published/NAME.csv:
their convolutions and batch norms in the order in which they first run.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from making_models import make_settings
from torch import nn

from depthmask.commands.models import count_parameters_at_each_use
from depthmask.models import make_network
from depthmask.models.model_file import count_parameters
from depthmask.registry.networks import NETWORKS

sys.path.insert(0, str(Path(__file__).parent))
from make import FOLDER, set_keyed_weights

PUBLISHED = FOLDER / "published"
NUM_PARAMETERS = {
    "dilated_small": 224_688,
    "dilated_plain": 893_792,
    "dilated_residual": 893_792,
    "dilated_depth_classes": 958_816,
    "resnet18_shuffle": 11_497_744,
    "multi_dilation_unet": 2_317_200,
    "dense_concat": 24_019_618,
    "branched_unet": 33_389_314,
    "two_stream_separable": 493_408,
}
SIZE_PX = {"dense_concat": 32, "two_stream_separable": 128}
LEVEL_STEP = 16  # every so many levels of dilated_depth_classes are in its file


def _build(name: str) -> nn.Module:
    background = NETWORKS[name].needs_background
    return make_network(make_settings(name, width=16, dropout=0.0, background_input=background)).eval()


def _make_inputs(name: str) -> list[torch.Tensor]:
    """Image and, if the network takes it, background; the background is drawn first."""
    r = np.random.default_rng(99)
    shape = (2, 3, SIZE_PX.get(name, 64), SIZE_PX.get(name, 64))
    background, image = (torch.from_numpy(r.random(shape).astype(np.float32)) for _ in range(2))
    return [image, background] if NETWORKS[name].needs_background else [image]


def _list_layers(network: nn.Module, inputs: list[torch.Tensor]) -> list[nn.Module]:
    """Convolutions and batch norms in the order in which they first run, each once."""
    order: dict[nn.Module, None] = {}
    layers = [module for module in network.modules() if isinstance(module, nn.Conv2d | nn.BatchNorm2d)]
    hooks = [layer.register_forward_hook(lambda layer, *_: order.setdefault(layer)) for layer in layers]
    with torch.inference_mode():
        network(*(x[:1, :, :32, :32] for x in inputs))
    for hook in hooks:
        hook.remove()
    return list(order)


def _describe(layer: nn.Module) -> list[str]:
    if isinstance(layer, nn.BatchNorm2d):
        return ["BatchNorm2d", *[str(layer.num_features)] * 2, *[""] * 5, "1"]
    kernel, stride, padding, dilation = (pair[0] for pair in (layer.kernel_size, layer.stride, layer.padding, layer.dilation))
    numbers = (layer.in_channels, layer.out_channels, kernel, stride, padding, dilation, layer.groups, layer.bias is not None)
    return ["Conv2d", *(str(int(number)) for number in numbers)]


def test_every_published_network_has_its_numbers():
    published = {name for name, spec in NETWORKS.items() if spec.is_published}
    assert published == set(NUM_PARAMETERS) == {path.stem for path in PUBLISHED.glob("*.npz")}


@pytest.mark.parametrize("name", NUM_PARAMETERS)
def test_it_computes_what_its_authors_code_computes(name):
    network, inputs = _build(name), _make_inputs(name)
    layers = _list_layers(network, inputs)
    with (PUBLISHED / f"{name}.csv").open(newline="") as file:
        assert [_describe(layer) for layer in layers] == [row[1:] for row in csv.reader(file)][1:]
    set_keyed_weights(layers)
    with torch.inference_mode():
        prediction = network(*inputs)
    mask = prediction.mask_logits_B1HW if prediction.mask_B1HW is None else prediction.mask_B1HW
    depth, levels = prediction.depth_B1HW, prediction.depth_bins_BKHW
    made = {"mask": mask, "depth": depth if levels is None else levels.softmax(dim=1)[:, ::LEVEL_STEP]}
    golden = np.load(PUBLISHED / f"{name}.npz")
    for key in ("mask", "depth"):
        assert made[key].shape == golden[key].shape
        assert np.abs(made[key].numpy() - golden[key]).max() <= 1e-4 * np.abs(golden[key]).max(), key


@pytest.mark.parametrize("name", NUM_PARAMETERS)
def test_it_has_as_many_parameters_as_published(name):
    with torch.device("meta"):
        assert count_parameters(_build(name)) == NUM_PARAMETERS[name]


def test_system_d_counts_shared_layers_at_each_use():
    picture = torch.zeros(1, 3, 16, 16)
    assert count_parameters_at_each_use(_build("two_stream_separable"), picture, picture) == 677_824
