"""Reading pictures: every way in which a file can be wrong ends in one line that names it."""

from __future__ import annotations

import warnings
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from depthmask.base.errors import UserError
from depthmask.base.paths import find_fault_of_file
from depthmask.params import DepthParams

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
MAX_PIXELS = 100_000_000  # a larger header is taken for a decompression bomb
SIDE_MIN_PX = 2
MASK_THRESHOLD = 128  # of 255
ORIENTATION_TAG, ON_ITS_SIDE = 0x0112, range(5, 9)  # of EXIF: a quarter turn, or one with a flip
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
ORIENTED_BY = ("exif", "Raw profile type exif", "XML:com.adobe.xmp", "xmp")  # what Pillow finds an orientation in
# a file is what its bytes say, not its name: formats that start another program (EPS: Ghostscript) or load others are not read
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "TGA", "JPEG2000")
FORMATS += ("AVIF",) if find_spec("PIL.AvifImagePlugin") else ()


def silence_pillow() -> None:
    """No warnings of Pillow's about metadata and sizes in this process: what matters of a picture is said in a line of ours."""
    warnings.filterwarnings("ignore", module=r"PIL\.")


def read_rgb(path: Path) -> np.ndarray:
    """A photo as uint8 H x W x 3 sRGB, turned upright as its EXIF data say; any colour mode.

    Raises:
        UserError: parts of it are transparent.
    """
    image = _open(path)
    if not image.mode.startswith("I"):
        _require_opaque(path, image)
    return convert_photo(image)


def read_photo(path: Path) -> np.ndarray:
    """A photo as `read_rgb` gives it, but for transparent parts: they become white."""
    return convert_photo(_open(path))


def convert_photo(image: Image.Image) -> np.ndarray:
    """An opened picture in any colour mode as uint8 H x W x 3 sRGB, upright, on white where parts are transparent."""
    image = turn_upright(image)
    if image.mode.startswith("I"):  # 16-bit grey
        return np.repeat((np.asarray(image).clip(0, 65535) >> 8).astype(np.uint8)[..., None], 3, axis=2)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return np.array(image.convert("RGB"))


def turn_upright(image: Image.Image) -> Image.Image:
    """The picture as its EXIF data say that it is to be seen; as it is where they say nothing that can be read."""
    turn = TURNS.get(_read_orientation(image))
    if turn is None:
        return image
    turned = image.transpose(turn)
    for name in ORIENTED_BY:  # or it would be turned again
        turned.info.pop(name, None)
    return turned


def _read_orientation(image: Image.Image) -> int:
    """1 to 8. EXIF data come with the file and may be anything, on which Pillow ends in errors of all kinds."""
    try:
        value = image.getexif().get(ORIENTATION_TAG, 1)
    except Exception:
        return 1
    return value if isinstance(value, int) else 1


def read_rgba(path: Path) -> np.ndarray:
    """A cut-out as uint8 H x W x 4 with straight alpha.

    Raises:
        UserError: it has no alpha channel, or one that hides or shows everything.
    """
    image = _open(path)
    if not (image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info):
        raise UserError(f"{path}: a cut-out without alpha (mode {image.mode}); save it as PNG with a transparent background")
    rgba = np.array(image.convert("RGBA"))
    alpha = rgba[..., 3]
    if not (alpha >= MASK_THRESHOLD).any():
        raise UserError(f"{path}: a cut-out whose alpha is under {MASK_THRESHOLD} of 255 everywhere shows nothing; remove it")
    if (alpha == 255).all():
        raise UserError(f"{path}: a cut-out that is opaque everywhere has no outline; remove its background or the file")
    return rgba


