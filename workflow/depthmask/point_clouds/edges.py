"""Finds the pixels at depth edges, where a predicted depth is a mixture of near and far that is nowhere in the scene.

Shapes: maps are H x W.
"""

from __future__ import annotations

import cv2
import numpy as np

# the steepest surface that is kept, as the change of ln(depth) per radian; a level floor at depth z below a camera at height h
# has z / h: the floor of a room stays, up to 15 m away
STEEPEST = 12.0
REACH = 1.0  # pixels of a predicted map, beside a steep place, that are left out as well: a network blurs its edges


def find_depth_edges(depth: np.ndarray, focal_px: float, scale: float | None = None) -> np.ndarray:
    """bool H x W: whether depth is too steep to be a surface; both sides of an edge are.

    depth: larger is farther; a jump to 0, unknown, is an edge too. scale: by how much the map was enlarged after it was
    predicted; None: it was not predicted, and has sharp edges.
    """
    reach = max(1, round(scale or 1))
    kernel = _make_kernel(reach)
    log_depth = np.log(np.maximum(depth, np.finfo(np.float32).tiny), dtype=np.float32)
    # over a pixel of the map as predicted and not one of the photo, where an enlarged step is a gentle slope
    rise = cv2.dilate(log_depth, kernel) - cv2.erode(log_depth, kernel)
    steep = (rise * focal_px / (2 * reach) > STEEPEST).astype(np.uint8)
    if scale is not None:
        steep = cv2.dilate(steep, _make_kernel(max(1, round(REACH * scale))))
    return steep.astype(bool)


def _make_kernel(reach: int) -> np.ndarray:
    return np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)
