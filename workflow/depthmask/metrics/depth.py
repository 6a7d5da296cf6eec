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
    silog    100 sqrt(mean e^2 - (mean e)^2), e = ln p - ln d    0.., lower is better
    boundary_f1  how well edges are found, see `boundary.py`     0..1, higher is better

(Eigen, Puhrsch, Fergus 2014, but for SSIM and boundary F1; silog as in KITTI's benchmark: the error of 2014 is half of its
square, without the 100.) For those that divide or take logarithms, p and d are raised to at least RATIO_FLOOR, a thousandth of
the maximum, so that a depth of 0 is neither an infinite error nor none.

Variants, whose fits are in `alignment.py`, each in every image:

`..._median_scaled`: after scaling the prediction to the truth's median.
`..._aligned`: after scale and shift of the prediction were fitted to the truth by least squares. They do not change when the
prediction is multiplied by a number other than 0 or when one is added; a fitted scale may be negative. A constant prediction
becomes the truth's mean.
`..._aligned_disparity`: the same in inverse depth, clipped there, and inverted again.
`fg_...`: not aligned, inside the true foreground alone (alpha >= 0.5); NaN where there is none.
`capped_...`, `eigen_...`, `capped_eigen_...`: each of these protocols again on the pixels of a `DepthProtocol`, fits included,
with the prediction, once fitted, moved into the caps; RATIO_FLOOR is replaced by the lower cap.

Where ratios of depths mean nothing (`DepthProtocol.has_ratios`), silog, boundary_f1, and the variants `..._median_scaled` and
`..._aligned_disparity` are NaN.

Shapes: B images of H x W.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor

from depthmask.metrics.alignment import RATIO_FLOOR, align_disparity, align_scale_shift, scale_to_median
from depthmask.metrics.boundary import gather_boundary_f1
from depthmask.metrics.mask import THRESHOLD
from depthmask.metrics.protocol import PLAIN_PROTOCOL, DepthProtocol
from depthmask.metrics.reduce import Statistics, as_float64
from depthmask.metrics.ssim import gather_ssim
from depthmask.scores import ALIGNED, ALIGNED_DISPARITY, FOREGROUND, MEDIAN_SCALED

DELTA = 1.25


def gather_depth(
    depth_B1HW: Tensor,
    target_B1HW: Tensor,
    valid_B1HW: Tensor,
    mask_B1HW: Tensor | None = None,
    *,
    thorough: bool = True,
    protocol: DepthProtocol = PLAIN_PROTOCOL,
) -> Statistics:
    """The sums, one number an image (float64, B), from which the functions below compute scores.

    The sums of a variant begin and end as its keys do. Without `mask_B1HW` (alpha) there are no `fg_` sums; without `thorough`
    only these and the plain ones, and none for SSIM, SILog and boundary F1, which cost the most.
    """
    depth, target = as_float64(depth_B1HW), as_float64(target_B1HW)
    valid = valid_B1HW.to(depth.device)
    regions = {"": valid}
    if mask_B1HW is not None:
        regions[FOREGROUND] = valid & (as_float64(mask_B1HW) >= THRESHOLD)
    sums: Statistics = {}
    for prefix, counted in regions.items():
        errors = _gather_errors(depth, target, counted)
        if thorough:
            errors |= _gather_log_errors(depth, target, _keep_if_ratios(counted, protocol.has_ratios))
        sums |= {f"{prefix}{name}": values for name, values in errors.items()}
    if not thorough:
        return sums
    for suffix, fitted, counted in _fit(depth, target, valid, protocol.has_ratios):
        errors = _gather_errors(fitted, target, counted)
        if suffix == ALIGNED:
            errors["ssim"], errors["ssim_num"] = gather_ssim(fitted, target, valid)
        sums |= {f"{name}{suffix}": values for name, values in errors.items()}
    sums["ssim"], sums["ssim_num"] = gather_ssim(depth, target, valid)
    floored = (values.clamp_min(RATIO_FLOOR) for values in (depth, target))
    sums["boundary_f1"], sums["boundary_num"] = gather_boundary_f1(*floored, _keep_if_ratios(valid, protocol.has_ratios))
    return sums | (_gather_restricted(depth, target, valid, protocol) if protocol.prefix else {})


