"""Reads pictures: any fault of a file ends in one line that names it."""

from __future__ import annotations

import functools
import io
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from PIL import Image, UnidentifiedImageError

from depthmask.base.errors import UserError
from depthmask.base.file_errors import is_system_error, name_errors
from depthmask.base.files import read_regular_file
from depthmask.base.paths import find_fault_of_file
from depthmask.data.arrays import MAX_PIXELS, measure_array, read_array, require_equal_channels
from depthmask.data.deep_pictures import count_bits, decode_deep, read_wide_tiff, turn_array
from depthmask.data.formats import ARRAY_SUFFIXES, FLOAT_SUFFIXES, HEIF, OPENED, find_sign, read_start, register_heif
from depthmask.data.metadata import ON_ITS_SIDE, ORIENTATION_TAG, TURNS, is_misled, read_orientation_ahead, turn_upright
from depthmask.data.stripping import strip_metadata
from depthmask.params import DepthParams

SIDE_MIN_PX = 2
MASK_THRESHOLD = 128  # of 255
JPEG_TINT = 8  # of 255: difference of channels that JPEG leaves in grey
DEEP_FORMATS = ("PNG", "TIFF", "PPM", "JPEG2000")  # those that can hold values that Pillow changes
LEVELS = 255  # depth that stays below raw_max divided by this has another raw_max
STRIPPED_BYTES_MAX = 2**30  # a larger file is not read again without its metadata


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
    image = open_photo(path)
    if not image.mode.startswith("I"):
        require_opaque(path, image)
    return convert_photo(image)


@_name_file
def read_photo(path: Path) -> np.ndarray:
    """Like `read_rgb`, but transparent parts become white."""
    return convert_photo(open_photo(path))


def open_photo(path: Path) -> Image.Image:
    """`open_picture` of a photo, for `convert_photo`.

    Raises:
        UserError: its pixels are floating-point or have 32 bits, so that nothing says which value is white.
    """
    image = open_picture(path)
    if image.mode == "F" or (image.mode == "I" and image.format == "TIFF"):
        what = "floating-point" if image.mode == "F" else "32-bit"
        raise UserError(f"{path}: a photo with {what} pixels, in which white may be any value; save it with 8 or 16 bits")
    return image


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
    image = open_picture(path)
    if not (image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info):
        raise UserError(f"{path}: cut-out without alpha (mode {image.mode}); save it as PNG with a transparent background")
    rgba = np.array(image.convert("RGBA"))
    alpha = rgba[..., 3]
    if not (alpha >= MASK_THRESHOLD).any():
        raise UserError(
            f"{path}: cut-out with alpha of {alpha.max()} of 255 at most, below {MASK_THRESHOLD}, so nothing is visible; scale"
            " its alpha to 255 if something should be, else remove it"
        )
    if (alpha == 255).all():
        raise UserError(f"{path}: cut-out is opaque everywhere and has no outline; remove its background or the file")
    return rgba


@_name_file
def read_values(path: Path, kind: str = "depth") -> np.ndarray:
    """Read the numbers of a grey image or an array file at full depth, H x W: bool, integers of any size, or float32.

    kind: depth or mask; see `read_array`.

    Raises:
        UserError: it is in colour (channels that differ; in 8 bits by more than JPEG noise), or partly transparent.
    """
    suffix = path.suffix.lower()
    if suffix in ARRAY_SUFFIXES:
        return read_array(path, kind)
    wide = read_wide_tiff(path) if suffix in (".tif", ".tiff") and find_fault_of_file(path) is None else None
    return wide if wide is not None else convert_values(path, open_picture(path))


