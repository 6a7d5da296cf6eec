"""Finds the pixels at depth edges, where a predicted depth is a mixture of near and far that is nowhere in the scene.

Shapes: maps are H x W.
"""

from __future__ import annotations

import math

import cv2
import numpy as np

# the steepest surface that is kept, as the change of ln(depth) per radian; a level floor at depth z below a camera at height h
# has z / h: the floor of a room stays, up to 20 m away
STEEPEST = 16.0
STEEPEST_AT_MASK = 6.0  # the same where the foreground ends
REACH = 1.0  # pixels of the map as predicted, beside a steep place, that are left out as well


def find_depth_edges(depth: np.ndarray, foreground: np.ndarray, focal_px: float, scale: float = 1.0) -> np.ndarray:
    """bool H x W: whether depth is too steep to be a surface, there or within REACH.

    foreground: bool; where it ends, less is too steep. scale: by how much the maps were enlarged after they were predicted.
    """
    kernel = _make_kernel(max(1, round(scale)))
    log_depth = np.log(np.maximum(depth, np.finfo(np.float32).tiny), dtype=np.float32)
    # over a pixel of the map as predicted and not one of the photo, where an enlarged step is a gentle slope
    rise = cv2.dilate(log_depth, kernel) - cv2.erode(log_depth, kernel)
    steepness = rise * focal_px / (kernel.shape[0] - 1)
    known = foreground.astype(np.uint8)
    border = cv2.dilate(known, kernel) != cv2.erode(known, kernel)
    steep = (steepness > STEEPEST) | (border & (steepness > STEEPEST_AT_MASK))
    reach = _make_kernel(max(1, math.ceil(REACH * scale)))
    return cv2.dilate(steep.astype(np.uint8), reach).astype(bool) if scale > 1 else steep


def _make_kernel(reach: int) -> np.ndarray:
    return np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)
