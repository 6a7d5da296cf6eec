"""Transforms that change an image's colours and return it; uint8 S x S x 3 in and out.

`values` are uniforms 0..1 of this one image, as many as PHOTOMETRIC says.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np

from depthmask.params.augment import Blur, BrightnessContrast, Grey, HueSaturation, Jpeg, Noise

LEVELS = np.arange(256, dtype=np.float32)
HUES = 180  # OpenCV's hue is in steps of 2 degrees


def change_brightness_contrast(image: np.ndarray, params: BrightnessContrast, values: Sequence[float]) -> np.ndarray:
    """Each level times 1 +- contrast, plus +- brightness of the whole range."""
    gain = 1 + (2 * values[1] - 1) * params.contrast
    offset = 255 * (2 * values[0] - 1) * params.brightness
    return cv2.LUT(image, np.clip(LEVELS * np.float32(gain) + np.float32(offset), 0, 255).astype(np.uint8))


def shift_hue_saturation(image: np.ndarray, params: HueSaturation, values: Sequence[float]) -> np.ndarray:
    """Turn the hue, shift saturation and value by whole levels; what has no colour gets none."""
    limits = (params.hue_deg / 360 * HUES, params.saturation, params.value)
    hue, saturation, value = ((2 * v - 1) * limit for v, limit in zip(values, limits, strict=True))
    table = np.stack([(LEVELS + hue) % HUES, LEVELS + int(saturation), LEVELS + int(value)], axis=1)
    table[0, 1] = 0
    hsv = cv2.LUT(cv2.cvtColor(image, cv2.COLOR_RGB2HSV), table.clip(0, 255).astype(np.uint8)[None])
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)


def blur(image: np.ndarray, params: Blur, values: Sequence[float]) -> np.ndarray:
    """A box of an odd side from 3 to kernel_max_px."""
    side = 3 + 2 * int(values[0] * ((params.kernel_max_px + params.kernel_max_px % 2 - 1) // 2))
    return cv2.blur(image, (side, side))


def make_grey(image: np.ndarray, params: Grey, values: Sequence[float]) -> np.ndarray:
    """Luma in all three channels."""
    return cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)


def add_noise(image: np.ndarray, params: Noise, values: Sequence[float]) -> np.ndarray:
    """Normal noise, each pixel and channel on its own, with a standard deviation of up to std_max of the whole range."""
    noise = draw_noise(image.shape, params.std_max * values[0], values[1])
    return np.clip(image + noise, 0, 255).astype(np.uint8)


def draw_noise(shape: Sequence[int], std: float, key: float) -> np.ndarray:
    """Levels to add, float32; a key of 0..1 gives the same noise each time."""
    generator = np.random.Generator(np.random.Philox(key=int(key * 2**53)))
    return generator.standard_normal(shape, np.float32) * np.float32(255 * std)


def compress(image: np.ndarray, params: Jpeg, values: Sequence[float]) -> np.ndarray:
    """JPEG of a quality from quality_min to 100, decoded again; as in albumentations, red and blue have changed places in it."""
    quality = params.quality_min + int(values[0] * (101 - params.quality_min))
    return cv2.imdecode(cv2.imencode(".jpg", image, (cv2.IMWRITE_JPEG_QUALITY, quality))[1], cv2.IMREAD_COLOR)


# name: function, how many values it is given
PHOTOMETRIC: dict[str, tuple[Any, int]] = {
    "brightness_contrast": (change_brightness_contrast, 2),
    "hue_saturation": (shift_hue_saturation, 3),
    "blur": (blur, 1),
    "grey": (make_grey, 0),
    "noise": (add_noise, 2),
    "jpeg": (compress, 1),
}
