"""Depth in files of lossy compression, which mixes pixels that mean "not measured" with their neighbours.

JPEG codes blocks of 8 x 8 pixels: an error is felt in the whole block and nowhere else, so up to 7 px away. `python
benchmarks/lossy_depth.py` measures it with holes of 0: at quality 50, values next to a hole are wrong by up to 31 of 255 (95th
percentile), 7 px away by 4, and from 8 px on by 3, as anywhere else. Lossy WebP and AVIF reach 3 px. One in seven pixels of the
holes is no longer 0, and would be taken for something at a few centimetres.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

from depthmask.data.deep_pictures import TIFF_BYTE_ORDERS
from depthmask.data.images import read_depth
from depthmask.params import DepthParams

BAND_PX = 7
NEARLY_UNKNOWN = 4  # of 255: what is left of a hole too small for an exact value in its middle
HEADER_BYTES = 4096
JPEG = b"\xff\xd8\xff"
JPEG2000 = (b"\0\0\0\x0cjP  ", b"\xff\x4f\xff\x51")
JPEG2000_CODING, TRANSFORM_AT = b"\xff\x52", 13  # a marker, and the offset of the byte that is 1 if the wavelet is reversible
TIFF_LOSSY = ("jpeg", "tiff_jpeg", "webp")


class StoredDepth(NamedTuple):
    """raw: H x W, as `read_depth`. num_band_px: how many known pixels compression made unknown; None if the file is lossless."""

    raw: np.ndarray
    num_band_px: int | None


def read_stored_depth(path: Path, scale: DepthParams) -> StoredDepth:
    """Read a depth map; in a lossy file, what is near an unknown pixel is unknown too.

    Raises:
        UserError: as `read_depth`.
    """
    raw = read_depth(path, scale)
    if raw.dtype.kind == "f" or not is_lossy(path):
        return StoredDepth(raw, None)
    if scale.raw_unknown is None:
        return StoredDepth(raw, 0)
    spread = spread_unknown(raw, scale.raw_unknown)
    return StoredDepth(spread, int(np.count_nonzero(spread != raw)))


def is_lossy(path: Path) -> bool:
    """Whether an image file's pixels are not exactly those that were saved; by its content, not its name."""
    with path.open("rb") as file:
        header = file.read(HEADER_BYTES)
    if header.startswith(JPEG):
        return True
    if header[:4] == b"RIFF" and header[8:12] == b"WEBP":
        return b"VP8L" not in header
    if header[4:8] == b"ftyp":  # AVIF and HEIF, whose lossless mode is rare and leaves no mark in the header
        return True
    if header.startswith(JPEG2000):
        place = header.find(JPEG2000_CODING)
        return place < 0 or header[place + TRANSFORM_AT : place + TRANSFORM_AT + 1] != b"\x01"
    if header.startswith(TIFF_BYTE_ORDERS):
        try:
            with Image.open(path, formats=("TIFF",)) as image:
                return image.info.get("compression") in TIFF_LOSSY
        except UnidentifiedImageError:  # whole numbers of 64 bits
            return False
    return False


def spread_unknown(raw: np.ndarray, unknown: int) -> np.ndarray:
    """Depth values H x W of a lossy file in which everything near an unknown pixel is unknown too.

    Nearly unknown values count as unknown, too.
    """
    holes = np.abs(raw.astype(np.int32) - unknown) <= NEARLY_UNKNOWN
    if not holes.any():
        return raw
    side = 2 * BAND_PX + 1
    near = cv2.dilate(holes.astype(np.uint8), np.ones((side, side), np.uint8)).astype(bool)
    return np.where(near, np.array(unknown, raw.dtype), raw)