def convert_values(path: Path, image: Image.Image) -> np.ndarray:
    """`read_values` of an opened picture."""
    values = read_deep(path, image)
    if values is None and (image.mode.startswith("I") or image.mode == "F"):
        values = np.array(image)
        return values.astype(values.dtype.newbyteorder("="), copy=False)
    if values is None and image.mode in ("L", "1"):
        return np.array(image.convert("L"))
    if values is None:
        require_opaque(path, image)
        rgb = np.array(image.convert("RGB"))
        if measure_tint(rgb) > JPEG_TINT:
            raise UserError(
                f"{path}: colour image where a greyscale one is expected; are folders swapped? If it is depth in false colours or"
                " spread over channels, save the depth itself in one channel"
            )
        return np.ascontiguousarray(rgb[..., 0])
    if values.ndim == 3 and values.shape[2] == 4 and values[..., 3].min() < np.iinfo(values.dtype).max:
        raise UserError(f"{path}: partly transparent; save it without alpha")
    return values if values.ndim == 2 else np.ascontiguousarray(require_equal_channels(path, values[..., :3]))


def measure_tint(rgb: np.ndarray) -> int:
    """The largest difference between the channels of a colour; uint8 ... x 3."""
    return int(np.ptp(rgb, axis=-1).max())


def read_deep(path: Path, image: Image.Image) -> np.ndarray | None:
    """The values of an opened picture that Pillow would change, as H x W x channels, upright; None if it keeps them.

    It cuts colours of 16 bits to 8, and scales what has another maximum than 255 or 65535.
    """
    if image.mode in ("L", "1", "P") and image.format not in ("PPM", "JPEG2000"):
        return None
    if image.format not in DEEP_FORMATS or (image.mode.startswith(("I", "F")) and image.format not in ("PPM", "JPEG2000")):
        return None
    with _open_header(path) as header:
        format_name, bits = header.format, count_bits(header, path)
    if format_name == "PPM" and image.mode != "1":
        return decode_deep(path, read_regular_file(path))
    if format_name == "JPEG2000" and bits not in (8, 16):
        raise UserError(f"{path}: JPEG 2000 with {bits} bits, which readers scale differently; save it as 8- or 16-bit PNG")
    if bits <= 8 or image.mode.startswith("I"):
        return None
    content, orientation = read_regular_file(path), None
    if format_name == "PNG":  # OpenCV turns TIFF itself, and the others have no orientation
        content, orientation = strip_metadata(content) or (content, None)
    return turn_array(decode_deep(path, content), TURNS.get(orientation))


def _open_header(path: Path) -> Image.Image:
    """A picture of which only the header is read: without metadata, if only so Pillow opens it."""
    try:
        return Image.open(path, formats=OPENED)
    except Exception:  # untrusted file: see open_picture, which has read it
        stripped = strip_metadata(read_regular_file(path))
        if stripped is None:
            raise
        return Image.open(io.BytesIO(stripped[0]), formats=OPENED)


@_name_file
def read_depth(path: Path, scale: DepthParams) -> np.ndarray:
    """Read a depth map as uint8, uint16 or float32 H x W, as stored; float32 for values that have no 16 bits too.

    Raises:
        UserError: as `read_values`; it is 0 everywhere and 0 does not mean unknown; or its type or range contradicts `scale`.
    """
    raw = read_values(path)
    is_float = raw.dtype.kind == "f"
    if is_float and path.suffix.lower() not in FLOAT_SUFFIXES:
        raise UserError(f"{path}: a TIFF with floating-point pixels, whatever its name; give it the suffix .tif")
    if not is_float and scale.raw_max is None:
        raise UserError(
            f"{path}: whole numbers ({raw.dtype}), but download.depth.raw_max: null is for values in {scale.unit}; set it to the"
            " pixel value of download.depth.max"
        )
    if scale.raw_unknown != 0 and not raw.any():
        raise UserError(f"{path}: depth map is 0 everywhere; remove the sample, or set download.depth.raw_unknown to 0")
    if not is_float and raw.dtype != np.uint8:
        raw = raw.astype(np.uint16 if raw.min() >= 0 and raw.max() <= 65535 else np.float32)
    if raw.dtype == np.float32:
        _require_unit(path, raw, scale, is_float)
    return raw


