"""The default network: a small residual encoder, a light decoder, one head a task.

Made for few cores: most of its work is depthwise-separable and at a quarter of the picture's size or less; it never runs
at full size, since each head predicts 2 x 2 pixels at once (pixel shuffle). Two of its inputs are the pixel's place, for
where something stands in a picture tells much of how far it is; the deepest stage sees the whole picture.
"""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional as F

from depthmask.models.prediction import Prediction
from depthmask.params import ModelParams

DEPTH_AT_START = 0.2  # typical of a room in the unit of its farthest wall; only where training starts from


def _conv(inputs: int, outputs: int, kernel: int = 3, stride: int = 1, groups: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()
    )


class SeparableBlock(nn.Module):
    """x + narrow(depthwise(widen(x))), each with batch norm: the inverted bottleneck of MobileNetV2."""

    def __init__(self, channels: int, widening: int = 2):
        super().__init__()
        inner = channels * widening
        self.widen = _conv(channels, inner, 1)
        self.depthwise = _conv(inner, inner, 3, groups=inner)
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
        self.refine = nn.Sequential(_conv(skip, skip, 3), SeparableBlock(skip))

    def forward(self, deep: torch.Tensor, skip: torch.Tensor) -> torch.Tensor:
        return self.refine(F.interpolate(self.reduce(deep), scale_factor=2.0, mode="nearest") + skip)


class CompactNet(nn.Module):
    """Image, and the bare background if asked for, to mask logits and depth; sizes are multiples of `stride`."""

    stride = 16

    def __init__(self, settings: ModelParams):
        super().__init__()
        width = settings.width
        channels = [width, 2 * width, 4 * width, 6 * width]
        inputs = (6 if settings.background_input else 3) + 2
        self.stem = _conv(inputs, width, 3, 2)
        self.stages = nn.ModuleList([SeparableBlock(width)])
        for before, after, num_blocks in zip(channels, channels[1:], (2, 3, 3), strict=False):
            self.stages.append(nn.Sequential(_conv(before, after, 3, 2), *(SeparableBlock(after) for _ in range(num_blocks))))
        self.context = GlobalContext(channels[-1])
        self.up_steps = nn.ModuleList(UpStep(deep, skip) for deep, skip in zip(channels[:0:-1], channels[-2::-1], strict=True))
        self.mask_head = nn.Sequential(_conv(width, width), nn.Conv2d(width, 4, 1), nn.PixelShuffle(2))
        self.depth_head = nn.Sequential(_conv(width, width), nn.Conv2d(width, 4, 1), nn.PixelShuffle(2))
        nn.init.constant_(self.depth_head[1].bias, math.log(DEPTH_AT_START / (1 - DEPTH_AT_START)))

    def forward(self, image: torch.Tensor, background: torch.Tensor | None = None) -> Prediction:
        inputs = [image, _make_coordinates(image)] if background is None else [image, background, _make_coordinates(image)]
        x = self.stem(torch.cat(inputs, dim=1))
        skips = []
        for stage in self.stages:
            x = stage(x)
            skips.append(x)
        x = self.context(skips.pop())
        for up_step in self.up_steps:
            x = up_step(x, skips.pop())
        # a sigmoid is close to an exponential for near things, where a given ratio of depths matters most
        return Prediction(self.mask_head(x), torch.sigmoid(self.depth_head(x)))


def _make_coordinates(image: torch.Tensor) -> torch.Tensor:
    """B x 2 x H x W: row from -1 (top) to 1, and distance from the middle column, 0 to 1."""
    batch, _, height, width = image.shape
    rows = torch.linspace(-1, 1, height, device=image.device, dtype=image.dtype)[:, None].expand(height, width)
    columns = torch.linspace(-1, 1, width, device=image.device, dtype=image.dtype).abs()[None].expand(height, width)
    return torch.stack([rows, columns]).expand(batch, 2, height, width)
