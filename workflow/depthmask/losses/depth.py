"""Losses of the depth alone: pure functions (depth_B1HW 0..1, target_B1HW 0..1, valid_B1HW) -> scalar, 0 if nothing is valid.

valid: bool, or how much each pixel counts, 0 where the depth is unknown. Those of `maps.py` serve the depth as well.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from depthmask.losses.maps import average, average_steps, log_with_tangent, take_steps, weigh_steps

LOG_FLOOR = 1e-3  # of the depth's maximum, so that a depth of 0 has a logarithm
SCALES_PX = (1, 2, 4, 8)
TINY = 1e-6  # under the smallest part of a cell that can be known, 1 / 64
FLAT = 1e-4  # of the maximum: a mean deviation under that of any scene's depth, and of rounding to 16 bits
SPREAD_MIN = 1e-2  # a prediction flatter than that is not magnified further, so that its gradient stays finite


def log_l1(depth_B1HW: Tensor, target_B1HW: Tensor, valid_B1HW: Tensor) -> Tensor:
    """Mean absolute difference of logarithms: what delta 1.25 and AbsRel count, a ratio."""
    return average(_compare_logs(depth_B1HW, target_B1HW).abs(), valid_B1HW)


def log_gradient(depth_B1HW: Tensor, target_B1HW: Tensor, valid_B1HW: Tensor) -> Tensor:
    """The error's steps to the right and down, on average, in logarithms and summed over four scales.

    At scale s the error is averaged over the known pixels of cells of s x s. It does not change when all depths are
    multiplied by one number, and distinguishes sharp edges from soft ones (after Li and Snavely 2018, who skip pixels where here
    cells are averaged).
    """
    error = _compare_logs(depth_B1HW, target_B1HW)
    weights = valid_B1HW.to(error)
    total = error.new_zeros(())
    for scale_px in SCALES_PX:
        total = total + average_steps(*_pool_known(error, weights, scale_px))
    return total


def scale_shift_invariant(depth_B1HW: Tensor, target_B1HW: Tensor, valid_B1HW: Tensor) -> Tensor:
    """Mean absolute difference after both maps of each image were shifted to mean 0 and scaled to mean absolute value 1 on its
    known pixels, plus half of its steps over four scales, as in `log_gradient`; it has no unit.

    So it is the same for depth and a depth + b, with any a above 0, of either map (after Ranftl et al. 2020, with means instead
    of medians, whose gradient no GPU computes deterministically). A prediction that is flat stays flat, and has the loss of
    all that it lacks. An image whose truth is flat or has one known pixel has no shape and does not count.
    """
    weights = valid_B1HW.to(target_B1HW)
    prediction, _ = _normalise(depth_B1HW, weights)
    target, spread = _normalise(target_B1HW, weights)
    weights = weights * (spread > FLAT)
    error = prediction - target
    total = average(error.abs(), weights)
    for scale_px in SCALES_PX:
        total = total + average_steps(*_pool_known(error, weights, scale_px)) / 2
    return total


def smoothness(depth_B1HW: Tensor, image_B3HW: Tensor, valid_B1HW: Tensor) -> Tensor:
    """Mean of the depth's absolute steps, right plus down, each times exp(-the image's mean absolute step there).

    It needs no truth: depth may change where the image does (Godard et al. 2017; image 0..1, depth not divided by its mean).
    """
    total = depth_B1HW.new_zeros(())
    for step, edge, weight in zip(take_steps(depth_B1HW), take_steps(image_B3HW), weigh_steps(valid_B1HW), strict=True):
        total = total + average(step.abs() * (-edge.abs().mean(dim=1, keepdim=True)).exp(), weight)
    return total


def cross_entropy(bins_BKHW: Tensor, target_B1HW: Tensor, valid_B1HW: Tensor) -> Tensor:
    """Mean cross entropy of K classes of depth, from their logits; class k stands for depth k / (K - 1).

    The true class is the nearest one. Written as log-sum-exp less the true class's logit, which torch can do
    deterministically on a GPU.
    """
    num_bins = bins_BKHW.shape[1]
    true_bin = (target_B1HW * (num_bins - 1)).round().long().clamp(0, num_bins - 1)
    each = bins_BKHW.logsumexp(dim=1, keepdim=True) - bins_BKHW.gather(1, true_bin)
    return average(each, valid_B1HW)


def _compare_logs(depth: Tensor, target: Tensor) -> Tensor:
    """Logarithm of the depth less that of the target, both raised by LOG_FLOOR; linear outputs may be under 0."""
    return log_with_tangent(depth + LOG_FLOOR, LOG_FLOOR) - (target + LOG_FLOOR).log()


def _normalise(maps: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Each image less its mean, divided by its mean absolute deviation, both over its weights; and that deviation, B111."""
    total = weights.sum(dim=(1, 2, 3), keepdim=True).clamp(min=TINY)
    centred = maps - (maps * weights).sum(dim=(1, 2, 3), keepdim=True) / total
    spread = (centred.abs() * weights).sum(dim=(1, 2, 3), keepdim=True) / total
    return centred / spread.clamp(min=SPREAD_MIN), spread


def _pool_known(error: Tensor, weights: Tensor, scale_px: int) -> tuple[Tensor, Tensor]:
    """Error and weight of each cell, averaged over its known pixels; cells at the border may be smaller, unknown ones have 0."""

    def pool(values: Tensor) -> Tensor:
        return F.avg_pool2d(values, scale_px, ceil_mode=True)

    weight, known = pool(weights), pool((weights > 0).to(weights))
    return pool(error * weights) / weight.clamp(min=TINY), weight / known.clamp(min=TINY)
