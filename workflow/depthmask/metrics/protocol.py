"""Which pixels of the depth the restricted scores count, and whether its ratios mean anything."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from depthmask.scores import CAPPED, CAPPED_EIGEN, EIGEN

NYU_HEIGHT_PX, NYU_WIDTH_PX = 480, 640
# Eigen, Puhrsch, Fergus 2014 score the part of an NYU frame that the depth camera sees: rows and columns, ends excluded
EIGEN_ROWS_PX, EIGEN_COLUMNS_PX = (45, 471), (41, 601)


class Window(NamedTuple):
    """Part of an image, as fractions of its height and width: from (included) and to (excluded)."""

    rows: tuple[float, float]
    columns: tuple[float, float]

    def mark(self, height: int, width: int) -> Tensor:
        """bool H x W: the pixels whose centres lie in it, which are those whose depth was read from it."""
        inside = []
        for (first, end), size in ((self.rows, height), (self.columns, width)):
            centres = (torch.arange(size, dtype=torch.float64) + 0.5) / size
            inside.append((centres >= first) & (centres < end))
        return inside[0][:, None] & inside[1]


def make_eigen_window(fit: str) -> Window:
    """The Eigen crop in the square made of an NYU frame; `fit`: as in `compose.fitting`.

    The centre square (crop) is within the crop's columns, so that only rows are cut off; of a stretched frame both are.
    """
    rows = tuple(row / NYU_HEIGHT_PX for row in EIGEN_ROWS_PX)
    if fit == "stretch":
        return Window(rows, tuple(column / NYU_WIDTH_PX for column in EIGEN_COLUMNS_PX))
    left = (NYU_WIDTH_PX - NYU_HEIGHT_PX) / 2
    first, end = ((column - left) / NYU_HEIGHT_PX for column in EIGEN_COLUMNS_PX)
    return Window(rows, (max(0.0, first), min(1.0, end)))


@dataclass(frozen=True)
class DepthProtocol:
    """has_ratios: whether a depth of 0 is the camera's place, so that ratios of depths mean something.

    depth_min and depth_max: caps, as fractions of the maximum depth. crop: what part of each image counts. None: no such limit.
    """

    has_ratios: bool = True
    depth_min: float | None = None
    depth_max: float | None = None
    crop: Window | None = None

    @property
    def prefix(self) -> str:
        """What the keys of the restricted scores begin with; empty if nothing is restricted."""
        if self.depth_min is None and self.depth_max is None:
            return "" if self.crop is None else EIGEN
        return CAPPED if self.crop is None else CAPPED_EIGEN

    def restrict(self, target_B1HW: Tensor, valid_B1HW: Tensor) -> Tensor:
        """The valid pixels that count: in the crop, with a true depth between the caps, which themselves do not count."""
        counted = valid_B1HW
        if self.crop is not None:
            counted = counted & self.crop.mark(*counted.shape[-2:]).to(counted.device)
        if self.depth_min is not None:
            counted = counted & (target_B1HW > self.depth_min)
        if self.depth_max is not None:
            counted = counted & (target_B1HW < self.depth_max)
        return counted

    def clip(self, depth_B1HW: Tensor) -> Tensor:
        """Predicted depths, moved into the caps."""
        limits = self.depth_min, self.depth_max
        return depth_B1HW if limits == (None, None) else depth_B1HW.clamp(*limits)


PLAIN_PROTOCOL = DepthProtocol()
