"""Depthwise convolutions whose gradients are put together from fast kernels: they are those of a plain convolution."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from depthmask.encoders.depthwise import DepthwiseConv2d

CHANNELS = 6
# kernel, stride, padding, height and width: as in the encoders, and sides that the stride does not divide
CASES = [
    (3, 1, 1, (9, 12)),
    (3, 2, 0, (11, 9)),
    (3, 2, 1, (10, 13)),
    (5, 1, 2, (9, 12)),
    (5, 1, 0, (9, 7)),
    (5, 2, 0, (13, 11)),
    (5, 2, 2, (12, 15)),
    (5, 2, 0, (12, 10)),
]


def _run(kind: type[nn.Conv2d], case: tuple, dtype: torch.dtype, autocast: bool = False) -> list[torch.Tensor]:
    """The output, and the gradients of input and weights, in float64."""
    kernel, stride, padding, size = case
    generator = torch.Generator().manual_seed(0)
    conv = kind(CHANNELS, CHANNELS, kernel, stride, padding, groups=CHANNELS, bias=False).to(dtype)
    with torch.no_grad():
        conv.weight.copy_(torch.randn(conv.weight.shape, generator=generator, dtype=torch.float64))
    x = torch.randn(2, CHANNELS, *size, generator=generator, dtype=torch.float64).to(dtype)
    x = x.contiguous(memory_format=torch.channels_last).requires_grad_(True)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        out = conv(x)
    out.backward(torch.randn(out.shape, generator=generator, dtype=torch.float64).to(out.dtype))
    return [one.detach().double() for one in (out, x.grad, conv.weight.grad)]


def _find_errors(made: list[torch.Tensor], expected: list[torch.Tensor]) -> list[float]:
    return [((one - other).abs().max() / other.abs().max()).item() for one, other in zip(made, expected, strict=True)]


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-5)], ids=["float64", "float32"])
def test_its_gradients_are_those_of_a_plain_convolution(case, dtype, tolerance):
    assert max(_find_errors(_run(DepthwiseConv2d, case, dtype), _run(nn.Conv2d, case, dtype))) <= tolerance


@pytest.mark.parametrize("case", CASES, ids=str)
def test_in_bfloat16_they_are_as_close_to_exact_ones_as_the_plain_ones(case):
    exact = _run(nn.Conv2d, case, torch.float64)
    ours, plain = (_find_errors(_run(kind, case, torch.float32, autocast=True), exact) for kind in (DepthwiseConv2d, nn.Conv2d))
    ulp = 2.0**-8  # of bfloat16: its half is the error of rounding once
    for one, other in zip(ours, plain, strict=True):
        assert one <= 1.5 * other + ulp / 2


def test_what_needs_no_gradient_gets_none():
    conv = DepthwiseConv2d(4, 4, 5, 2, 2, groups=4, bias=False).requires_grad_(False)
    x = torch.rand(1, 4, 8, 8, requires_grad=True)
    conv(x).sum().backward()
    assert conv.weight.grad is None and x.grad is not None
    conv.requires_grad_(True)
    conv(x.detach()).sum().backward()
    assert conv.weight.grad.abs().sum() > 0
