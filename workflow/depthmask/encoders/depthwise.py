"""A depthwise convolution whose gradients are fast on CPUs in bfloat16.

There oneDNN, with which torch computes convolutions on CPUs, has no fast kernels for the gradient of the input at a stride of 2,
nor for that of weights larger than 3 x 3. Both can be computed by kernels that it has: the first is a convolution of the
gradient with zeros between its pixels, the second is put together from four 3 x 3 tiles that overlap by one row and one
column. In float32 that takes about as long as torch's own way (benchmarks/depthwise.py).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

TILE = 3  # the largest kernel whose weights have a fast gradient


class DepthwiseConv2d(nn.Conv2d):
    """A convolution with a group per channel, without bias, of 3 x 3 or 5 x 5."""

    def forward(self, x: Tensor) -> Tensor:
        if x.device.type != "cpu" or not torch.is_grad_enabled() or torch.compiler.is_compiling():
            return super().forward(x)
        weight = self.weight
        if torch.is_autocast_enabled("cpu"):
            dtype = torch.get_autocast_dtype("cpu")
            x, weight = x.to(dtype), weight.to(dtype)
        return _Depthwise.apply(x, weight, self.stride[0], self.padding[0])


class _Depthwise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: int, padding: int) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.stride, ctx.padding = stride, padding
        return F.conv2d(x, weight, None, stride, padding, 1, len(weight))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        grad = grad.contiguous(memory_format=torch.channels_last)
        grad_x = grad_weight = None
        if ctx.needs_input_grad[0]:
            grad_x = _differentiate_input(grad, x, weight, ctx.stride, ctx.padding)
        if ctx.needs_input_grad[1]:
            grad_weight = _differentiate_weight(grad, x, weight, ctx.stride, ctx.padding)
        return grad_x, grad_weight, None, None


def _differentiate_input(grad: Tensor, x: Tensor, weight: Tensor, stride: int, padding: int) -> Tensor:
    """The gradient spread out with zeros between its pixels, convolved with the flipped kernel."""
    size, (height, width) = weight.shape[-1], x.shape[-2:]
    if stride > 1:
        sides = (side + 2 * padding - size + 1 for side in (height, width))
        spread = torch.empty((*grad.shape[:2], *sides), dtype=grad.dtype, memory_format=torch.channels_last).zero_()
        spread[..., ::stride, ::stride] = grad
        grad = spread
    return F.conv2d(grad, weight.flip(2, 3), None, 1, size - 1 - padding, 1, len(weight))


def _differentiate_weight(grad: Tensor, x: Tensor, weight: Tensor, stride: int, padding: int) -> Tensor:
    size = weight.shape[-1]
    if size <= TILE:
        return _run(grad, x, weight, stride, padding, (False, True, False))[1]
    if padding:
        x = F.pad(x, (padding,) * 4)
    height, width = ((side - 1) * stride + TILE for side in grad.shape[-2:])
    whole, tile = torch.empty_like(weight), weight[..., :TILE, :TILE].contiguous(memory_format=torch.channels_last)
    starts = (0, size - TILE)
    for top in starts:
        for left in starts:
            part = x[..., top : top + height, left : left + width].contiguous(memory_format=torch.channels_last)
            whole[..., top : top + TILE, left : left + TILE] = _run(grad, part, tile, stride, 0, (False, True, False))[1]
    return whole


def _run(grad: Tensor, x: Tensor, weight: Tensor, stride: int, padding: int, wanted: tuple[bool, bool, bool]) -> tuple:
    args = None, [stride] * 2, [padding] * 2, [1, 1], False, [0, 0], len(weight), wanted
    return torch.ops.aten.convolution_backward(grad, x, weight, *args)
