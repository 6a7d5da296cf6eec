"""System D's network: one stem for image and background in turn, one decoder for the mask and then the depth.

Both maps are linear, in standard units: trained against (target - mean) / std of the mask and of the depth.
"""

from __future__ import annotations

import torch
from torch import nn

from depthmask.models.blocks import make_cbr
from depthmask.models.prediction import Prediction
from depthmask.params import NetworkParams

WIDTH = 128  # of what both streams give together


class Separable(nn.Module):
    """Depthwise 3x3 with dilation 2, 1x1, batch norm, ReLU."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.depthwise = nn.Conv2d(inputs, inputs, 3, padding=2, dilation=2, groups=inputs)
        self.pointwise = make_cbr(inputs, outputs, 1, bias=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.pointwise(self.depthwise(x))


class Widening(nn.Module):
    """What is added to 128 channels: two separable convolutions that widen them to 256, and 1x1 back."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(
            Separable(WIDTH, 2 * WIDTH), Separable(2 * WIDTH, 2 * WIDTH), nn.Conv2d(2 * WIDTH, WIDTH, 1, bias=False)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.body(x)


class TwoStreamSeparable(nn.Module):
    """Background and image to mask and depth in standard units, which `DepthMaskModel` takes back to 0..1."""

    def __init__(self, settings: NetworkParams):
        super().__init__()
        self.stem = nn.Sequential(make_cbr(3, 32), make_cbr(32, 32), make_cbr(32, WIDTH // 2))
        self.pool = nn.MaxPool2d(2)
        self.at_half = nn.Sequential(Separable(WIDTH, WIDTH), Separable(WIDTH, WIDTH))
        self.at_quarter = Widening()
        self.decoder = nn.Sequential(
            nn.Upsample(scale_factor=2, mode="nearest"),
            Widening(),
            nn.Upsample(scale_factor=2, mode="nearest"),
            Separable(WIDTH, WIDTH),
            nn.Conv2d(WIDTH, 1, 3, padding=1, bias=False),
        )
        self.to_depth = Widening()

    def forward(self, image: torch.Tensor, background: torch.Tensor) -> Prediction:
        x = torch.cat([self.pool(self.stem(picture)) for picture in (background, image)], dim=1)
        x = self.at_quarter(self.pool(x + self.at_half(x)))
        mask = self.decoder(x)
        return Prediction(None, self.decoder(self.to_depth(x)), mask)
