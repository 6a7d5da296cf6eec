"""Outlines as masks: polygons, rectangles, ellipses, run lengths and pasted masks.

A pixel belongs to a shape if its centre is inside: the pixel in row r and column c has its centre at (c + 0.5, r + 0.5).

Run lengths are decoded here and not by pycocotools: that would be a compiled dependency for fifty lines, it does not validate
the run lengths that it reads, and of the formats here only COCO's could use it.
"""

from __future__ import annotations

import base64
import binascii
import io
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from depthmask.cutouts.objects import NoArea

POINTS_MIN = 3
DIGITS_MAX = 8  # of a compressed run length, 5 bits each: enough for MAX_PIXELS


@dataclass(frozen=True)
class Polygon:
    """Closed; filled by the even-odd rule. points: (x, y) in pixels, possibly outside the picture."""

    points: tuple[tuple[float, float], ...]

    def draw(self, height: int, width: int) -> np.ndarray:
        points = np.array(self.points, np.float64).reshape(-1, 2)
        if len(set(self.points)) < POINTS_MIN:
            raise NoArea(f"a polygon of {len(set(self.points))} different points")
        low, high = np.clip(np.ceil([points.min(axis=0) - 0.5, points.max(axis=0) - 0.5]), 0, (width, height)).astype(int)
        (left, top), (right, bottom) = low.tolist(), high.tolist()
        toggles = np.zeros((bottom - top, right - left + 1), np.uint8)
        for (x0, y0), (x1, y1) in zip(points, np.roll(points, -1, axis=0)):
            if y0 > y1:
                x0, y0, x1, y1 = x1, y1, x0, y0
            first, last = (int(np.clip(math.ceil(y - 0.5), top, bottom)) for y in (y0, y1))
            if first < last:  # rows whose centre is level with this edge
                rows = np.arange(first, last)
                x = x0 + (rows + 0.5 - y0) * ((x1 - x0) / (y1 - y0))
                toggles[rows - top, np.clip(np.ceil(x - 0.5), left, right).astype(np.intp) - left] ^= 1
        inside = np.zeros((height, width), bool)
        inside[top:bottom, left:right] = np.bitwise_xor.accumulate(toggles, axis=1)[:, :-1]
        if not inside.any() and not _is_outside(points, height, width):
            raise NoArea("a polygon without area")
        return inside


def _is_outside(points: np.ndarray, height: int, width: int) -> bool:
    low, high = points.min(axis=0), points.max(axis=0)
    return bool((high <= 0).any() or low[0] >= width or low[1] >= height)


@dataclass(frozen=True)
class Ellipse:
    """Radii in pixels; angle in degrees, clockwise as seen on the picture."""

    centre_x: float
    centre_y: float
    radius_x: float
    radius_y: float
    angle_deg: float = 0.0

    def draw(self, height: int, width: int) -> np.ndarray:
        if min(self.radius_x, self.radius_y) <= 0:
            raise ValueError("a circle or ellipse of radius 0")
        cos, sin = math.cos(math.radians(self.angle_deg)), math.sin(math.radians(self.angle_deg))
        x = np.arange(width)[None, :] + 0.5 - self.centre_x
        y = np.arange(height)[:, None] + 0.5 - self.centre_y
        return ((x * cos + y * sin) / self.radius_x) ** 2 + ((y * cos - x * sin) / self.radius_y) ** 2 <= 1


def make_rectangle(points: Sequence[tuple[float, float]]) -> Polygon:
    """The upright rectangle between two opposite corners."""
    (x0, y0), (x1, y1) = points
    return Polygon(((x0, y0), (x1, y0), (x1, y1), (x0, y1)))


@dataclass(frozen=True)
class ColumnRuns:
    """COCO's run lengths: of a whole picture, down each column, beginning with pixels outside. counts: numbers, or compressed."""

    height: int
    width: int
    counts: tuple[int, ...] | str

    def draw(self, height: int, width: int) -> np.ndarray:
        if (self.height, self.width) != (height, width):
            raise ValueError(f"run lengths of {self.width} x {self.height} px in a picture of {width} x {height}")
        counts = parse_compressed(self.counts) if isinstance(self.counts, str) else self.counts
        return expand_runs(counts, height * width).reshape(width, height).T


@dataclass(frozen=True)
class RowRuns:
    """CVAT's run lengths: of a box, along each row, beginning with pixels outside."""

    left: int
    top: int
    width: int
    height: int
    counts: tuple[int, ...]

    def draw(self, height: int, width: int) -> np.ndarray:
        if min(self.width, self.height) < 1:
            raise ValueError(f"a mask of {self.width} x {self.height} px")
        inside = expand_runs(self.counts, self.width * self.height).reshape(self.height, self.width)
        return paste(inside, self.left, self.top, height, width)


@dataclass(frozen=True)
class PngPatch:
    """A PNG in base64, pasted at a place in the picture; anything but 0 is inside. As in LabelMe files."""

    left: int
    top: int
    text: str

    def draw(self, height: int, width: int) -> np.ndarray:
        try:
            with Image.open(io.BytesIO(base64.b64decode(self.text, validate=True)), formats=("PNG",)) as image:
                if image.width * image.height > 4 * max(height * width, 1):
                    raise ValueError(f"a mask of {image.width} x {image.height} px in a picture of {width} x {height}")
                values = np.asarray(image)
        except (binascii.Error, OSError, SyntaxError) as error:
            raise ValueError("a mask that is not a PNG in base64") from error
        inside = values.reshape(*values.shape[:2], -1).any(axis=2)
        return paste(inside, self.left, self.top, height, width)


def paste(inside: np.ndarray, left: int, top: int, height: int, width: int) -> np.ndarray:
    """A mask within a larger one of False; what is outside that is dropped."""
    whole = np.zeros((height, width), bool)
    rows, columns = (slice(max(0, start), max(0, start + size)) for start, size in zip((top, left), inside.shape))
    target = whole[rows, columns]
    part = inside[max(0, -top) :, max(0, -left) :][: target.shape[0], : target.shape[1]]
    target[...] = part
    return whole


def expand_runs(counts: Sequence[int], num_pixels: int) -> np.ndarray:
    """bool of num_pixels: runs that alternate between outside and inside. Raises ValueError if they do not add up."""
    if any(count < 0 for count in counts) or sum(counts) != num_pixels:
        raise ValueError(f"run lengths that add up to {sum(counts):,} of {num_pixels:,} pixels")
    return np.repeat(np.arange(len(counts)) % 2 == 1, counts)


def parse_compressed(text: str) -> list[int]:
    """COCO's compressed run lengths: base 32 digits with a continuation bit, from the third on relative to the last but one.

    Raises:
        ValueError: the text is none.
    """
    if not re.fullmatch(r"[0-o]*", text):
        raise ValueError("compressed run lengths with a character that cannot be in them")
    counts: list[int] = []
    value = shift = 0
    for letter in text:
        digit = ord(letter) - 48
        value |= (digit & 0x1F) << shift
        shift += 5
        if shift > 5 * DIGITS_MAX:
            raise ValueError("compressed run lengths with a number that is too large")
        if not digit & 0x20:
            value -= (1 << shift) if digit & 0x10 else 0
            counts.append(value + counts[-2] if len(counts) > 2 else value)
            value = shift = 0
    if shift:
        raise ValueError("compressed run lengths that break off")
    return counts
