"""Composites as the bytes of image files, and depth as whole numbers with a declared scale."""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass

import numpy as np
from PIL import Image

from depthmask.base.errors import UserError
from depthmask.params import DepthParams

PNG_LEVEL = 1  # of zlib: 3 is half as fast for 3 % fewer bytes (of the demo pack's composites)
JPEG_QUALITY = 95
CLEAN_KEPT = 512  # encoded backgrounds, of which most composites share a few
DEPTH_16, DEPTH_8 = 65535, 255
MILLIMETRES = 1000


@dataclass(frozen=True)
class Encoder:
    """format: png or jpg, of images; map_format: the same of masks and depth. scale: how depth is written, None for none."""

    format: str
    map_format: str
    scale: DepthParams | None

    def encode_map(self, values: np.ndarray) -> bytes:
        """Encode a mask or depth map, uint8 or uint16 H x W."""
        return encode(values, self.map_format)

    def encode_image(self, image: np.ndarray) -> bytes:
        """Encode uint8 H x W x 3."""
        return encode(image, self.format)

    def encode_depth(self, depth: np.ndarray, valid: np.ndarray, key: str) -> bytes:
        """Encode a depth map as `to_raw` gives it; key: of the composite, for messages."""
        if self.scale.raw_unknown is None and not valid.all():
            raise UserError(
                f"composite {key}: parts of its depth are unknown, which 8-bit depth of this source cannot say; write PNG"
                " (--format png)"
            )
        return self.encode_map(to_raw(depth, valid, self.scale))


class CleanCache:
    """Encodes clean backgrounds, each distinct one once."""

    def __init__(self, encoder: Encoder):
        self._encoder, self._kept = encoder, {}

    def encode(self, image: np.ndarray) -> bytes:
        """As `Encoder.encode_image`."""
        key = hashlib.blake2b(np.ascontiguousarray(image).data, digest_size=16).digest()
        content = self._kept.get(key)
        if content is None:
            content = self._encoder.encode_image(image)
            if len(self._kept) < CLEAN_KEPT:
                self._kept[key] = content
        return content


def encode(pixels: np.ndarray, image_format: str) -> bytes:
    """An image file's bytes: png, lossless, or jpg at quality 95 with colours at full resolution."""
    out = io.BytesIO()
    if image_format == "png":
        Image.fromarray(pixels).save(out, "PNG", compress_level=PNG_LEVEL)
    else:
        Image.fromarray(pixels).save(out, "JPEG", quality=JPEG_QUALITY, subsampling=0)
    return out.getvalue()


def choose_scale(source: DepthParams, map_format: str) -> DepthParams:
    """How depth of a source is written: its own unit, polarity and maximum, and the pixel value of that maximum.

    PNG has 16 bits: millimetres, if the maximum is a whole number of them that fits, else 65535 for the maximum; 0 means unknown.
    JPEG has 8: 255 for the maximum, and 0 means unknown only if the source can have unknown depth, because compression would
    spread it over known pixels nearby.
    """
    if map_format != "png":
        is_always_known = source.raw_unknown is None and source.raw_max is not None
        return source.model_copy(update={"raw_max": DEPTH_8, "raw_unknown": None if is_always_known else 0})
    millimetres = source.max * MILLIMETRES
    fits = source.unit == "metre" and DEPTH_8 < millimetres <= DEPTH_16 and millimetres == round(millimetres)
    return source.model_copy(update={"raw_max": round(millimetres) if fits else DEPTH_16, "raw_unknown": 0})


def to_raw(depth: np.ndarray, valid: np.ndarray, scale: DepthParams) -> np.ndarray:
    """Depth, 0..1 of the maximum and larger is farther, as whole numbers: the inverse of `data.images.decode_depth`.

    uint16 H x W, uint8 if `scale.raw_max` is 255. Within half a step of the depth; where 0 means unknown, known pixels are at
    least 1.
    """
    values = depth if scale.polarity == "near_is_small" else 1 - depth
    raw = np.rint(values * np.float32(scale.raw_max)).clip(0, scale.raw_max)
    if scale.raw_unknown is not None:
        raw = np.where(valid, np.maximum(raw, 1), 0)
    return raw.astype(np.uint8 if scale.raw_max <= DEPTH_8 else np.uint16)
