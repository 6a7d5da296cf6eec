"""The clean background out of the clip itself: the median of frames in which, at every pixel, the room is seen most of the time.

Memory is bounded whatever the clip's length: at most KEPT_MAX frames are kept, evenly spread, of at most KEPT_PIXELS each.

Shapes: images are uint8 H x W x 3.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from depthmask.base.errors import UserError
from depthmask.base.paths import show_path
from depthmask.video.clip import Clip
from depthmask.video.names import show_span, show_time

KEPT_MAX = 64
KEPT_PIXELS = 1_000_000
ROWS_AT_ONCE = 32  # of a median, which sorts copies
NEAR_LEVELS = 16  # a sample within this of the median shows the same thing
UNSURE_SHARE = 0.02  # of the pixels, above which the median is reported as unsure


@dataclass(frozen=True)
class FoundBackground:
    """image: at the clip's size. num_frames: it is the median of.

    unsure: share of pixels at which less than half of these frames are near the median.
    """

    image: np.ndarray
    num_frames: int
    unsure: float


class EvenSamples:
    """Keeps a bounded number of frames, evenly spread over a sequence of unknown length."""

    def __init__(self, most: int = KEPT_MAX):
        self.most, self.stride, self.seen = most, 1, 0
        self.kept: list[np.ndarray] = []

    def add(self, read: Callable[[], np.ndarray]) -> None:
        """Offer the next frame; it is only read if it is kept."""
        if self.seen % self.stride == 0:
            if len(self.kept) == self.most:
                del self.kept[1::2]
                self.stride *= 2
            if self.seen % self.stride == 0:
                self.kept.append(_reduce(read()))
        self.seen += 1


def find_background(
    clip: Clip, span: tuple[float, float] | None, skip_damaged: bool, advance: Callable[[], None]
) -> FoundBackground:
    """The median of the frames from span[0] up to span[1] seconds after the clip's first frame; span None: of all.

    advance: called after each frame that is read.

    Raises:
        UserError: no frame is within the span, or a frame is damaged.
    """
    samples, start_s, last_s = EvenSamples(), None, 0.0
    for frame in clip.read_frames(skip_damaged):
        start_s = frame.time_s if start_s is None else start_s
        last_s = frame.time_s - start_s
        if span is not None and last_s > span[1]:
            break
        if span is None or last_s >= span[0]:
            samples.add(frame.read)
        advance()
    if not samples.kept:
        raise UserError(
            f"--background-span {show_span(span or (0, 0))}: {show_path(clip.path)} has no frame there; its last one is at"
            f" {show_time(last_s)}"
        )
    median, unsure = _find_median(samples.kept)
    return FoundBackground(cv2.resize(median, clip.size_px, interpolation=cv2.INTER_CUBIC), len(samples.kept), unsure)


def _reduce(image: np.ndarray) -> np.ndarray:
    height, width = image.shape[:2]
    scale = (KEPT_PIXELS / (height * width)) ** 0.5
    if scale >= 1:
        return image
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)


def _find_median(images: list[np.ndarray]) -> tuple[np.ndarray, float]:
    """The median of each channel of each pixel, and the share of pixels at which less than half of the images are near it."""
    median, num_unsure = np.empty_like(images[0]), 0
    middle = len(images) // 2
    for top in range(0, len(median), ROWS_AT_ONCE):
        rows = np.stack([image[top : top + ROWS_AT_ONCE] for image in images])
        # of an even number the upper one of the two in the middle, so that a colour that was seen is kept
        found = np.partition(rows, middle, axis=0)[middle]
        near = (np.abs(rows.astype(np.int16) - found).max(axis=3) <= NEAR_LEVELS).mean(axis=0)
        num_unsure += int((near < 0.5).sum())
        median[top : top + ROWS_AT_ONCE] = found
    return median, num_unsure / (median.shape[0] * median.shape[1])
