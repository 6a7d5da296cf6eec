"""How far a network sees, and how large it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import nn

from depthmask.models.blocks import ScaleMinMax

FIRST_SIDE_PX, LAST_SIDE_PX = 256, 1024
GAIN = 0.1  # of each layer: small enough that no sum of residuals drives a sigmoid to where it has no slope


class ReceptiveField(NamedTuple):
    """Side in pixels of the square that one pixel of the mask, or of the depth, depends on; None: the whole picture."""

    mask_px: int | None
    depth_px: int | None


def measure_receptive_field(network: nn.Module, num_pictures: int, width_px: int) -> ReceptiveField:
    """The extent of the gradient of each head's middle pixel with respect to the input; changes the network for good.

    What the scaling of a whole map (`ScaleMinMax`) adds is left out. Since kernels are square, the height alone is measured,
    on a strip: num_pictures inputs (1, or 2 with the background), as wide as `width_px`, which the network must be able to
    take. A pixel whose extent reaches the edges of LAST_SIDE_PX is taken to depend on the whole picture.
    """
    _make_gradients_plain(network)
    side = FIRST_SIDE_PX
    field = _measure_extents(network, num_pictures, side, width_px)
    while None in field and side < LAST_SIDE_PX:
        side *= 2
        field = _measure_extents(network, num_pictures, side, width_px)
    return field


def _make_gradients_plain(network: nn.Module) -> None:
    """Equal positive weights, no biases, and no activation or maximum that could hide an input: no gradient cancels or stops.

    float64, because what comes from a corner has passed through the corners of all kernels, and is tiny.
    """
    network.double().eval().requires_grad_(False)
    for module in list(network.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.ReLU | ScaleMinMax):
                setattr(module, name, nn.Identity())
            elif isinstance(child, nn.MaxPool2d):
                setattr(module, name, nn.AvgPool2d(child.kernel_size, child.stride, child.padding))
            elif isinstance(child, nn.BatchNorm2d):
                child.reset_parameters()
            elif getattr(child, "weight", None) is not None:
                nn.init.constant_(child.weight, GAIN / child.weight[0].numel())
                if child.bias is not None:
                    nn.init.zeros_(child.bias)


def _measure_extents(network: nn.Module, num_pictures: int, side: int, width: int) -> ReceptiveField:
    """Rows between the first and the last that the middle pixel of each map depends on; None if they reach to an edge."""
    pictures = [torch.zeros(1, 3, side, width, dtype=torch.float64, requires_grad=True) for _ in range(num_pictures)]
    prediction = network(*pictures)
    mask = prediction.mask_B1HW if prediction.mask_logits_B1HW is None else prediction.mask_logits_B1HW
    extents = []
    for map_B1HW in (mask, prediction.depth_B1HW):
        slopes = torch.autograd.grad(map_B1HW[0, 0, side // 2, width // 2], pictures, retain_graph=True, allow_unused=True)
        used = sum(slope.abs().sum(dim=(0, 1, 3)) for slope in slopes if slope is not None).nonzero().flatten()
        first, last = int(used.min()), int(used.max())
        extents.append(None if first == 0 or last == side - 1 else last - first + 1)
    return ReceptiveField(*extents)


def count_parameters_at_each_use(network: nn.Module, *inputs: torch.Tensor) -> int:
    """The parameters of every layer, as often as the layer runs in one pass over `inputs`: shared layers count repeatedly."""
    total = 0

    def count(layer: nn.Module, *_) -> None:
        nonlocal total
        total += sum(p.numel() for p in layer.parameters(recurse=False))

    with _watch(network, count), torch.inference_mode():
        network.eval()(*inputs)
    return total


@contextmanager
def _watch(network: nn.Module, tell: Callable) -> Iterator[None]:
    """Within the block `tell` is called after each run of each layer."""
    hooks = [module.register_forward_hook(tell) for module in network.modules()]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
