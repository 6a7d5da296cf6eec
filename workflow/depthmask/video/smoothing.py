"""Steadies maps in time: where the picture stands still they are averaged, where it moves they are left as they are.

Each map is a running mean with the time constant of `Smoother`, whatever the frame rate. A pixel's newest value counts in full
where the picture has changed, or where mask or depth differ from the mean by more than a flicker does: nothing that moves
leaves a trail, and no smoothed value is far from the network's own. A camera that moves changes all pixels, so nothing is
smoothed then.

Shapes: maps are float32 H x W, images uint8 H x W x 3.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import cv2
import numpy as np

STILL_LEVELS, MOVED_LEVELS = 5.0, 15.0  # of 255: change of a colour, averaged over 3 x 3 pixels, by noise; by motion
STILL_MASK, MOVED_MASK = 0.2, 0.45  # difference from the mean, of the probability
STILL_DEPTH, MOVED_DEPTH = 0.05, 0.15  # likewise of depth, as a share of it
NEIGHBOURS = np.ones((3, 3), np.uint8)


class Steady(NamedTuple):
    """The running means. picture: float32 H x W x 3, of the images. time_s: of the last frame."""

    mask: np.ndarray
    depth: np.ndarray
    picture: np.ndarray
    time_s: float


class Smoother:
    """A running mean over time with a time constant in seconds; `state` is all that it remembers."""

    def __init__(self, seconds: float):
        if not (seconds > 0 and math.isfinite(seconds)):
            raise ValueError(f"a time constant is above 0 s, not {seconds}")
        self.seconds = seconds
        self.state: Steady | None = None

    def smooth(self, image: np.ndarray, mask: np.ndarray, depth: np.ndarray, time_s: float) -> tuple[np.ndarray, np.ndarray]:
        """The steadied mask and depth of the next frame; all of one size."""
        picture = cv2.blur(image, (3, 3)).astype(np.float32)
        before = self.state
        if before is None or before.mask.shape != mask.shape:
            self.state = Steady(mask.copy(), depth.copy(), picture, time_s)
            return mask, depth
        newest = 1 - math.exp(-max(0.0, time_s - before.time_s) / self.seconds)
        change = _ramp(np.abs(picture - before.picture).max(axis=2), STILL_LEVELS, MOVED_LEVELS)
        change = np.maximum(change, _ramp(np.abs(mask - before.mask), STILL_MASK, MOVED_MASK))
        differs = np.abs(depth - before.depth) / np.maximum(np.maximum(depth, before.depth), 1e-6)
        change = np.maximum(change, _ramp(differs, STILL_DEPTH, MOVED_DEPTH))
        weight = newest + (1 - newest) * cv2.dilate(change, NEIGHBOURS)
        self.state = Steady(
            before.mask + weight * (mask - before.mask),
            before.depth + weight * (depth - before.depth),
            before.picture + weight[..., None] * (picture - before.picture),
            time_s,
        )
        return self.state.mask, self.state.depth


def _ramp(values: np.ndarray, none: float, full: float) -> np.ndarray:
    """0 up to `none`, 1 from `full` on, linear in between."""
    return np.clip((values - none) / (full - none), 0, 1).astype(np.float32)
