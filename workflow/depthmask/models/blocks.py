"""Building blocks shared by several networks.

Shapes: B images of H x W; C channels.
"""

from __future__ import annotations

import types

import torch
from torch import nn

from depthmask.models.prediction import promote_to_float32

SPAN_MIN = 1e-5  # range of a map's values below which it counts as constant


class ScaleMinMax(nn.Module):
    """Each map of each image scaled to 0..1 by its own lowest and highest value, at least in float32; a constant map is 0."""

    def forward(self, x_BCHW: torch.Tensor) -> torch.Tensor:
        x = promote_to_float32(x_BCHW)
        low, high = x.amin(dim=(2, 3), keepdim=True), x.amax(dim=(2, 3), keepdim=True)
        span = high - low
        # dividing by nearly zero would also blow up the gradient
        return (x - low) / torch.where(span > SPAN_MIN, span, 1.0)


def join_channels(*maps_BCHW: torch.Tensor) -> torch.Tensor:
    """Concatenate maps; each gets its gradient as a tensor of its own.

    With the slices that `torch.cat` returns, batch norm's backward pass takes four times as long on a CPU.
    """
    for maps in maps_BCHW:
        if maps.requires_grad and not torch.compiler.is_compiling():
            maps.register_hook(_lay_out)
    return torch.cat(maps_BCHW, dim=1)


def _lay_out(gradient: torch.Tensor) -> torch.Tensor:
    """The gradient in the memory layout closest to its strides."""
    is_channels_last = gradient.stride(1) == 1
    return gradient.contiguous(memory_format=torch.channels_last if is_channels_last else torch.contiguous_format)


def keep_dilated_depthwise_exact(network: nn.Module) -> None:
    """Compute dilated depthwise convolutions in float32 wherever autocast would have a CPU compute them in bfloat16.

    There oneDNN's gradient of their weights in channels-last memory is wrong by more than its own size, and another one each
    time (torch 2.13, AVX-512 BF16).
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d) and module.groups > 1 and max(module.dilation) > 1:
            module.forward = types.MethodType(_convolve_exactly, module)


def _convolve_exactly(conv: nn.Conv2d, x: torch.Tensor) -> torch.Tensor:
    if x.device.type != "cpu" or not torch.is_autocast_enabled("cpu"):
        return nn.Conv2d.forward(conv, x)
    with torch.autocast("cpu", enabled=False):
        return nn.Conv2d.forward(conv, x.to(conv.weight.dtype))


def make_cbr(
    inputs: int, outputs: int, kernel: int = 3, stride: int = 1, dilation: int = 1, groups: int = 1, bias: bool = False
) -> nn.Sequential:
    """Convolution that keeps the size at stride 1, batch norm, ReLU."""
    return nn.Sequential(*make_conv_norm(inputs, outputs, kernel, stride, dilation, groups, bias), nn.ReLU(inplace=True))


def make_conv_norm(
    inputs: int, outputs: int, kernel: int = 3, stride: int = 1, dilation: int = 1, groups: int = 1, bias: bool = False
) -> nn.Sequential:
    """Convolution that keeps the size at stride 1, and batch norm."""
    padding = dilation * (kernel // 2)
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, padding, dilation, groups, bias=bias), nn.BatchNorm2d(outputs)
    )
