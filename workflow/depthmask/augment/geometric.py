"""Transforms that move image, mask, depth, valid and background together, in place.

`values` are uniforms 0..1 of this one sample, as many as GEOMETRIC says. All maps are
extended by reflection at the edges, so that they stay aligned; colours are interpolated, mask and depth are not.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import cv2
import numpy as np

from depthmask.data.batch import ABSOLUTE, ByteBatch
from depthmask.params.augment import GridDistortion, HorizontalFlip, Rotate, ShiftScaleRotate, Zoom

BORDER = cv2.BORDER_REFLECT_101


def flip_horizontally(maps: ByteBatch, b: int, params: HorizontalFlip, values: Sequence[float]) -> None:
    """Left becomes right."""
    for pixels in _views(maps, b):
        pixels[...] = cv2.flip(pixels, 1)


def rotate(maps: ByteBatch, b: int, params: Rotate, values: Sequence[float]) -> None:
    """Turn about the centre by up to limit_deg."""
    warp(maps, b, make_matrix(maps.image.shape[1], degrees=_spread(values[0], params.limit_deg)))


def shift_scale_rotate(maps: ByteBatch, b: int, params: ShiftScaleRotate, values: Sequence[float]) -> None:
    """Shift by whole pixels, scale rows and columns each on their own, rotate about the centre."""
    size = maps.image.shape[1]
    shift = [int(_spread(value, params.shift) * size) for value in values[:2]]
    scale = [1 + _spread(value, params.scale) for value in values[2:4]]
    warp(maps, b, make_matrix(size, shift, scale, _spread(values[4], params.rotate_deg)))


def zoom(maps: ByteBatch, b: int, params: Zoom, values: Sequence[float]) -> None:
    """Enlarge or shrink the image about its centre, and bring everything nearer or farther by the same factor.

    To a camera whose focal length stays, an image enlarged s times is a scene whose depths are s times smaller and whose
    widths and heights are as before. With the depth divided by s the metric scale can still be learnt, and has to be: a
    recognising a scene no longer gives away its depth. What is at the maximum ("or farther") stays there. Depth with a scale of
    its own stays as it is: it would fit with any factor, but not once it is cut off at 1.
    """
    enlargement = params.scale_max ** _spread(values[0], 1)
    warp(maps, b, make_matrix(maps.image.shape[1], scale=(enlargement, enlargement)))
    if maps.relation is not None and maps.relation[b] != ABSOLUTE:
        return
    depth = maps.depth[b]
    np.minimum(depth / np.float32(enlargement), np.float32(1), out=depth, where=depth < 1)


def distort_grid(maps: ByteBatch, b: int, params: GridDistortion, values: Sequence[float]) -> None:
    """Stretch and squeeze the columns and the rows of a grid, each by up to limit; the image stays as large as it is."""
    size = maps.image.shape[1]
    stretches = 1 + (2 * np.array(values) - 1) * params.limit
    axes = [place_pixels(size, params.num_steps, along) for along in np.split(stretches, 2)]
    places = np.stack(np.meshgrid(*axes), axis=-1)
    for pixels in _views(maps, b):
        pixels[...] = cv2.remap(pixels, places, None, _choose_interpolation(pixels), borderMode=BORDER)


def place_pixels(size_px: int, num_steps: int, stretches: np.ndarray) -> np.ndarray:
    """Where each pixel along a side comes from, float32: num_steps cells, and what is left of the side as one more.

    stretches: of the num_steps + 1 cells, before they are scaled so that the side is filled.
    """
    cell_px = size_px // num_steps
    lengths = stretches.copy()
    lengths[-1] *= (size_px - num_steps * cell_px) / cell_px
    lengths *= size_px / cell_px / lengths.sum()
    edges = np.concatenate([[0.0], np.cumsum(cell_px * lengths)])
    places = np.empty(size_px, np.float32)
    for number in range(num_steps + 1):
        start = number * cell_px
        end = start + cell_px if number < num_steps else size_px
        places[start:end] = np.linspace(edges[number], edges[number + 1], end - start)
    return places


def make_matrix(size_px: int, shift: Sequence[float] = (0, 0), scale: Sequence[float] = (1, 1), degrees: float = 0) -> np.ndarray:
    """The 2 x 3 matrix of pixel coordinates that scales (x, y), rotates counter-clockwise and shifts, about the centre."""
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    xx, xy, yx, yy = cos * scale[0], sin * scale[1], -sin * scale[0], cos * scale[1]
    centre = size_px / 2 - 0.5
    return np.array([[xx, xy, centre * (1 - xx - xy) + shift[0]], [yx, yy, centre * (1 - yx - yy) + shift[1]]], dtype=np.float64)


def warp(maps: ByteBatch, b: int, matrix: np.ndarray) -> None:
    """Move sample b: what is at x goes to matrix @ (x, 1)."""
    for pixels in _views(maps, b):
        flags = _choose_interpolation(pixels)
        pixels[...] = cv2.warpAffine(pixels, matrix, pixels.shape[1::-1], flags=flags, borderMode=BORDER)


def _choose_interpolation(pixels: np.ndarray) -> int:
    return cv2.INTER_LINEAR if pixels.ndim == 3 else cv2.INTER_NEAREST


def _views(maps: ByteBatch, b: int) -> list[np.ndarray]:
    """The maps to be moved; where all is valid, all stays so."""
    views = [maps.image[b], maps.mask[b], maps.depth[b]]
    if not maps.valid[b].all():
        views.append(maps.valid[b].view(np.uint8))
    return views if maps.background is None else [*views, maps.background[b]]


def _spread(value: float, limit: float) -> float:
    """From 0..1 to -limit..limit."""
    return (2 * value - 1) * limit


# name: function, how many values it is given, or how many for its params
NumValues = int | Callable[[Any], int]
GEOMETRIC: dict[str, tuple[Any, NumValues]] = {
    "horizontal_flip": (flip_horizontally, 0),
    "rotate": (rotate, 1),
    "shift_scale_rotate": (shift_scale_rotate, 5),
    "zoom": (zoom, 1),
    "grid_distortion": (distort_grid, lambda params: 2 * (params.num_steps + 1)),
}
