"""System A's last network: a U-shape whose encoder looks at every size with dilations 1, 2 and 4 side by side."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import nn

from depthmask.models.blocks import ScaleMinMax, make_cbr, make_conv_norm
from depthmask.models.prediction import Prediction
from depthmask.params import ModelParams

DILATIONS = (1, 2, 4)
WIDTHS = (64, 128, 256, 512)  # channels at the full size and at each halving


class MultiDilationBlock(nn.Module):
    """Halves the size by four paths, each with a quarter of the channels: 1x1, and two 3x3 for each dilation."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        quarter = outputs // 4
        self.paths = nn.ModuleList(
            nn.Sequential(make_cbr(inputs, quarter, 3, 2, dilation), make_conv_norm(quarter, quarter, dilation=dilation))
            for dilation in DILATIONS
        )
        self.pointwise = make_conv_norm(inputs, quarter, 1, 2)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        dilated = [path(x) for path in self.paths]
        return self.relu(torch.cat([self.pointwise(x), *dilated], dim=1))


class ShuffleUpStep(nn.Module):
    """Doubles the size by pixel shuffle and joins the encoder's map of that size, whose channels are halved."""

    def __init__(self, deep: int, skip: int):
        super().__init__()
        channels = deep // 4
        self.enlarge = nn.Sequential(nn.PixelShuffle(2), make_cbr(channels, channels), make_conv_norm(channels, channels))
        self.halve = make_conv_norm(skip, skip // 2, 1)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, deep: torch.Tensor, skip: torch.Tensor) -> torch.Tensor:
        enlarged = self.enlarge(deep)
        return self.relu(torch.cat([enlarged, self.halve(skip)], dim=1))


class MultiDilationUnet(nn.Module):
    """Image to mask and depth, each scaled to 0..1 by its own range."""

    def __init__(self, settings: ModelParams):
        super().__init__()
        self.stem = nn.Sequential(make_cbr(3, 16), make_cbr(16, 32), make_cbr(32, WIDTHS[0]))
        self.encoder = nn.ModuleList(MultiDilationBlock(above, below) for above, below in pairwise(WIDTHS))
        steps, deep = [], WIDTHS[-1]
        for skip in WIDTHS[-2::-1]:
            steps.append(ShuffleUpStep(deep, skip))
            deep = deep // 4 + skip // 2
        self.decoder = nn.ModuleList(steps)
        self.refine = nn.Sequential(make_cbr(deep, deep), make_cbr(deep, deep))
        self.head = nn.Conv2d(deep, 2, 1, bias=False)
        self.scale = ScaleMinMax()

    def forward(self, image: torch.Tensor) -> Prediction:
        skips = [self.stem(image)]
        for block in self.encoder:
            skips.append(block(skips[-1]))
        x = skips.pop()
        for step in self.decoder:
            x = step(x, skips.pop())
        mask, depth = self.scale(self.head(self.refine(x))).split(1, dim=1)
        return Prediction(None, depth, mask)
