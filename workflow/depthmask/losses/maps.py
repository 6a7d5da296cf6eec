"""Losses of any map, mask or depth: pure functions (map_B1HW, target_B1HW, valid_B1HW) -> scalar, 0 if nothing is valid.

map: as the network gives it, meant to be 0..1 like the target, but finite with a gradient beyond; any scale for those that only
compare differences. valid: bool, or how much each pixel counts, 0 where the truth is unknown (SSIM and MS-SSIM see only
whether it is known). An image of which nothing is known has no part in any mean. Differences are between numbers of 0..1, so no
loss has a unit.
"""

from __future__ import annotations

import math
import warnings

import torch
from pytorch_msssim import SSIM
from pytorch_msssim import ms_ssim as compute_ms_ssim
from pytorch_msssim import ssim as compute_ssim
from torch import Tensor
from torch.nn import functional as F

from depthmask.registry.losses import LOSSES

MS_SSIM_MIN_SIDE_PX = LOSSES["mask", "ms_ssim"].min_side_px
SSIM_WINDOW_PX = 11
MS_SSIM_WINDOWS_PX = (11, 9, 7, 5, 3)
MS_SSIM_EXPONENTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
MS_SSIM_SHRINKING = 16  # from the first of five scales to the last
PROBABILITY_FLOOR = 1e-4  # below it the logarithm continues as its tangent, so that an error of any size has a finite gradient


def l1(map_B1HW: Tensor, target_B1HW: Tensor, valid_B1HW: Tensor) -> Tensor:
    """Mean absolute difference."""
    return average((map_B1HW - target_B1HW).abs(), valid_B1HW)


def l1_sum(map_B1HW: Tensor, target_B1HW: Tensor, valid_B1HW: Tensor) -> Tensor:
    """Sum of the absolute differences over all pixels of the batch: it grows with image size and batch size."""
    return ((map_B1HW - target_B1HW).abs() * valid_B1HW).sum()


def mse(map_B1HW: Tensor, target_B1HW: Tensor, valid_B1HW: Tensor) -> Tensor:
    """Mean squared difference."""
    return average((map_B1HW - target_B1HW) ** 2, valid_B1HW)


def smooth_l1(map_B1HW: Tensor, target_B1HW: Tensor, valid_B1HW: Tensor) -> Tensor:
    """Mean of e^2 / 2 where the absolute difference e is under 1, else e - 1/2 (Girshick 2015, after Huber 1964)."""
    return average(F.smooth_l1_loss(map_B1HW, target_B1HW, reduction="none"), valid_B1HW)


def bce(map_B1HW: Tensor, target_B1HW: Tensor, valid_B1HW: Tensor) -> Tensor:
    """Mean binary cross entropy of probabilities, -t log p - (1 - t) log(1 - p)."""
    each = target_B1HW * log_with_tangent(map_B1HW, PROBABILITY_FLOOR)
    each = each + (1 - target_B1HW) * log_with_tangent(1 - map_B1HW, PROBABILITY_FLOOR)
    return average(-each, valid_B1HW)


