"""Images of what a source holds, uint8 H x W x 3."""

from __future__ import annotations

import numpy as np

from depthmask.compose.fitting import resize_area
from depthmask.data.sample import Background, Cutout
from depthmask.pictures.colours import find_depth_range, paint_depth, paint_mask

PAPER = 255  # grey level behind a cut-out and in place of missing maps
TINT, TINT_SHARE = np.array([60, 200, 90]), 0.55  # of foreground in an overlay
DIM = 0.45  # brightness of the background in an overlay


def paint_background(background: Background) -> dict[str, np.ndarray]:
    """`image`, `mask` (there is none) and `depth`."""
    nothing = np.full_like(background.image, PAPER)
    depth = nothing
    if background.depth is not None:
        depth = paint_depth(background.depth, find_depth_range(background.depth, background.valid), background.valid)
    return {"image": background.image, "mask": nothing, "depth": depth}


def paint_cutout(cutout: Cutout) -> dict[str, np.ndarray]:
    """On white; its relief, which is relative to its foot, from its nearest to its farthest point."""
    alpha = cutout.rgba[..., 3:].astype(np.float32) / 255
    image = np.round(cutout.rgba[..., :3] * alpha + PAPER * (1 - alpha)).astype(np.uint8)
    depth = np.full_like(image, PAPER)
    if cutout.relief is not None:
        inside = alpha[..., 0] >= 0.5
        above = cutout.relief - cutout.relief.min() + 1  # colours are logarithmic, and the foot has no distance from a camera
        above = above / above.max()
        depth = paint_depth(above, find_depth_range(above, inside), inside)
        depth[~inside] = PAPER
    return {"image": image, "mask": paint_mask(alpha[..., 0]), "depth": depth}


def paint_overlay(image: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """The image with its foreground tinted and everything else darkened; alpha: H x W, 0..1."""
    share = alpha[..., None].astype(np.float32)
    inside = image * (1 - TINT_SHARE) + TINT * TINT_SHARE
    return np.round(inside * share + image * DIM * (1 - share)).astype(np.uint8)


def fit_square(picture: np.ndarray, size_px: int) -> np.ndarray:
    """The whole image in a square, padded with white."""
    height, width = picture.shape[:2]
    scale = size_px / max(height, width)
    new = max(1, round(height * scale)), max(1, round(width * scale))
    square = np.full((size_px, size_px, 3), PAPER, np.uint8)
    top, left = (size_px - new[0]) // 2, (size_px - new[1]) // 2
    square[top : top + new[0], left : left + new[1]] = resize_area(picture, new[1], new[0])
    return square
