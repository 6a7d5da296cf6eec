"""Fits a predicted depth to the true one, in each image on its own.

Protocols that compare networks whose scale is not that of the truth. With p the prediction and d the truth, over the pixels that
count:

    scale_to_median    p median(d) / median(p)
                       Zhou, Brown, Snavely, Lowe 2017; as in monodepth2's evaluation (Godard et al. 2019)
    align_scale_shift  s p + t, with s and t that minimise sum (s p + t - d)^2
                       the fit of Ranftl et al. 2020, here in depth, as for Marigold (Ke et al. 2024)
    align_disparity    1 / max(1 / cap, s / p + t), with s and t that minimise sum (s / p + t - 1 / d)^2
                       Ranftl et al. 2020 (MiDaS): fitted in inverse depth, clipped there at the largest depth, inverted, and
                       scored as depth; as for Depth Anything (Yang et al. 2024)

Shapes: B images of H x W; float64.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from depthmask.metrics.reduce import as_float64

RATIO_FLOOR = 1e-3
# a spread of the prediction below this fraction of its size is rounding, not shape
CONSTANT_VARIANCE = 1e-12


def align_scale_shift(depth_B1HW: Tensor, target_B1HW: Tensor, valid_B1HW: Tensor) -> Tensor:
    """`scale * depth + shift` with the pair that fits each image's valid pixels best; float64.

    Where the prediction is constant on them, or there is but one pixel, the scale is 0 and the shift the truth's mean.
    """
    depth, target = as_float64(depth_B1HW), as_float64(target_B1HW)
    valid = valid_B1HW.to(depth.device)
    num = valid.sum(dim=(1, 2, 3), keepdim=True).clamp_min(1)

    def average(values: Tensor) -> Tensor:
        return torch.where(valid, values, 0.0).sum(dim=(1, 2, 3), keepdim=True) / num

    depth_mean, target_mean = average(depth), average(target)
    centred = depth - depth_mean
    variance = average(centred**2)
    constant = variance <= CONSTANT_VARIANCE * average(depth**2)
    scale = torch.where(constant, 0.0, average(centred * (target - target_mean)) / torch.where(constant, 1.0, variance))
    return scale * centred + target_mean


def scale_to_median(depth_B1HW: Tensor, target_B1HW: Tensor, valid_B1HW: Tensor, floor: float = RATIO_FLOOR) -> Tensor:
    """The prediction times the factor that makes the medians over the valid pixels equal; float64.

    The truth's median is at least `floor`. A prediction whose median is 0 or less, which no factor can fix, stays as it is.
    """
    depth, target = as_float64(depth_B1HW), as_float64(target_B1HW)
    medians, true_medians = _find_medians(depth, valid_B1HW), _find_medians(target, valid_B1HW).clamp_min(floor)
    scalable = medians > 0
    return depth * torch.where(scalable, true_medians / torch.where(scalable, medians, 1.0), 1.0)


def align_disparity(
    depth_B1HW: Tensor, target_B1HW: Tensor, valid_B1HW: Tensor, floor: float = RATIO_FLOOR, cap: float = 1.0
) -> Tensor:
    """The depth, `floor` to `cap`, whose inverse is `scale / depth + shift` with the pair that fits 1 / truth best; float64.

    A depth below `floor` is taken for `floor`, and has no part in the fit, in which its inverse would outweigh all other pixels;
    an image with such pixels only is fitted by them. A constant prediction becomes the harmonic mean of the truth.
    """
    depth, target = as_float64(depth_B1HW), as_float64(target_B1HW)
    valid = valid_B1HW.to(depth.device)
    usable = valid & (depth >= floor) & (target >= floor)
    fitted = torch.where(usable.any(dim=-1, keepdim=True).any(dim=-2, keepdim=True), usable, valid)
    aligned = align_scale_shift(1 / depth.clamp_min(floor), 1 / target.clamp_min(floor), fitted)
    return 1 / aligned.clamp(1 / cap, 1 / floor)


def _find_medians(values_B1HW: Tensor, valid_B1HW: Tensor) -> Tensor:
    """B x 1 x 1 x 1, of the valid pixels, the mean of both middle ones if their number is even; 0 without any."""
    pairs = zip(values_B1HW.cpu().numpy(), valid_B1HW.cpu().numpy(), strict=True)
    medians = [float(np.median(values[valid])) if valid.any() else 0.0 for values, valid in pairs]
    return values_B1HW.new_tensor(medians)[:, None, None, None]
