"""Reads pictures: any fault of a file ends in one line that names it."""

from __future__ import annotations

import functools
import io
import warnings
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from PIL import Image, UnidentifiedImageError

from depthmask.base.errors import UserError
from depthmask.base.file_errors import is_of_system, name_errors
from depthmask.base.files import read_regular_file
from depthmask.base.paths import find_fault_of_file
from depthmask.data.metadata import ON_ITS_SIDE, is_misled, read_orientation, turn_upright
from depthmask.data.stripping import strip_metadata
from depthmask.params import DepthParams

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
MAX_PIXELS = 100_000_000  # a larger header is treated as a decompression bomb
SIDE_MIN_PX = 2
MASK_THRESHOLD = 128  # of 255
STRIPPED_BYTES_MAX = 2**30  # a larger file is not read again without its metadata
# files are recognised by content, not name; formats that start a program (EPS: Ghostscript) or load other files are not read
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "TGA", "JPEG2000")
FORMATS += ("AVIF",) if find_spec("PIL.AvifImagePlugin") else ()


def silence_pillow() -> None:
    """Silence Pillow's warnings about metadata and sizes in this process: we report what matters ourselves."""
    warnings.filterwarnings("ignore", module=r"PIL\.")


Read = TypeVar("Read", bound=Callable[..., Any])


def _name_file(read: Read) -> Read:
    """Wrap a reader whose first argument is a path: whatever it raises names the file."""

    @functools.wraps(read)
    def wrapped(path: Path, *args: Any, **options: Any) -> Any:
        with name_errors(path, "image"):
            return read(path, *args, **options)

    return wrapped  # type: ignore[return-value]


@_name_file
def read_rgb(path: Path) -> np.ndarray:
    """Read a photo of any colour mode as uint8 H x W x 3 sRGB, upright according to its EXIF data.

    Raises:
        UserError: it is partly transparent.
    """
    image = _open(path)
    if not image.mode.startswith("I"):
        _require_opaque(path, image)
    return convert_photo(image)


@_name_file
def read_photo(path: Path) -> np.ndarray:
    """Like `read_rgb`, but transparent parts become white."""
    return convert_photo(_open(path))


def convert_photo(image: Image.Image) -> np.ndarray:
    """Convert an opened image of any colour mode to uint8 H x W x 3 sRGB, upright, with transparent parts white."""
    image = turn_upright(image)
    if image.mode.startswith("I"):  # 16-bit grey
        return np.repeat((np.asarray(image).clip(0, 65535) >> 8).astype(np.uint8)[..., None], 3, axis=2)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return np.array(image.convert("RGB"))


@_name_file
def read_rgba(path: Path) -> np.ndarray:
    """Read a cut-out as uint8 H x W x 4 with straight alpha.

    Raises:
        UserError: it has no alpha channel, or is fully transparent or opaque.
    """
    image = _open(path)
    if not (image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info):
        raise UserError(f"{path}: cut-out without alpha (mode {image.mode}); save it as PNG with a transparent background")
    rgba = np.array(image.convert("RGBA"))
    alpha = rgba[..., 3]
    if not (alpha >= MASK_THRESHOLD).any():
        raise UserError(f"{path}: cut-out with alpha below {MASK_THRESHOLD} of 255 everywhere, so nothing is visible; remove it")
    if (alpha == 255).all():
        raise UserError(f"{path}: cut-out is opaque everywhere and has no outline; remove its background or the file")
    return rgba


@_name_file
def read_grey(path: Path) -> np.ndarray:
    """Read a mask or depth image as uint8 or uint16 H x W.

    Raises:
        UserError: it is in colour (three channels that differ by more than JPEG noise), or partly transparent.
    """
    image = _open(path)
    if image.mode.startswith("I"):
        values = np.asarray(image)
        if values.min() < 0 or values.max() > 65535:
            raise UserError(f"{path}: values outside 0..65535; save it as an 8- or 16-bit grey image")
        return values.astype(np.uint16)
    if image.mode in ("L", "1"):
        return np.array(image.convert("L"))
    if image.mode == "F":
        raise UserError(f"{path}: floating-point pixels; save it as an 8- or 16-bit grey image")
    _require_opaque(path, image)
    rgb = np.array(image.convert("RGB")).astype(np.int16)
    if np.ptp(rgb, axis=2).max() > 8:
        raise UserError(f"{path}: colour image where a greyscale one is expected; are folders swapped?")
    return rgb[..., 0].astype(np.uint8)


@_name_file
def read_depth(path: Path, scale: DepthParams) -> np.ndarray:
    """Read a depth image like `read_grey`.

    Raises:
        UserError: also if it is 0 everywhere and 0 does not mean unknown.
    """
    raw = read_grey(path)
    if scale.raw_unknown != 0 and not raw.any():
        raise UserError(f"{path}: depth map is 0 everywhere; remove the sample, or set download.depth.raw_unknown to 0")
    return raw


