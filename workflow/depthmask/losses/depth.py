"""Losses of the depth: pure functions (depth_B1HW 0..1, target_B1HW 0..1, valid_B1HW) -> scalar, 0 if nothing is valid.

valid: bool, or how much each pixel counts, 0 where the depth is unknown (SSIM and MS-SSIM see only whether it is known).
"""

from __future__ import annotations

import torch
from pytorch_msssim import ms_ssim as compute_ms_ssim
from pytorch_msssim import ssim as compute_ssim
from torch.nn import functional as F

LOG_FLOOR = 1e-3  # of the depth's maximum, so that a depth of 0 has a logarithm
SCALES_PX = (1, 2, 4, 8)
TINY = 1e-6  # under the smallest part of a cell that can be known, 1 / 64
SSIM_WINDOW = 7
MS_SSIM_MIN_SIDE_PX = 33


def l1(depth: torch.Tensor, target: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
    """Mean absolute difference."""
    return _mean((depth - target).abs(), valid)


def log_l1(depth: torch.Tensor, target: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
    """Mean absolute difference of logarithms: what delta 1.25 and AbsRel count, a ratio."""
    return _mean(((depth + LOG_FLOOR).log() - (target + LOG_FLOOR).log()).abs(), valid)


def ssim(depth: torch.Tensor, target: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
    """1 - SSIM (Wang et al. 2004, Gaussian window of 7, range 1); unknown pixels count as equal."""
    return 1 - compute_ssim(torch.where(valid > 0, depth, target), target, data_range=1.0, win_size=SSIM_WINDOW)


def ms_ssim(depth: torch.Tensor, target: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
    """1 - MS-SSIM (Wang et al. 2003, five scales, range 1); unknown pixels count as equal.

    The window is the largest of 11, 9, 7, 5, 3 of which 16 fit into the shorter side, as five scales want it.

    Raises:
        ValueError: the shorter side is under MS_SSIM_MIN_SIDE_PX.
    """
    side = min(depth.shape[-2:])
    window = next((w for w in (11, 9, 7, 5, 3) if side > (w - 1) * 16), None)
    if window is None:
        raise ValueError(f"MS-SSIM needs pictures of at least {MS_SSIM_MIN_SIDE_PX} px, not {side}")
    shown = torch.where(valid > 0, depth, target)
    if shown.requires_grad:
        # a scale whose contrast term is clipped at 0 has an infinite slope there: such a picture gives no gradient
        shown.register_hook(lambda slope: None if slope is None else slope.nan_to_num(0.0, 0.0, 0.0))
    return 1 - compute_ms_ssim(shown, target, data_range=1.0, win_size=window)


def gradient(depth: torch.Tensor, target: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
    """Mean absolute difference of the steps between neighbours, right and down, where both are known."""
    return _mean_steps(depth - target, valid)


def log_gradient(depth: torch.Tensor, target: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
    """The error's steps to the right and down, on average, in logarithms and summed over four scales.

    At scale s the error is averaged over the known pixels of cells of s x s. It does not change when all depths are
    multiplied by one number, and tells sharp edges from soft ones (after Li and Snavely 2018, who skip pixels where here
    cells are averaged).
    """
    error = (depth + LOG_FLOOR).log() - (target + LOG_FLOOR).log()
    weights = valid.to(error)
    total = error.new_zeros(())
    for scale_px in SCALES_PX:
        total = total + _mean_steps(*_pool_known(error, weights, scale_px))
    return total


def _pool_known(error: torch.Tensor, weights: torch.Tensor, scale_px: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Error and weight of each cell, averaged over its known pixels; cells at the border may be smaller, unknown ones have 0."""

    def average(values: torch.Tensor) -> torch.Tensor:
        return F.avg_pool2d(values, scale_px, ceil_mode=True)

    weight, known = average(weights), average((weights > 0).to(weights))
    return average(error * weights) / weight.clamp(min=TINY), weight / known.clamp(min=TINY)


def _mean_steps(error: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    right = _mean((error[..., 1:] - error[..., :-1]).abs(), weights[..., 1:] * weights[..., :-1])
    down = _mean((error[..., 1:, :] - error[..., :-1, :]).abs(), weights[..., 1:, :] * weights[..., :-1, :])
    return right + down


def _mean(each: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
    return (each * valid).sum() / valid.sum().clamp(min=1)
