"""Structural similarity (Wang, Bovik, Sheikh, Simoncelli 2004) where only some pixels are known.

Gaussian windows of 11 x 11 pixels, sigma 1.5, K1 = 0.01, K2 = 0.03, windows that lie inside the image, range of the
data 1. Inside a window, unknown pixels have no weight and the others' weights are scaled to a sum of 1; windows whose
centre is unknown do not count. Where every pixel is known this is the ordinary SSIM. In -1..1, higher is better.

Shapes: B images of H x W.
"""

from __future__ import annotations

import torch
from torch import Tensor

WINDOW_PX = 11
SIGMA_PX = 1.5
K1, K2 = 0.01, 0.03


def gather_ssim(first_B1HW: Tensor, second_B1HW: Tensor, valid_B1HW: Tensor) -> tuple[Tensor, Tensor]:
    """Sum of SSIM over the windows that count, and their number, both per image (float64, B).

    An image whose shorter side is under 11 pixels is measured with windows of the largest odd size that fits.
    """
    weights = valid_B1HW.double()
    first, second = (torch.where(valid_B1HW, values.double(), 0.0) for values in (first_B1HW, second_B1HW))
    window_px = min(WINDOW_PX, (min(first.shape[-2:]) - 1) // 2 * 2 + 1)
    maps = torch.cat([weights, first, second, first * first, second * second, first * second], dim=1)
    total, *sums = _blur(maps, window_px).split(1, dim=1)
    total = total.clamp_min(1e-12)
    mean_1, mean_2, square_1, square_2, product = (values / total for values in sums)
    # rounding can make a variance of 0 slightly negative
    variance_1 = (square_1 - mean_1**2).clamp_min(0)
    variance_2 = (square_2 - mean_2**2).clamp_min(0)
    covariance = product - mean_1 * mean_2
    c1, c2 = K1**2, K2**2
    ssim = (2 * mean_1 * mean_2 + c1) * (2 * covariance + c2) / ((mean_1**2 + mean_2**2 + c1) * (variance_1 + variance_2 + c2))
    border = window_px // 2
    counts = valid_B1HW[..., border : valid_B1HW.shape[-2] - border, border : valid_B1HW.shape[-1] - border]
    return torch.where(counts, ssim, 0.0).sum(dim=(1, 2, 3)), counts.sum(dim=(1, 2, 3)).double()


def _blur(maps_BCHW: Tensor, window_px: int) -> Tensor:
    """Each map blurred on its own, only where the window lies inside the image; as two products with banded matrices,
    several times as fast on a CPU as convolutions in double precision."""
    rows, columns = (_make_band(size, window_px, maps_BCHW.device) for size in maps_BCHW.shape[-2:])
    return rows.T @ (maps_BCHW @ columns)


def _make_band(size: int, window_px: int, device: torch.device) -> Tensor:
    """size x (size - window_px + 1): column i holds the window that begins at i."""
    offsets = torch.arange(size, dtype=torch.float64, device=device)[:, None] - torch.arange(
        size - window_px + 1, dtype=torch.float64, device=device
    )
    window = torch.exp(-((offsets - window_px // 2) ** 2) / (2 * SIGMA_PX**2))
    window = torch.where((offsets >= 0) & (offsets < window_px), window, 0.0)
    return window / window.sum(dim=0, keepdim=True)