def _gather_restricted(depth: Tensor, target: Tensor, valid: Tensor, protocol: DepthProtocol) -> Statistics:
    """The sums over the pixels of the protocol, plain and after each fit."""
    inside, clipped = protocol.restrict(target, valid), protocol.clip(depth)
    floor, cap = protocol.depth_min or RATIO_FLOOR, protocol.depth_max or 1.0
    sums = _gather_errors(clipped, target, inside, floor)
    sums |= _gather_log_errors(clipped, target, _keep_if_ratios(inside, protocol.has_ratios), floor)
    for suffix, fitted, counted in _fit(depth, target, inside, protocol.has_ratios, floor, cap):
        errors = _gather_errors(protocol.clip(fitted), target, counted, floor)
        sums |= {f"{name}{suffix}": values for name, values in errors.items()}
    return {f"{protocol.prefix}{name}": values for name, values in sums.items()}


def _fit(
    depth: Tensor, target: Tensor, valid: Tensor, has_ratios: bool, floor: float = RATIO_FLOOR, cap: float = 1.0
) -> Iterator[tuple[str, Tensor, Tensor]]:
    """(suffix, prediction fitted to the truth on the valid pixels, pixels to count) of each variant with a fit."""
    yield ALIGNED, align_scale_shift(depth, target, valid), valid
    counted = _keep_if_ratios(valid, has_ratios)
    yield MEDIAN_SCALED, scale_to_median(depth, target, counted, floor), counted
    yield ALIGNED_DISPARITY, align_disparity(depth, target, counted, floor, cap), counted


def _keep_if_ratios(counted: Tensor, has_ratios: bool) -> Tensor:
    return counted if has_ratios else torch.zeros_like(counted)


def rmse(sums: Statistics) -> Tensor:
    """Root of the mean squared error, as a fraction of the maximum depth."""
    return (sums["squared_error"] / sums["num_pixels"]).sqrt()


def ssim(sums: Statistics) -> Tensor | None:
    """None where its sums were not gathered."""
    return sums["ssim"] / sums["ssim_num"] if "ssim" in sums else None


def silog(sums: Statistics) -> Tensor | None:
    """100 times the standard deviation of ln p - ln d; None where its sums were not gathered.

    They never are after a fit: it does not change with scale.
    """
    if "log_error" not in sums:
        return None
    mean, square = (sums[name] / sums["num_log_pixels"] for name in ("log_error", "squared_log_error"))
    return 100 * (square - mean**2).clamp_min(0).sqrt()  # rounding can make a variance of 0 slightly negative


def boundary_f1(sums: Statistics) -> Tensor | None:
    """None where its sums were not gathered."""
    return sums["boundary_f1"] / sums["boundary_num"] if "boundary_f1" in sums else None


def _average(sums: Statistics, name: str) -> Tensor:
    return sums[name] / sums["num_pixels"]


mae, abs_rel, log10 = (partial(_average, name=name) for name in ("abs_error", "abs_rel", "log10"))
delta1, delta2, delta3 = (partial(_average, name=name) for name in ("delta1", "delta2", "delta3"))


def _gather_errors(depth: Tensor, target: Tensor, counted: Tensor, floor: float = RATIO_FLOOR) -> Statistics:
    sum_counted = partial(_sum_counted, counted=counted)
    error = depth - target
    floored, floored_target = depth.clamp_min(floor), target.clamp_min(floor)
    ratio = torch.maximum(floored / floored_target, floored_target / floored)
    return {
        "num_pixels": sum_counted(counted),
        "squared_error": sum_counted(error**2),
        "abs_error": sum_counted(error.abs()),
        "abs_rel": sum_counted((floored - floored_target).abs() / floored_target),
        "log10": sum_counted(torch.log10(ratio)),  # ratio >= 1: the logarithm is the absolute difference
        "delta1": sum_counted(ratio < DELTA),
        "delta2": sum_counted(ratio < DELTA**2),
        "delta3": sum_counted(ratio < DELTA**3),
    }


def _gather_log_errors(depth: Tensor, target: Tensor, counted: Tensor, floor: float = RATIO_FLOOR) -> Statistics:
    error = torch.log(depth.clamp_min(floor) / target.clamp_min(floor))
    return {
        "num_log_pixels": _sum_counted(counted, counted),
        "log_error": _sum_counted(error, counted),
        "squared_log_error": _sum_counted(error**2, counted),
    }


def _sum_counted(values: Tensor, counted: Tensor) -> Tensor:
    """The sum of each image, float64; of bools their number, which takes no pass in double precision."""
    if values.dtype == torch.bool:
        return (values & counted).sum(dim=(1, 2, 3)).double()
    return torch.where(counted, values, 0.0).sum(dim=(1, 2, 3))
