"""Scores of depth.

Protocol: depth is 0..1 of the source's maximum, larger is farther; only pixels where `valid` is true count, and a
image without any is ignored (its scores are NaN). With p the prediction and d the truth, averages over those pixels:

    rmse     sqrt(mean (p - d)^2), times the maximum             in the source's unit, lower is better
    mae      mean |p - d|, times the maximum                     in the source's unit, lower is better
    abs_rel  mean |p - d| / d                                    0.., lower is better
    log10    mean |log10 p - log10 d|                            0.., lower is better
    delta1   fraction of pixels with max(p / d, d / p) < 1.25    0..1, higher is better
    delta2   the same with 1.25^2                                0..1, higher is better
    delta3   the same with 1.25^3                                0..1, higher is better
    ssim     structural similarity of p and d, see `ssim.py`     -1..1, higher is better

(Eigen, Puhrsch, Fergus 2014, but for SSIM.) For the four that divide or take logarithms, p and d are raised to at least
RATIO_FLOOR, a thousandth of the maximum, so that a depth of 0 is neither an infinite error nor none.

`..._aligned`: the same after scale and shift of the prediction were fitted to the truth by least squares in each
image (Ranftl et al. 2020, here in depth, not in its inverse). They do not change when the prediction is multiplied by
a number other than 0 or when one is added; a fitted scale may be negative. A constant prediction becomes the truth's mean.

`fg_...`: the same, not aligned, inside the true foreground alone (alpha >= 0.5); NaN where there is none.

Shapes: B images of H x W.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from depthmask.metrics.mask import THRESHOLD
from depthmask.metrics.reduce import Statistics, as_float64
from depthmask.metrics.ssim import gather_ssim
from depthmask.scores import ALIGNED, FOREGROUND

RATIO_FLOOR = 1e-3
DELTA = 1.25
# a spread of the prediction below this fraction of its size is rounding, not shape
CONSTANT_VARIANCE = 1e-12


def gather_depth(
    depth_B1HW: Tensor, target_B1HW: Tensor, valid_B1HW: Tensor, mask_B1HW: Tensor | None = None, *, thorough: bool = True
) -> Statistics:
    """The sums, one number an image (float64, B), from which the functions below compute scores.

    Sums after alignment end in `_aligned`, those of the foreground begin with `fg_`. Without `mask_B1HW` (alpha) there are no
    `fg_` sums; without `thorough` none for SSIM and after alignment, which cost the most.
    """
    depth, target = as_float64(depth_B1HW), as_float64(target_B1HW)
    valid = valid_B1HW.to(depth.device)
    sums = _gather_errors(depth, target, valid)
    if mask_B1HW is not None:
        foreground = valid & (as_float64(mask_B1HW) >= THRESHOLD)
        sums |= {f"{FOREGROUND}{name}": values for name, values in _gather_errors(depth, target, foreground).items()}
    if thorough:
        aligned = align_scale_shift(depth, target, valid)
        aligned_sums = _gather_errors(aligned, target, valid)
        sums["ssim"], sums["ssim_num"] = gather_ssim(depth, target, valid)
        aligned_sums["ssim"], aligned_sums["ssim_num"] = gather_ssim(aligned, target, valid)
        sums |= {f"{name}{ALIGNED}": values for name, values in aligned_sums.items()}
    return sums


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


def rmse(sums: Statistics) -> Tensor:
    """Root of the mean squared error, as a fraction of the maximum depth."""
    return (sums["squared_error"] / sums["num_pixels"]).sqrt()


def ssim(sums: Statistics) -> Tensor | None:
    """None where its sums were not gathered."""
    return sums["ssim"] / sums["ssim_num"] if "ssim" in sums else None


def _average(sums: Statistics, name: str) -> Tensor:
    return sums[name] / sums["num_pixels"]


mae, abs_rel, log10 = (partial(_average, name=name) for name in ("abs_error", "abs_rel", "log10"))
delta1, delta2, delta3 = (partial(_average, name=name) for name in ("delta1", "delta2", "delta3"))


def _gather_errors(depth: Tensor, target: Tensor, counted: Tensor) -> Statistics:
    def sum_counted(values: Tensor) -> Tensor:
        return torch.where(counted, values.double(), 0.0).sum(dim=(1, 2, 3))

    error = depth - target
    floored, floored_target = depth.clamp_min(RATIO_FLOOR), target.clamp_min(RATIO_FLOOR)
    ratio = torch.maximum(floored / floored_target, floored_target / floored)
    return {
        "num_pixels": counted.sum(dim=(1, 2, 3)).double(),
        "squared_error": sum_counted(error**2),
        "abs_error": sum_counted(error.abs()),
        "abs_rel": sum_counted((floored - floored_target).abs() / floored_target),
        "log10": sum_counted(torch.log10(ratio)),  # ratio >= 1: the logarithm is the absolute difference
        "delta1": sum_counted(ratio < DELTA),
        "delta2": sum_counted(ratio < DELTA**2),
        "delta3": sum_counted(ratio < DELTA**3),
    }
