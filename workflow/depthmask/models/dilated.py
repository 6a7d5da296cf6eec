"""The dilated bottleneck networks of system A: three blocks that see ever farther at half the image's size.

`dilated_small` and `dilated_plain` differ in width alone; `dilated_residual` adds each block's input to its output;
`dilated_depth_classes` also gives the depth as one of 255 bins. Mask and depth are scaled to 0..1 image by image.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import nn

from depthmask.models.blocks import ScaleMinMax, make_cbr, make_conv_norm
from depthmask.models.prediction import Prediction, promote_to_float32
from depthmask.params import NetworkParams

DILATIONS = (2, 3, 4)


class Variant(NamedTuple):
    """width: channels of the first convolution; num_bins: classes of depth, 0 where depth is a map."""

    width: int
    residual: bool
    num_bins: int = 0


VARIANTS = {
    "dilated_small": Variant(16, residual=False),
    "dilated_plain": Variant(32, residual=False),
    "dilated_residual": Variant(32, residual=True),
    "dilated_depth_classes": Variant(32, residual=True, num_bins=255),
}


class DilatedBlock(nn.Module):
    """4P -> P -> 2P -> 4P channels, the latter two dilated, and ReLU; residual: the input is added before the ReLU."""

    def __init__(self, width: int, dilation: int, residual: bool):
        super().__init__()
        self.residual = residual
        self.body = nn.Sequential(
            make_cbr(4 * width, width, 1),
            make_cbr(width, 2 * width, dilation=dilation),
            make_conv_norm(2 * width, 4 * width, dilation=dilation),
        )
        self.relu = nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.relu(x + self.body(x) if self.residual else self.body(x))


class DilatedNet(nn.Module):
    """Image to mask, and to depth or depth bins; which of VARIANTS follows from the name in the settings."""

    def __init__(self, settings: NetworkParams):
        super().__init__()
        width, residual, self.num_bins = VARIANTS[settings.name]
        self.stem = nn.Sequential(make_cbr(3, width), make_cbr(width, 2 * width), make_cbr(2 * width, 4 * width, stride=2))
        self.blocks = nn.Sequential(*(DilatedBlock(width, dilation, residual) for dilation in DILATIONS))
        self.enlarge = nn.Sequential(make_cbr(4 * width, 16 * width, 1), nn.PixelShuffle(2))
        self.refine = nn.Sequential(make_cbr(4 * width, 4 * width), make_cbr(4 * width, 8 * width))
        self.head = nn.Conv2d(8 * width, 1 + (self.num_bins or 1), 1, bias=False)
        self.scale = ScaleMinMax()

    def forward(self, image: torch.Tensor) -> Prediction:
        maps = self.head(self.refine(self.enlarge(self.blocks(self.stem(image)))))
        if not self.num_bins:
            mask, depth = self.scale(maps).split(1, dim=1)
            return Prediction(None, depth, mask)
        bins = promote_to_float32(maps[:, 1:])
        return Prediction(None, _average_bins(bins), self.scale(maps[:, :1]), bins)


def _average_bins(bins_BKHW: torch.Tensor) -> torch.Tensor:
    """The mean depth under the softmax of K bins, 0 to 1: finer than the most probable bin, and with a gradient."""
    depths = torch.linspace(0, 1, bins_BKHW.shape[1], device=bins_BKHW.device, dtype=bins_BKHW.dtype)
    return (bins_BKHW.softmax(dim=1) * depths[:, None, None]).sum(dim=1, keepdim=True)
