"""Writes the files of a prediction: mask, depth, cut-out and images. The caller makes the writes atomic.

Shapes: photos are uint8 H x W x 3, maps H x W at the photo's size.
"""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from depthmask.pictures.colours import find_depth_range, paint_depth, paint_mask
from depthmask.pictures.grids import TILE_MIN_PX, draw_grid
from depthmask.serving.predictor import PhotoPrediction, PhotoPredictor

CAPTIONS = {"image": "photo", "mask": "mask", "cutout": "cut out", "depth": "depth, near is yellow"}
BEHIND_CUTOUT = 255  # grey level behind the cut-out
DEPTH_RAW_MAX = 65535
SHOWN_SIDE_MAX_PX = 640  # of each image side by side


def declare_depth(predictor: PhotoPredictor) -> dict[str, str | float | int]:
    """How to read the depth images, with the keys of `download.depth` in params.yaml."""
    return {"unit": predictor.depth_unit, "polarity": "near_is_small", "max": predictor.depth_max, "raw_max": DEPTH_RAW_MAX}


def save_mask(path: Path, mask: np.ndarray, hard: bool = False) -> None:
    """8-bit grey PNG: the probability x 255, or with `hard` 255 where it is at least 0.5 and 0 elsewhere."""
    _save_png(path, Image.fromarray(_to_alpha(mask, hard)), optimize=True)


def save_depth(path: Path, prediction: PhotoPrediction, declaration: dict) -> None:
    """16-bit grey PNG: depth / depth_max x 65535; its text chunk `depthmask` holds the declaration as JSON."""
    text = PngInfo()
    text.add_text("depthmask", json.dumps(declaration))
    raw = np.round(prediction.depth / np.float32(prediction.depth_max) * DEPTH_RAW_MAX).astype(np.uint16)
    _save_png(path, Image.fromarray(raw), pnginfo=text)


def save_cutout(path: Path, image: np.ndarray, mask: np.ndarray, hard: bool = False) -> None:
    """RGBA PNG: the photo's colours as they are, the mask as straight alpha."""
    _save_png(path, Image.fromarray(np.dstack([image, _to_alpha(mask, hard)])))


def save_side_by_side(path: Path, image: np.ndarray, prediction: PhotoPrediction, title: str) -> None:
    """JPEG of photo, mask, cut-out on white and depth in colours, each at most SHOWN_SIDE_MAX_PX wide and high."""
    height, width = image.shape[:2]
    scale = min(1.0, SHOWN_SIDE_MAX_PX / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    shown = np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BOX))
    mask, depth = (
        np.asarray(Image.fromarray(values).resize(size, Image.Resampling.BILINEAR))
        for values in (prediction.mask, prediction.depth / np.float32(prediction.depth_max))
    )
    pictures = paint_photo(shown, mask, depth)
    if size[1] * math.ceil(TILE_MIN_PX / size[0]) > 2 * SHOWN_SIDE_MAX_PX:
        # pad a narrow image with white instead of enlarging it until captions fit above it
        beside = ((0, 0), (0, TILE_MIN_PX - size[0]), (0, 0))
        pictures = {name: np.pad(picture, beside, constant_values=BEHIND_CUTOUT) for name, picture in pictures.items()}
    draw_grid([pictures], [title], CAPTIONS).save(path, format="JPEG", quality=90, subsampling=0)


def paint_photo(image: np.ndarray, mask: np.ndarray, depth: np.ndarray) -> dict[str, np.ndarray]:
    """The images of CAPTIONS, uint8 H x W x 3; depth: 0..1."""
    alpha = mask[..., None]
    return {
        "image": image,
        "mask": paint_mask(mask),
        "cutout": np.round(image * alpha + BEHIND_CUTOUT * (1 - alpha)).astype(np.uint8),
        "depth": paint_depth(depth, find_depth_range(depth, np.ones_like(depth, bool))),
    }


def _to_alpha(mask: np.ndarray, hard: bool) -> np.ndarray:
    return np.where(mask >= 0.5, 255, 0).astype(np.uint8) if hard else np.round(mask * 255).astype(np.uint8)


def _save_png(path: Path, image: Image.Image, **options) -> None:
    image.save(path, format="PNG", **options)
