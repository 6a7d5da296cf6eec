"""System A's ResNet-18: an encoder of basic blocks, and a decoder that enlarges by pixel shuffle alone, without skips."""

from __future__ import annotations

import torch
from torch import nn

from depthmask.models.blocks import ScaleMinMax, make_cbr, make_conv_norm
from depthmask.models.prediction import Prediction
from depthmask.params import NetworkParams

STAGES = ((64, 1), (128, 2), (256, 2), (512, 2))  # channels, and the stride of the first of two blocks


class BasicBlock(nn.Module):
    """Two 3x3 convolutions round which the input goes, by 1x1 and batch norm where the shape changes (He et al. 2016)."""

    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.body = nn.Sequential(make_cbr(inputs, outputs, stride=stride), make_conv_norm(outputs, outputs))
        same_shape = stride == 1 and inputs == outputs
        self.shortcut = nn.Identity() if same_shape else make_conv_norm(inputs, outputs, 1, stride)
        self.relu = nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.relu(self.body(x) + self.shortcut(x))


class ResNet18Shuffle(nn.Module):
    """Image to mask and depth, each scaled to 0..1 by its own range."""

    def __init__(self, settings: NetworkParams):
        super().__init__()
        self.stem = nn.Sequential(make_cbr(3, 16), make_cbr(16, 32), make_cbr(32, 64))
        blocks, inputs = [], 64
        for outputs, stride in STAGES:
            blocks += [BasicBlock(inputs, outputs, stride), BasicBlock(outputs, outputs, 1)]
            inputs = outputs
        self.encoder = nn.Sequential(*blocks)
        self.decoder = nn.Sequential(
            nn.PixelShuffle(4),
            make_cbr(32, 64),
            make_cbr(64, 128),
            make_cbr(128, 512, 1),
            nn.PixelShuffle(2),
            make_cbr(128, 128),
        )
        self.head = nn.Conv2d(128, 2, 1, bias=False)
        self.scale = ScaleMinMax()

    def forward(self, image: torch.Tensor) -> Prediction:
        mask, depth = self.scale(self.head(self.decoder(self.encoder(self.stem(image))))).split(1, dim=1)
        return Prediction(None, depth, mask)
