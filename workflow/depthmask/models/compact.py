"""The default network: a small residual encoder, a light decoder, one head a task.

Made for few cores: what costs is work at large sizes, so half the picture's size is seen by one convolution on the way in
and one on the way out, and everything else happens at a quarter or less, mostly depthwise-separable; the heads predict
2 x 2 (mask) or 4 x 4 (depth) pixels at once by pixel shuffle.

What it knows of scenes: where something meets the floor tells how far it is, so every stage is told the place of its pixels,
also as the depth that a level camera would see there on the floor; and what stands upright has one depth, so the deepest
stage hands on what it finds in each column, and in the whole picture.
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
ROW_MIN = 1 / 24  # of half the height: nearer to the horizon all floor is equally far
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


class Context(nn.Module):
    """Adds to every pixel what two small perceptrons make of the means over its column, and over the whole picture.

    The column's is the vertical half of strip pooling (Hou et al. 2020).
    """

    def __init__(self, channels: int):
        super().__init__()
        self.of_picture = nn.Sequential(nn.Linear(channels, channels), nn.ReLU(), nn.Linear(channels, channels))
        self.of_column = nn.Sequential(nn.Conv1d(channels, channels, 3, padding=1), nn.ReLU(), nn.Conv1d(channels, channels, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        columns = x.mean(dim=2)
        return x + self.of_column(columns)[:, :, None] + self.of_picture(columns.mean(dim=2))[:, :, None, None]


class UpStep(nn.Module):
    """Doubles the size and joins the encoder's map of that size by addition."""

    def __init__(self, deep: int, skip: int):
        super().__init__()
        self.reduce = nn.Conv2d(deep, skip, 1)
        self.refine = nn.Sequential(_make_conv(skip, skip), SeparableBlock(skip))

    def forward(self, deep: torch.Tensor, skip: torch.Tensor) -> torch.Tensor:
        return self.refine(_double(self.reduce(deep)) + skip)


class Place(nn.Module):
    """Adds to every pixel what a linear map makes of its place: row, distance from the middle column, log(1 / |row|).

    Rows run from -1 (top) to 1, columns from 0 to 1. The last is, up to a constant, the log of the depth at which a level
    camera sees floor (or ceiling) in that row.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.linear = nn.Conv2d(3, channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        height, width = x.shape[-2:]
        places = {"device": x.device, "dtype": self.linear.weight.dtype}
        rows = ((torch.arange(height, **places) + 0.5) * (2 / height) - 1)[:, None].expand(height, width)
        columns = ((torch.arange(width, **places) + 0.5) * (2 / width) - 1).abs()[None].expand(height, width)
        place = torch.stack([rows, columns, -rows.abs().clamp(min=ROW_MIN).log()])
        return x + self.linear(place[None])


class CompactNet(nn.Module):
    """Image, and the bare background if asked for, to mask logits and depth; sizes are multiples of `stride`."""

    stride = 16

    def __init__(self, settings: ModelParams):
        super().__init__()
        half, *deeper = (settings.width * multiple for multiple in MULTIPLES)
        inputs = 4 * (6 if settings.background_input else 3)
        self.stem = nn.Sequential(_make_conv(inputs, half), Place(half))
        self.stages = nn.ModuleList(
            nn.Sequential(_make_conv(before, after, stride=2), Place(after), *(SeparableBlock(after) for _ in range(num_blocks)))
            for before, after, num_blocks in zip((half, *deeper), deeper, BLOCKS)
        )
        self.context = Context(deeper[-1])
        self.dropout = nn.Dropout2d(settings.dropout)
        self.up_steps = nn.ModuleList(UpStep(deep, skip) for deep, skip in zip(deeper[:0:-1], deeper[-2::-1]))
        self.to_half = nn.Conv2d(deeper[0], half, 1)
        self.mask_head = _make_head(half, enlargement=2)
        self.depth_place = Place(deeper[0])
        self.depth_head = _make_head(deeper[0], enlargement=4)
        nn.init.constant_(self.depth_head[1].bias, math.log(DEPTH_AT_START / (1 - DEPTH_AT_START)))

    def forward(self, image: torch.Tensor, background: torch.Tensor | None = None) -> Prediction:
        both = image if background is None else torch.cat([image, background], dim=1)
        at_half = self.stem(F.pixel_unshuffle(both, 2))
        x, skips = at_half, []
        for stage in self.stages:
            x = stage(x)
            skips.append(x)
        x = self.dropout(self.context(skips.pop()))
        for up_step in self.up_steps:
            x = up_step(x, skips.pop())
        mask_logits = self.mask_head(_double(self.to_half(x)) + at_half)
        # a sigmoid is close to an exponential for near things, where a given ratio of depths matters most
        return Prediction(mask_logits, torch.sigmoid(self.depth_head(self.depth_place(x))))


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
