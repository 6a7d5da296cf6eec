"""Pictures with values of more bits than Pillow keeps: 16-bit colour types, which it cuts to 8, and 64-bit TIFF."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from PIL import Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from depthmask.base.errors import UserError
from depthmask.base.files import read_regular_file
from depthmask.data.arrays import MAX_PIXELS
from depthmask.data.formats import read_start

WIDTH_TAG, HEIGHT_TAG, BITS_TAG, CHANNELS_TAG = 256, 257, 258, 277
JP2_HEAD_BYTES = 4096
TIFF_BYTE_ORDERS = (b"II*\0", b"MM\0*")


def count_bits(image: Image.Image, path: Path) -> int:
    """Bits per channel of an opened picture as stored; 8 if its format has no more.

    image: not loaded yet, which forgets what it was decoded from.
    """
    if image.format == "PNG":
        return read_start(path)[24]  # of the header, which comes first
    if image.format == "TIFF":
        return max(image.tag_v2.get(BITS_TAG, (8,)))
    if image.format == "JPEG2000":
        return _count_jp2_bits(path)
    if image.format == "PPM":
        maximum = image.tile[0][3][-1] if image.tile and isinstance(image.tile[0][3], tuple) else 0
        return 16 if isinstance(maximum, int) and maximum > 255 else 8
    return 8


def _count_jp2_bits(path: Path) -> int:
    """From the image header box, or the size marker of a bare codestream."""
    with path.open("rb") as file:
        start = file.read(JP2_HEAD_BYTES)
    box, marker = start.find(b"ihdr"), start.find(b"\xff\x51")
    if box >= 0 and start[box + 14] != 0xFF:  # 0xFF: it differs by channel
        return (start[box + 14] & 0x7F) + 1
    return (start[marker + 40] & 0x7F) + 1 if marker >= 0 else 8


def decode_deep(path: Path, content: bytes) -> np.ndarray:
    """The stored values of a picture, H x W or H x W x channels, colours as red, green, blue; not turned upright."""
    values = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    if values is None:
        raise UserError(f"{path}: colour with more than 8 bits of a kind that is not read; save it as 16-bit grey PNG")
    return values if values.ndim == 2 else values[..., [2, 1, 0, *range(3, values.shape[2])]]


def turn_array(values: np.ndarray, turn: Image.Transpose | None) -> np.ndarray:
    """Turn an array H x W ... as Pillow turns an image."""
    flips = {
        Image.Transpose.FLIP_LEFT_RIGHT: lambda: values[:, ::-1],
        Image.Transpose.FLIP_TOP_BOTTOM: lambda: values[::-1],
        Image.Transpose.ROTATE_90: lambda: np.rot90(values, 1),
        Image.Transpose.ROTATE_180: lambda: np.rot90(values, 2),
        Image.Transpose.ROTATE_270: lambda: np.rot90(values, 3),
        Image.Transpose.TRANSPOSE: lambda: values.swapaxes(0, 1),
        Image.Transpose.TRANSVERSE: lambda: np.rot90(values, 2).swapaxes(0, 1),
    }
    return values if turn is None else np.ascontiguousarray(flips[turn]())


def read_wide_tiff(path: Path) -> np.ndarray | None:
    """A TIFF of one channel with 64 bits, H x W, as tools write what was computed; None if it is another file."""
    with path.open("rb") as file:
        start = file.read(8)
        if not start.startswith(TIFF_BYTE_ORDERS):
            return None
        tags = ImageFileDirectory_v2(start)
        try:
            file.seek(tags.next)
            tags.load(file)
            bits, channels = tags.get(BITS_TAG, (8,)), tags.get(CHANNELS_TAG, 1)
        except Exception:  # untrusted file: open_picture reports what is wrong, or reads it without these tags
            return None
    if bits != (64,) or channels != 1:
        return None
    if tags.get(WIDTH_TAG, 0) * tags.get(HEIGHT_TAG, 0) > MAX_PIXELS:
        raise UserError(f"{path}: more than {MAX_PIXELS:,} pixels; shrink it")
    values = decode_deep(path, read_regular_file(path))
    with np.errstate(over="ignore"):  # beyond float32 is infinity: unknown
        return values.astype(np.float32) if values.dtype.kind == "f" else values