def measure_picture(path: Path) -> tuple[int, int] | None:
    """Width and height of the upright image, from its header alone; None if the pixels must be decoded."""
    try:
        if find_fault_of_file(path) is not None:
            return None
        with Image.open(path, formats=FORMATS) as image:
            width, height = image.size
            is_turned = read_orientation(image) in ON_ITS_SIDE
    except PermissionError:
        raise
    except Exception:  # untrusted file: see _open
        return None
    if width * height > MAX_PIXELS or min(width, height) < SIDE_MIN_PX:
        return None
    return (height, width) if is_turned else (width, height)


def resize_photo(image: np.ndarray, width: int, height: int) -> np.ndarray:
    """Resize uint8 H x W x 3 bilinearly, antialiased when shrinking."""
    if image.shape[:2] == (height, width):
        return image
    return np.array(Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR))


def decode_depth(raw: np.ndarray, scale: DepthParams) -> tuple[np.ndarray, np.ndarray]:
    """Decode stored values to (depth float32 0..1 of scale.max, larger is farther, 0 where unknown; valid bool)."""
    valid = find_known(raw, scale)
    depth = np.minimum(raw.astype(np.float32) / np.float32(scale.raw_max or scale.max), np.float32(1))
    if scale.polarity == "near_is_large":
        depth = 1 - depth
    return np.where(valid, depth, np.float32(0)), valid


def find_known(raw: np.ndarray, scale: DepthParams) -> np.ndarray:
    """Which stored values are measurements, bool.

    NaN and infinity never are. Floating-point files mark unknown pixels with 0 or anything below it: raw_unknown 0 means both.
    """
    valid = np.isfinite(raw) if raw.dtype.kind == "f" else np.ones(raw.shape, bool)
    if scale.raw_unknown is None:
        return valid
    return valid & (raw > 0 if raw.dtype.kind == "f" and scale.raw_unknown == 0 else raw != scale.raw_unknown)


def make_depth_table(scale: DepthParams) -> np.ndarray:
    """`decode_depth` of each byte value: float32 256."""
    return decode_depth(np.arange(256, dtype=np.uint8), scale)[0]


def _open(path: Path) -> Image.Image:
    """The loaded image, upright. If its metadata keep Pillow from the pixels, they are left out."""
    fault = find_fault_of_file(path)
    if fault is not None:
        raise UserError(f"{path}: {fault}")
    try:
        return turn_upright(_load(path, path))
    except (UserError, MemoryError):
        raise
    except Image.DecompressionBombError as error:
        raise UserError(f"{path}: {error}; shrink it") from error
    except Exception as error:
        if isinstance(error, OSError) and is_of_system(error):
            raise
        image = _load_without_metadata(path)
        if image is not None:
            return image
        if isinstance(error, UnidentifiedImageError):
            raise UserError(f"{path}: not a readable image ({_count_bytes(path)} bytes); replace or remove it") from error
        raise


def _load(path: Path, file: Path | io.BytesIO) -> Image.Image:
    """Decode a file, or its content; path: for messages."""
    image = Image.open(file, formats=FORMATS)
    if image.width * image.height > MAX_PIXELS:
        raise UserError(f"{path}: {image.width} x {image.height} px is more than {MAX_PIXELS:,} pixels; shrink it")
    if min(image.size) < SIDE_MIN_PX:
        raise UserError(f"{path}: {image.width} x {image.height} px is not a valid image size; replace or remove it")
    _require_not_misled(image)
    image.load()
    _require_not_misled(image)  # text behind the pixels
    return image


def _require_not_misled(image: Image.Image) -> None:
    if is_misled(image):
        raise ValueError("text in the file has a name that Pillow takes for a property of the pixels")


def _load_without_metadata(path: Path) -> Image.Image | None:
    """Decode a file once more without its metadata, and turn it upright; None if that does not help."""
    try:
        stripped = strip_metadata(read_regular_file(path, STRIPPED_BYTES_MAX))
        return None if stripped is None else turn_upright(_load(path, io.BytesIO(stripped[0])), stripped[1])
    except (UserError, MemoryError):
        raise
    except Exception:
        return None


def _count_bytes(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _require_opaque(path: Path, image: Image.Image) -> None:
    """Accept an alpha channel that hides nothing; otherwise the hidden colours would become visible."""
    if image.has_transparency_data and image.convert("RGBA").getchannel("A").getextrema()[0] < 255:
        raise UserError(f"{path}: partly transparent; flatten it onto a background, or save it without alpha")