def read_grey(path: Path) -> np.ndarray:
    """A mask or depth image as uint8 or uint16 H x W.

    Raises:
        UserError: it has colours (three channels that differ by more than JPEG noise), or transparent parts.
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
        raise UserError(f"{path}: a colour picture where a grey one is expected; are folders swapped?")
    return rgb[..., 0].astype(np.uint8)


def read_depth(path: Path, scale: DepthParams) -> np.ndarray:
    """A depth image as `read_grey` gives it.

    Raises:
        UserError: also if it is 0 everywhere, and that does not stand for unknown.
    """
    raw = read_grey(path)
    if scale.raw_unknown != 0 and not raw.any():
        raise UserError(f"{path}: a depth map that is 0 everywhere; remove the sample, or set download.depth.raw_unknown to 0")
    return raw


def measure_picture(path: Path) -> tuple[int, int] | None:
    """Width and height of a picture that is turned upright, by its header alone; None where the pixels must be decoded."""
    try:
        if find_fault_of_file(path) is not None:
            return None
        with Image.open(path, formats=FORMATS) as image:
            width, height = image.size
            is_turned = "exif" in image.info and _read_orientation(image) in ON_ITS_SIDE
    except PermissionError:
        raise
    except Exception:  # of a file from anywhere: see _open
        return None
    if width * height > MAX_PIXELS or min(width, height) < SIDE_MIN_PX:
        return None
    return (height, width) if is_turned else (width, height)


def resize_photo(image: np.ndarray, width: int, height: int) -> np.ndarray:
    """Resize uint8 H x W x 3 linearly, with antialiasing when shrinking."""
    if image.shape[:2] == (height, width):
        return image
    return np.array(Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR))


def decode_depth(raw: np.ndarray, scale: DepthParams) -> tuple[np.ndarray, np.ndarray]:
    """Stored values as (depth float32 0..1 of scale.max, larger is farther, 0 where unknown; valid bool)."""
    valid = np.ones(raw.shape, bool) if scale.raw_unknown is None else raw != scale.raw_unknown
    depth = np.minimum(raw.astype(np.float32) / np.float32(scale.raw_max), np.float32(1))
    if scale.polarity == "near_is_large":
        depth = 1 - depth
    return np.where(valid, depth, np.float32(0)), valid


def make_depth_table(scale: DepthParams) -> np.ndarray:
    """What `decode_depth` makes of each value of a byte: float32 256."""
    return decode_depth(np.arange(256, dtype=np.uint8), scale)[0]


def _open(path: Path) -> Image.Image:
    try:
        fault = find_fault_of_file(path)
        if fault is not None:
            raise UserError(f"{path}: {fault}")
        image = Image.open(path, formats=FORMATS)
        if image.width * image.height > MAX_PIXELS:
            raise UserError(f"{path}: {image.width} x {image.height} px is more than {MAX_PIXELS:,} pixels; shrink it")
        if min(image.size) < SIDE_MIN_PX:
            raise UserError(f"{path}: {image.width} x {image.height} px is no picture; replace or remove it")
        image.load()
        return turn_upright(image)
    except (UserError, PermissionError, MemoryError):
        raise
    except FileNotFoundError as error:  # it went away just now
        raise UserError(f"{path}: no such file") from error
    except UnidentifiedImageError as error:
        raise UserError(
            f"{path}: is not a picture that can be read ({_count_bytes(path)} bytes); replace or remove it"
        ) from error
    except Image.DecompressionBombError as error:
        raise UserError(f"{path}: {error}; shrink it") from error
    except Exception as error:  # damage ends in errors of many kinds within Pillow: struct, zlib, KeyError, IndexError
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise UserError(f"{path}: damaged picture ({reason}); replace or remove it") from error


def _count_bytes(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _require_opaque(path: Path, image: Image.Image) -> None:
    """An alpha channel that hides nothing is left alone; one that does has colours beneath it that nobody was to see."""
    if image.has_transparency_data and image.convert("RGBA").getchannel("A").getextrema()[0] < 255:
        raise UserError(f"{path}: parts of it are transparent; flatten it onto a background, or save it without alpha")