def _require_unit(path: Path, raw: np.ndarray, scale: DepthParams, is_float: bool) -> None:
    """Refuse negative depth that nothing declares unknown, and floating-point values that raw_max cannot be meant for."""
    known = raw[find_known(raw, scale)]
    if known.size and known.min() < 0:
        if known.max() <= 0:
            raise UserError(f"{path}: no depth is above 0, the least is {known.min():g}; negate it if its axis points backwards")
        raise UserError(f"{path}: depth of {known.min():g}; set download.depth.raw_unknown: 0, if values up to 0 are unknown")
    peak = float(known.max()) if known.size and is_float else 0.0
    if scale.raw_max is not None and 0 < peak * LEVELS < scale.raw_max:
        depth = peak / scale.raw_max * scale.max
        raise UserError(
            f"{path}: floating-point depth of {peak:g} at most, which download.depth.raw_max: {scale.raw_max} takes for"
            f" {depth:.2g} {scale.unit}; set raw_max: null for values in {scale.unit}, else to the value of download.depth.max"
        )


def measure_picture(path: Path) -> tuple[int, int] | None:
    """Width and height of the upright image or array, from its header alone; None if the pixels must be decoded."""
    if path.suffix.lower() in ARRAY_SUFFIXES:
        return measure_array(path)
    try:
        if find_fault_of_file(path) is not None:
            return None
        with Image.open(path, formats=OPENED) as image:
            width, height = image.size
            orientation = read_orientation_ahead(path, image)
    except PermissionError:
        raise
    except Exception:  # untrusted file: see open_picture
        return None
    if width * height > MAX_PIXELS or min(width, height) < SIDE_MIN_PX:
        return None
    return (height, width) if orientation in ON_ITS_SIDE else (width, height)


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


def open_picture(path: Path) -> Image.Image:
    """The loaded image, upright. If its metadata keep Pillow from the pixels, they are left out."""
    fault = find_fault_of_file(path)
    if fault is not None:
        raise UserError(f"{path}: {fault}")
    try:
        return turn_upright(_load(path, path))
    except (UserError, MemoryError):
        raise
    except Image.DecompressionBombError as error:
        raise UserError(f"{path}: more than {MAX_PIXELS:,} pixels; shrink it") from error
    except Exception as error:
        if isinstance(error, OSError) and is_system_error(error):
            raise
        image = _load_without_metadata(path)
        if image is not None:
            return image
        if isinstance(error, UnidentifiedImageError):
            start = read_start(path)
            if register_heif(path, start):
                return turn_upright(_load_heif(path))
            sign = find_sign(start)
            if sign is not None:
                raise UserError(f"{path}: not a readable image but {sign}") from error
            raise UserError(f"{path}: not a readable image ({_count_bytes(path)} bytes); replace or remove it") from error
        raise


def _load(path: Path, file: Path | io.BytesIO, formats: tuple[str, ...] = OPENED) -> Image.Image:
    """Decode a file, or its content; path: for messages."""
    image = Image.open(file, formats=formats)
    if image.format == "MPO":  # a JPEG with more pictures behind the first, as phones store brightness or a second view
        image.format = "JPEG"
    if image.format == "TIFF" and file is path and image.tag_v2.get(ORIENTATION_TAG) in ON_ITS_SIDE:
        # Pillow maps uncompressed pixels of a file that it has opened by name, and takes the turned size for that of the rows
        image = Image.open(io.BytesIO(read_regular_file(path, STRIPPED_BYTES_MAX)), formats=formats)
    if image.width * image.height > MAX_PIXELS:
        raise UserError(f"{path}: {image.width} x {image.height} px is more than {MAX_PIXELS:,} pixels; shrink it")
    if min(image.size) < SIDE_MIN_PX:
        raise UserError(f"{path}: {image.width} x {image.height} px is not a valid image size; replace or remove it")
    _require_not_misled(image)
    image.load()
    _require_not_misled(image)  # text behind the pixels
    return image


def _load_heif(path: Path) -> Image.Image:
    try:
        return _load(path, path, (HEIF.name,))
    except UnidentifiedImageError as error:
        raise UserError(f"{path}: damaged HEIC image ({_count_bytes(path)} bytes); replace or remove it") from error


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


def require_opaque(path: Path, image: Image.Image) -> None:
    """Accept an alpha channel that hides nothing; otherwise the hidden colours would become visible."""
    if image.has_transparency_data and image.convert("RGBA").getchannel("A").getextrema()[0] < 255:
        raise UserError(f"{path}: partly transparent; flatten it onto a background, or save it without alpha")
