"""The default network: a small residual encoder, a light decoder, one head a task.

Made for few cores: what costs is work at large sizes, so half the picture's size is seen by one convolution on the way in
and one on the way out, and everything else happens at a quarter or less, mostly depthwise-separable; the heads predict
2 x 2 (mask) or 4 x 4 (depth) pixels at once by pixel shuffle. Two of its inputs are the pixel's place, for where something
stands in a picture tells much of how far it is; the deepest stage also sees the whole picture.
"""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional as F

from depthmask.models.prediction import Prediction
from depthmask.params import ModelParams

MULTIPLES = (1, 3, 6, 10)  # channels at 1/2, 1/4, 1/8 and 1/16 of the size, in widths
BLOCKS = (2, 3, 3)  # at 1/4, 1/8 and 1/16
DEPTH_AT_START = 0.2  # typical of a room whose farthest wall is 1; only where training starts from


class SeparableBlock(nn.Module):
    """x + narrow(depthwise(widen(x))), each with batch norm: the inverted bottleneck of MobileNetV2."""

    def __init__(self, channels: int, widening: int = 2):
        super().__init__()
        inner = channels * widening
        self.widen = _make_conv(channels, inner, 1)
        self.depthwise = _make_conv(inner, inner, 3, groups=inner)
        self.narrow = nn.Sequential(nn.Conv2d(inner, channels, 1, bias=False), nn.BatchNorm2d(channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.narrow(self.depthwise(self.widen(x)))


class GlobalContext(nn.Module):
    """Adds to every pixel what a small perceptron makes of the mean over all of them."""

    def __init__(self, channels: int):
        super().__init__()
        self.perceptron = nn.Sequential(nn.Linear(channels, channels), nn.ReLU(), nn.Linear(channels, channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.perceptron(x.mean(dim=(2, 3)))[:, :, None, None]


class UpStep(nn.Module):
    """Doubles the size and joins the encoder's map of that size by addition."""

    def __init__(self, deep: int, skip: int):
        super().__init__()
        self.reduce = nn.Conv2d(deep, skip, 1)
        self.refine = nn.Sequential(_make_conv(skip, skip), SeparableBlock(skip))

    def forward(self, deep: torch.Tensor, skip: torch.Tensor) -> torch.Tensor:
        return self.refine(_double(self.reduce(deep)) + skip)


class CompactNet(nn.Module):
    """Image, and the bare background if asked for, to mask logits and depth; sizes are multiples of `stride`."""

    stride = 16

    def __init__(self, settings: ModelParams):
        super().__init__()
        half, *deeper = (settings.width * multiple for multiple in MULTIPLES)
        inputs = 4 * (6 if settings.background_input else 3) + 2
        self.stem = _make_conv(inputs, half)
        self.stages = nn.ModuleList(
            nn.Sequential(_make_conv(before, after, stride=2), *(SeparableBlock(after) for _ in range(num_blocks)))
            for before, after, num_blocks in zip((half, *deeper), deeper, BLOCKS)
        )
        self.context = GlobalContext(deeper[-1])
        self.dropout = nn.Dropout2d(settings.dropout)
        self.up_steps = nn.ModuleList(UpStep(deep, skip) for deep, skip in zip(deeper[:0:-1], deeper[-2::-1]))
        self.to_half = nn.Conv2d(deeper[0], half, 1)
        self.mask_head = _make_head(half, enlargement=2)
        self.depth_head = _make_head(deeper[0], enlargement=4)
        nn.init.constant_(self.depth_head[1].bias, math.log(DEPTH_AT_START / (1 - DEPTH_AT_START)))

    def forward(self, image: torch.Tensor, background: torch.Tensor | None = None) -> Prediction:
        both = image if background is None else torch.cat([image, background], dim=1)
        quarters = F.pixel_unshuffle(both, 2)
        at_half = self.stem(torch.cat([quarters, _make_coordinates(quarters)], dim=1))
        x, skips = at_half, []
        for stage in self.stages:
            x = stage(x)
            skips.append(x)
        x = self.dropout(self.context(skips.pop()))
        for up_step in self.up_steps:
            x = up_step(x, skips.pop())
        mask_logits = self.mask_head(_double(self.to_half(x)) + at_half)
        # a sigmoid is close to an exponential for near things, where a given ratio of depths matters most
        return Prediction(mask_logits, torch.sigmoid(self.depth_head(x)))


def _make_conv(inputs: int, outputs: int, kernel: int = 3, stride: int = 1, groups: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


def _make_head(channels: int, enlargement: int) -> nn.Sequential:
    return nn.Sequential(_make_conv(channels, channels), nn.Conv2d(channels, enlargement**2, 1), nn.PixelShuffle(enlargement))


def _double(x: torch.Tensor) -> torch.Tensor:
    return F.interpolate(x, scale_factor=2.0, mode="nearest")


def _make_coordinates(like: torch.Tensor) -> torch.Tensor:
    """B x 2 x H x W: row from -1 (top) to 1, and distance from the middle column, 0 to 1."""
    batch, _, height, width = like.shape
    rows = torch.linspace(-1, 1, height, device=like.device, dtype=like.dtype)[:, None].expand(height, width)
    columns = torch.linspace(-1, 1, width, device=like.device, dtype=like.dtype).abs()[None].expand(height, width)
    return torch.stack([rows, columns]).expand(batch, 2, height, width)
