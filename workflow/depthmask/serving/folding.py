"""Speeds up a network for prediction only, equal up to rounding: constants are precomputed and steps fused."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

from depthmask.models.compact import Place, SeparableBlock, Trunk

SIZES_MAX = 16  # sizes whose places are cached; photos of one camera have one or two


class RememberedPlace(nn.Module):
    """A `Place` with its maps cached by size."""

    def __init__(self, place: Place):
        super().__init__()
        self.place, self._maps = place, {}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        key = (*x.shape[-2:], x.device)
        if key not in self._maps:
            if len(self._maps) == SIZES_MAX:
                self._maps.clear()
            self._maps[key] = self.place(torch.zeros_like(x[:1]))
        return x + self._maps[key]


class PointwiseConv(nn.Module):
    """A 1 x 1 convolution as a matrix product, which it is in channels-last memory."""

    def __init__(self, conv: nn.Conv2d):
        super().__init__()
        self.weight, self.bias = nn.Parameter(conv.weight.detach().flatten(1)), conv.bias

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.linear(x.permute(0, 2, 3, 1), self.weight, self.bias).permute(0, 3, 1, 2)


class OneDnnConv(nn.Module):
    """A convolution by the operator that torch's compiler uses on CPUs: weights laid out once, fused with what follows.

    activation: relu or none. added: a map added before the activation.
    """

    def __init__(self, conv: nn.Conv2d, activation: str = "none"):
        super().__init__()
        self.weight, self.bias, self.activation = conv.weight, conv.bias, activation
        self.how = list(conv.padding), list(conv.stride), list(conv.dilation), conv.groups
        self._laid_out: torch.Tensor | None = None

    def forward(self, x: torch.Tensor, added: torch.Tensor | None = None) -> torch.Tensor:
        onednn = torch.ops.mkldnn
        if self._laid_out is None:
            self._laid_out = onednn._reorder_convolution_weight(self.weight.detach(), *self.how, list(x.shape))
        if added is None:
            return onednn._convolution_pointwise(x, self._laid_out, self.bias, *self.how, self.activation, [], "")
        activation = None if self.activation == "none" else self.activation
        return onednn._convolution_pointwise.binary(
            x, added, self._laid_out, self.bias, *self.how, "add", None, activation, [], None
        )


class JoinedBlock(nn.Module):
    """A `SeparableBlock` of three `OneDnnConv`."""

    def __init__(self, block: SeparableBlock):
        super().__init__()
        self.widen, self.depthwise, self.narrow = block.widen[0], block.depthwise[0], block.narrow[0]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.narrow(self.depthwise(self.widen(x)), x)


def fold_constants(model: nn.Module, device: str = "cpu") -> None:
    """Fold batch norms that follow a convolution in a Sequential into its weights, cache places, fuse the first step of a
    trunk, and use the fastest convolution that `device` has.

    A Sequential must compute its modules in order, except that a folded batch norm may be anywhere after its convolution.
    The model must be in eval mode and float32; afterwards it cannot be trained, saved or moved to another device.
    """
    for module in list(model.modules()):
        if isinstance(module, nn.Sequential):
            for number, (first, second) in enumerate(itertools.pairwise(list(module))):
                if isinstance(first, nn.Conv2d) and isinstance(second, nn.BatchNorm2d):
                    module[number], module[number + 1] = fuse_conv_bn_eval(first, second), nn.Identity()
    for module in list(model.modules()):
        if isinstance(module, Trunk):
            module.unshuffle, module.stem[0][0] = nn.Identity(), _join_unshuffle(module.stem[0][0])
        for name, child in list(module.named_children()):
            if isinstance(child, Place):
                setattr(module, name, RememberedPlace(child))
    if device == "cpu" and torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_convolution_pointwise"):
        _use_onednn(model)
    else:
        _replace_convs(model, lambda conv: PointwiseConv(conv) if _is_pointwise(conv) else conv)


def _use_onednn(model: nn.Module) -> None:
    for module in list(model.modules()):
        if isinstance(module, nn.Sequential):
            layers = [number for number, layer in enumerate(module) if not isinstance(layer, nn.Identity)]
            for first, second in itertools.pairwise(layers):
                if type(module[first]) is nn.Conv2d and isinstance(module[second], nn.ReLU):
                    module[first], module[second] = OneDnnConv(module[first], "relu"), nn.Identity()
    _replace_convs(model, OneDnnConv)
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, SeparableBlock):
                setattr(module, name, JoinedBlock(child))


def _replace_convs(model: nn.Module, replace: Callable[[nn.Conv2d], nn.Module]) -> None:
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if type(child) is nn.Conv2d and not isinstance(module, Place):
                setattr(module, name, replace(child))


def _join_unshuffle(conv: nn.Conv2d) -> nn.Conv2d:
    """One 6 x 6 convolution with a stride of 2 for a pixel unshuffle by 2 and a 3 x 3 convolution."""
    outputs, inputs = conv.weight.shape[0], conv.weight.shape[1] // 4
    joined = nn.Conv2d(inputs, outputs, kernel_size=6, stride=2, padding=2)
    # channel, row and column within 2 x 2, row and column within 3 x 3
    weight = conv.weight.detach().view(outputs, inputs, 2, 2, 3, 3).permute(0, 1, 4, 2, 5, 3)
    joined.weight, joined.bias = nn.Parameter(weight.reshape(outputs, inputs, 6, 6)), conv.bias
    return joined


def _is_pointwise(conv: nn.Conv2d) -> bool:
    return conv.kernel_size == (1, 1) and conv.stride == (1, 1) and conv.padding == (0, 0) and conv.groups == 1
