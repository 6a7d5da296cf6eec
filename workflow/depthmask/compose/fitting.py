"""Fits images of any size to squares of size_px: `fit` is crop (the centre) or stretch."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np


def fit_picture(pixels: np.ndarray, size_px: int, fit: str) -> np.ndarray:
    """An image, H x W or H x W x C, as a square of size_px, antialiased."""
    return resize_area(pixels[_choose_part(pixels, fit)], size_px, size_px)


def fit_values(values: np.ndarray, size_px: int, fit: str) -> np.ndarray:
    """A map H x W whose values must not be interpolated, such as depth, as a square of size_px."""
    return pick(values[_choose_part(values, fit)], size_px, size_px)


def crop_centre(shape: Sequence[int], side: int) -> tuple[slice, slice]:
    """The square of that side in the middle of an array of that shape."""
    top, left = (shape[0] - side) // 2, (shape[1] - side) // 2
    return slice(top, top + side), slice(left, left + side)


def resize_area(pixels: np.ndarray, width: int, height: int) -> np.ndarray:
    """Resize with antialiasing when shrinking, linearly when enlarging."""
    if pixels.shape[:2] == (height, width):
        return pixels
    shrinks = width < pixels.shape[1] or height < pixels.shape[0]
    return cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)


def pick(values: np.ndarray, width: int, height: int) -> np.ndarray:
    """Nearest-neighbour resize, at pixel centres."""
    return cv2.resize(values, (width, height), interpolation=cv2.INTER_NEAREST_EXACT)


def _choose_part(pixels: np.ndarray, fit: str) -> tuple[slice, slice]:
    return crop_centre(pixels.shape, min(pixels.shape[:2])) if fit == "crop" else np.s_[:, :]
