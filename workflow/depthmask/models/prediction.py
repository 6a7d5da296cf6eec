"""The output of every network.

Shapes: B images of H x W; K depth bins.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch.nn import functional as F


class NormalizationStats(NamedTuple):
    """Mean and standard deviation of mask and depth, 0..1: a network given these is trained on (map - mean) / std."""

    mask_mean: float
    mask_std: float
    depth_mean: float
    depth_std: float


class Prediction(NamedTuple):
    """A network's mask and depth; missing outputs are None, and so are the maps of a branch frozen in training.

    mask_logits: any real number, over 0 is foreground; None where the mask itself is given.
    depth: of the source's maximum, larger is farther. Linear outputs go beyond 0..1, where a loss still has a gradient;
        scores read `depth_clamped_B1HW`.
    mask: 0..1 where a network ends in a sigmoid or in a scaling; linear outputs go beyond, as for depth.
    depth_bins: logits of K classes; class k stands for depth k / (K - 1), and `depth` is the mean over their softmax.
    stats: where given, losses compare (map - mean) / std of mask and depth with the same of the targets.
    """

    mask_logits_B1HW: torch.Tensor | None
    depth_B1HW: torch.Tensor | None
    mask_B1HW: torch.Tensor | None = None
    depth_bins_BKHW: torch.Tensor | None = None
    stats: NormalizationStats | None = None

    @property
    def mask_prob_B1HW(self) -> torch.Tensor:  # noqa: N802 (shapes as suffixes)
        """The mask for scores, 0..1, float32, whichever way it was given."""
        if self.mask_logits_B1HW is not None:
            return torch.sigmoid(self.mask_logits_B1HW.float())
        return self.mask_B1HW.float().clamp(0, 1)

    @property
    def depth_clamped_B1HW(self) -> torch.Tensor:  # noqa: N802
        """The depth for scores, 0..1, float32."""
        return self.depth_B1HW.float().clamp(0, 1)

    def crop(self, height: int, width: int) -> Prediction:
        """The upper left part of every map."""
        return Prediction(*(x[..., :height, :width] if isinstance(x, torch.Tensor) else x for x in self))

    def undo_normalization(self, stats: NormalizationStats) -> Prediction:
        """Mask and depth of a network that learnt (map - mean) / std, as maps of 0..1 again, not clamped."""
        return self._replace(
            mask_B1HW=promote_to_float32(self.mask_B1HW) * stats.mask_std + stats.mask_mean,
            depth_B1HW=promote_to_float32(self.depth_B1HW) * stats.depth_std + stats.depth_mean,
            stats=stats,
        )


def promote_to_float32(values: torch.Tensor) -> torch.Tensor:
    """In float32 at least: what bfloat16 is too coarse for is computed so, and float64 stays float64."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def resize_maps(maps_BCHW: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Maps of 0..1 at another size, bilinear, antialiased when shrinking; as they are if the size is theirs."""
    if maps_BCHW.shape[-2:] == (height, width):
        return maps_BCHW
    # an interpolated value lies between its neighbours, but for rounding
    return F.interpolate(maps_BCHW, (height, width), mode="bilinear", align_corners=False, antialias=True).clamp(0, 1)
