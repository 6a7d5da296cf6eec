"""System B's network: an encoder that concatenates all maps of a size, as DenseNet does, and a decoder that adds them.

All convolutions have a bias.
"""

from __future__ import annotations

import torch
from torch import nn

from depthmask.models.blocks import join_channels, make_cbr, make_conv_norm
from depthmask.models.prediction import Prediction
from depthmask.params import NetworkParams

WIDTHS = (64, 128, 256, 512)  # channels of each unit at the full size and at each halving


class DenseStage(nn.Module):
    """Units at one size, each of which reads the stage's input (but for the first stage) and all units before it.

    Returns what the next stage pools: the concatenation of all units, without the stage's input; and the last unit's map.
    """

    def __init__(self, inputs: int, width: int, num_units: int, reads_input: bool = True):
        super().__init__()
        self.reads_input = reads_input
        kept = inputs if reads_input else 0
        self.units = nn.ModuleList(_make_unit(kept + index * width if index else inputs, width) for index in range(num_units))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        first, *others = self.units
        maps = [first(x)]
        for unit in others:
            maps.append(unit(join_channels(*([x, *maps] if self.reads_input else maps))))
        return join_channels(*maps), maps[-1]


class AddingUpStep(nn.Module):
    """Doubles the size, halves the channels, and adds the encoder's map of that size."""

    def __init__(self, deep: int, skip: int):
        super().__init__()
        self.enlarge = nn.Upsample(scale_factor=2, mode="bilinear")
        self.reduce = make_conv_norm(deep, skip, 1, bias=True)
        self.relu = nn.ReLU(inplace=True)
        self.refine = make_cbr(skip, skip, bias=True)

    def forward(self, deep: torch.Tensor, skip: torch.Tensor) -> torch.Tensor:
        convolve, norm = self.reduce
        # a 1x1 window and bilinear weights, which add up to 1, may change places: a quarter of the products, and of the memory
        return self.refine(self.relu(norm(self.enlarge(convolve(deep)))) + skip)


class DenseConcat(nn.Module):
    """Background and image to the mask's probability and a linear depth."""

    def __init__(self, settings: NetworkParams):
        super().__init__()
        self.pool = nn.MaxPool2d(2)
        self.stages = nn.ModuleList([DenseStage(6, WIDTHS[0], 2, reads_input=False)])
        inputs = 2 * WIDTHS[0]
        for width in WIDTHS[1:]:
            self.stages.append(DenseStage(inputs, width, 3))
            inputs = 3 * width
        self.decoder = nn.ModuleList(AddingUpStep(deep, skip) for deep, skip in zip(WIDTHS[:0:-1], WIDTHS[-2::-1]))
        self.refine = make_cbr(WIDTHS[0], 32, bias=True)
        self.depth_head = nn.Conv2d(32, 1, 1)
        self.mask_head = nn.Conv2d(32, 1, 3, padding=1)

    @property
    def branches(self) -> dict[str, list[nn.Module]]:
        """The modules that serve one task alone."""
        return {"mask": [self.mask_head], "depth": [self.depth_head]}

    def forward(self, image: torch.Tensor, background: torch.Tensor) -> Prediction:
        gathered, skips = torch.cat([background, image], dim=1), []
        for index, stage in enumerate(self.stages):
            gathered, last = stage(self.pool(gathered) if index else gathered)
            skips.append(last)
        x = skips.pop()
        for step in self.decoder:
            x = step(x, skips.pop())
        x = self.refine(x)
        return Prediction(None, self.depth_head(x), torch.sigmoid(self.mask_head(x)))


def _make_unit(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU(inplace=True), nn.BatchNorm2d(outputs))
