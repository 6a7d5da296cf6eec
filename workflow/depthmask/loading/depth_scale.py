"""Brings the depth of one of several sources to the model's scale, which is the first source's."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from depthmask.data.batch import ABSOLUTE, AFFINE, AFFINE_TO_INVERSE
from depthmask.params import DepthParams
from depthmask.params.mixture import is_on_same_scale


@dataclass(frozen=True)
class DepthScale:
    """factor: the source's maximum in maxima of the first source. relation: of its depths to the model's, see `ByteBatch`."""

    factor: float = 1.0
    relation: int = ABSOLUTE

    def convert(self, depth: np.ndarray, valid: np.ndarray) -> int:
        """Convert depths, 0..1 of the source's maximum, to the first source's in place; returns how many are out of range.

        Depths beyond the first source's maximum are clipped to it, as its own are. A source that ends before it says of its
        farthest pixels only that they are at least that far, so they become unknown.
        """
        if self.factor == 1:
            return 0
        depth *= np.float32(self.factor)
        outside = valid & (depth > 1) if self.factor > 1 else valid & (depth >= np.float32(self.factor))
        np.minimum(depth, 1, out=depth)
        if self.factor < 1:
            valid &= ~outside
            depth[outside] = 0
        return int(outside.sum())


def make_depth_scale(depth: DepthParams, first: DepthParams, *, is_first: bool) -> DepthScale:
    """How the depth of a source relates to that of the first one."""
    if is_first:
        return DepthScale()
    if is_on_same_scale(depth, first):
        return DepthScale(factor=depth.max / first.max)
    # the stored values of near_is_large grow with the inverse of the depth, as those of relative depth networks do
    is_inverse = first.unit == "metre" and depth.polarity == "near_is_large"
    return DepthScale(relation=AFFINE_TO_INVERSE if is_inverse else AFFINE)