def ssim(map_B1HW: Tensor, target_B1HW: Tensor, valid_B1HW: Tensor) -> Tensor:
    """1 - SSIM (Wang et al. 2004: Gaussian window of 11, sigma 1.5, range 1, windows inside the image, mean over them).

    Unknown pixels count as equal, images of which nothing is known not at all. Images with a side under 11 get the largest odd
    window that fits.
    """
    window_px = min(SSIM_WINDOW_PX, (min(map_B1HW.shape[-2:]) - 1) // 2 * 2 + 1)
    shown = torch.where(valid_B1HW > 0, map_B1HW, target_B1HW)
    maps = _as_channels(shown), _as_channels(target_B1HW)
    similarity = compute_ssim(*maps, data_range=1.0, win=_make_window(window_px, maps[0]))
    return _leave_out_unknown(1 - similarity, valid_B1HW)


def ms_ssim(map_B1HW: Tensor, target_B1HW: Tensor, valid_B1HW: Tensor) -> Tensor:
    """1 - MS-SSIM (Wang et al. 2003, five scales, their exponents, range 1); what is unknown counts as in `ssim`.

    The window is the largest of 11, 9, 7, 5, 3 that the shorter side holds on the smallest scale too. Halving averages
    2 x 2 pixels; an odd side gets a row of zeros on both ends first, as pytorch-msssim has it.

    Raises:
        ValueError: the shorter side is under MS_SSIM_MIN_SIDE_PX.
    """
    side_px = min(map_B1HW.shape[-2:])
    window_px = next((window for window in MS_SSIM_WINDOWS_PX if side_px > (window - 1) * MS_SSIM_SHRINKING), None)
    if window_px is None:
        raise ValueError(f"MS-SSIM needs images of at least {MS_SSIM_MIN_SIDE_PX} px, not {side_px}")
    shown = torch.where(valid_B1HW > 0, map_B1HW, target_B1HW)
    if shown.requires_grad:
        # an image with a negative contrast term on any scale has a product of 0, whose gradient of 0 comes out as 0 x infinity
        shown.register_hook(lambda gradient: None if gradient is None else gradient.nan_to_num(0.0, 0.0, 0.0))
    maps = _as_channels(shown), _as_channels(target_B1HW)
    exponents = torch.tensor(MS_SSIM_EXPONENTS, dtype=shown.dtype).to(shown.device, non_blocking=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the exponents, usually a list, which it would copy and wait for, are copied
        similarity = compute_ms_ssim(*maps, data_range=1.0, win=_make_window(window_px, maps[0]), weights=exponents)
    return _leave_out_unknown(1 - similarity, valid_B1HW)


def _make_window(window_px: int, maps_1BHW: Tensor) -> Tensor:
    """The Gaussian window, once for each channel: on its device already, since pytorch-msssim would wait for its copy there."""
    window = SSIM(win_size=window_px, channel=maps_1BHW.shape[1]).win
    return window.to(maps_1BHW.device, maps_1BHW.dtype, non_blocking=True)


def _leave_out_unknown(mean: Tensor, valid_B1HW: Tensor) -> Tensor:
    """A mean over all images, to which those of which nothing is known added 0, as the mean over the others."""
    return mean * (len(valid_B1HW) / find_known_images(valid_B1HW).sum().clamp(min=1))


def _as_channels(maps_B1HW: Tensor) -> Tensor:
    """1BHW: the images as channels of one, which SSIM blurs each on its own and whose mean is the same.

    On a CPU the blur of many images of one channel takes many times as long as that of one image of many channels
    (benchmarks/ssim.py).
    """
    return maps_B1HW.transpose(0, 1)


def gradient(map_B1HW: Tensor, target_B1HW: Tensor, valid_B1HW: Tensor) -> Tensor:
    """Mean absolute difference of the steps between neighbours, right plus down, where both neighbours are known."""
    return average_steps(map_B1HW - target_B1HW, valid_B1HW)


def find_known_images(valid_B1HW: Tensor) -> Tensor:
    """Images of which anything is known, bool B."""
    return (valid_B1HW > 0).flatten(1).any(dim=1)


def average(each: Tensor, valid: Tensor) -> Tensor:
    """Mean of `each`, weighted by `valid`; 0 where nothing is valid."""
    return (each * valid).sum() / valid.sum().clamp(min=1)


def average_steps(values: Tensor, valid: Tensor) -> Tensor:
    """Mean absolute step to the right plus mean absolute step down."""
    pairs = zip(take_steps(values), weigh_steps(valid), strict=True)
    return sum(average(step.abs(), weight) for step, weight in pairs)


def take_steps(values: Tensor) -> tuple[Tensor, Tensor]:
    """Each pixel's right neighbour less the pixel, and its lower neighbour less the pixel."""
    return values[..., 1:] - values[..., :-1], values[..., 1:, :] - values[..., :-1, :]


def weigh_steps(valid: Tensor) -> tuple[Tensor, Tensor]:
    """How much each step of `take_steps` counts: the geometric mean of its two pixels, so 0 where one is unknown."""
    return (valid[..., 1:] * valid[..., :-1]).sqrt(), (valid[..., 1:, :] * valid[..., :-1, :]).sqrt()


def log_with_tangent(values: Tensor, floor: float) -> Tensor:
    """The natural logarithm; below `floor` its tangent there: finite for any number, with a gradient of 1 / floor."""
    tangent = math.log(floor) + (values - floor) / floor
    return torch.where(values < floor, tangent, values.clamp(min=floor).log())
