"""EfficientNet-Lite as an encoder: EfficientNet (Tan and Le 2019) without squeeze-and-excitation, with ReLU6.

The numbers, the "same" padding of TensorFlow and the batch norms' eps are those of the published code
(tensorflow/tpu, models/official/efficientnet/lite); stem and head keep their width in every variant.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

from depthmask.encoders.depthwise import DepthwiseConv2d

STEM_CHANNELS = 32
NORM_EPS, NORM_MOMENTUM = 1e-3, 0.01  # TensorFlow's momentum of 0.99 is torch's of 0.01
CHANNELS_MULTIPLE = 8


@dataclass(frozen=True)
class StageSpec:
    """A row of the paper's table 1: inverted bottlenecks of one width, the first of them with a stride."""

    kernel: int
    num_blocks: int
    channels: int
    expansion: int
    stride: int


STAGES = (
    StageSpec(3, 1, 16, 1, 1),
    StageSpec(3, 2, 24, 6, 2),
    StageSpec(5, 2, 40, 6, 2),
    StageSpec(3, 3, 80, 6, 2),
    StageSpec(5, 3, 112, 6, 1),
    StageSpec(5, 4, 192, 6, 2),
    StageSpec(3, 1, 320, 6, 1),
)
STAGE_ENDS = (0, 1, 2, 4, 6)  # the last stage at each resolution, from 1/2 to 1/32


@dataclass(frozen=True)
class Scaling:
    """The factors of compound scaling: of channels and of blocks per stage."""

    width: float
    depth: float


SCALINGS = {
    "efficientnet_lite0": Scaling(1.0, 1.0),
    "efficientnet_lite1": Scaling(1.0, 1.1),
    "efficientnet_lite2": Scaling(1.1, 1.2),
}


class SamePad(nn.Module):
    """TensorFlow's "same" padding for a stride of 2: the output has ceil(side / 2) pixels; an odd pixel is right and below."""

    def __init__(self, kernel: int):
        super().__init__()
        self.kernel = kernel

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        below, right = (self.kernel - 2 + side % 2 for side in x.shape[-2:])
        return F.pad(x, (right // 2, right - right // 2, below // 2, below - below // 2))


def _make_conv_norm(inputs: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    """A convolution with "same" padding and without bias, and its batch norm."""
    pad = [SamePad(kernel)] if stride > 1 else []
    kind = nn.Conv2d if groups == 1 else DepthwiseConv2d
    conv = kind(inputs, outputs, kernel, stride, 0 if pad else kernel // 2, groups=groups, bias=False)
    return [*pad, conv, nn.BatchNorm2d(outputs, eps=NORM_EPS, momentum=NORM_MOMENTUM)]


class Bottleneck(nn.Module):
    """Expand, filter each channel, project; the input is added where shapes agree."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int):
        super().__init__()
        inner = inputs * expansion
        expand = [*_make_conv_norm(inputs, inner), nn.ReLU6(inplace=True)] if expansion > 1 else []
        depthwise = [*_make_conv_norm(inner, inner, kernel, stride, groups=inner), nn.ReLU6(inplace=True)]
        self.layers = nn.Sequential(*expand, *depthwise, *_make_conv_norm(inner, outputs))
        self.is_residual = stride == 1 and inputs == outputs

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.layers(x) if self.is_residual else self.layers(x)


class EfficientNetLite(nn.Module):
    """Images to maps at 1/4, 1/8, 1/16 and 1/32 of their size; the first of its five stages ends at 1/2."""

    def __init__(self, name: str):
        super().__init__()
        scaling = SCALINGS[name]
        stem = nn.Sequential(*_make_conv_norm(3, STEM_CHANNELS, 3, stride=2), nn.ReLU6(inplace=True))
        stages, before, channels, modules = [], STEM_CHANNELS, [], [stem]
        for number, spec in enumerate(STAGES):
            outputs = _round_channels(spec.channels * scaling.width)
            fixed = number in (0, len(STAGES) - 1)  # their number of blocks is not scaled
            num_blocks = spec.num_blocks if fixed else math.ceil(spec.num_blocks * scaling.depth)
            for block in range(num_blocks):
                modules.append(Bottleneck(before, outputs, spec.kernel, spec.stride if block == 0 else 1, spec.expansion))
                before = outputs
            if number in STAGE_ENDS:
                stages.append(nn.Sequential(*modules))
                channels.append(outputs)
                modules = []
        self.stages = nn.ModuleList(stages)
        self.channels = tuple(channels[1:])

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return maps[1:]


def _round_channels(channels: float) -> int:
    """The nearest multiple of 8 that is not below 90 % of the value, as in the published code."""
    rounded = max(CHANNELS_MULTIPLE, int(channels + CHANNELS_MULTIPLE / 2) // CHANNELS_MULTIPLE * CHANNELS_MULTIPLE)
    return rounded if rounded >= 0.9 * channels else rounded + CHANNELS_MULTIPLE
