"""System C's U-Net: the first three sizes are shared; below them and in the decoder each task has its own branch.

Designed to be trained one task at a time, with the other's branch frozen.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import nn

from depthmask.models.blocks import make_cbr
from depthmask.models.prediction import Prediction
from depthmask.params import NetworkParams

SHARED = (64, 128, 256)
OWN = (512, 512)
UP = (256, 128, 64, 64)


class BilinearUpStep(nn.Module):
    """Doubles the size, corners aligned, and joins the encoder's map of that size by concatenation, that map first."""

    def __init__(self, deep: int, skip: int, outputs: int):
        super().__init__()
        self.enlarge = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)
        self.refine = _make_double(deep + skip, outputs, between=(deep + skip) // 2)

    def forward(self, deep: torch.Tensor, skip: torch.Tensor) -> torch.Tensor:
        return self.refine(torch.cat([skip, self.enlarge(deep)], dim=1))


class Branch(nn.Module):
    """From the shared maps, the largest first, to one linear map of the image's size."""

    def __init__(self):
        super().__init__()
        sizes = (*SHARED, *OWN)
        self.downs = nn.ModuleList(_make_down(above, below) for above, below in zip(sizes[-3:], OWN))
        steps, deep = [], OWN[-1]
        for skip, outputs in zip(sizes[-2::-1], UP):
            steps.append(BilinearUpStep(deep, skip, outputs))
            deep = outputs
        self.ups = nn.ModuleList(steps)
        self.head = nn.Conv2d(deep, 1, 1)

    def forward(self, shared: list[torch.Tensor]) -> torch.Tensor:
        skips = list(shared)
        for down in self.downs:
            skips.append(down(skips[-1]))
        x = skips.pop()
        for up in self.ups:
            x = up(x, skips.pop())
        return self.head(x)


class BranchedUnet(nn.Module):
    """Background and image to mask logits and linear depth; in training, only of branches that are not frozen."""

    def __init__(self, settings: NetworkParams):
        super().__init__()
        self.shared = nn.ModuleList([_make_double(6, SHARED[0])])
        self.shared.extend(_make_down(above, below) for above, below in pairwise(SHARED))
        self.mask_branch = Branch()
        self.depth_branch = Branch()

    @property
    def branches(self) -> dict[str, list[nn.Module]]:
        """The modules that serve one task alone."""
        return {"mask": [self.mask_branch], "depth": [self.depth_branch]}

    def forward(self, image: torch.Tensor, background: torch.Tensor) -> Prediction:
        x, maps = torch.cat([background, image], dim=1), []
        for part in self.shared:
            x = part(x)
            maps.append(x)
        # the output of a branch frozen in training is not needed
        mask, depth = (
            branch(maps) if branch.training or not self.training else None for branch in (self.mask_branch, self.depth_branch)
        )
        return Prediction(mask, depth)


def _make_double(inputs: int, outputs: int, between: int | None = None) -> nn.Sequential:
    """Two convolutions with bias; `between`: the channels after the first, if not as many as after the second."""
    between = between or outputs
    return nn.Sequential(make_cbr(inputs, between, bias=True), make_cbr(between, outputs, bias=True))


def _make_down(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.MaxPool2d(2), _make_double(inputs, outputs))
