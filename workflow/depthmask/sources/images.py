"""Reading pictures: every way in which a file can be wrong ends in one line that names it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from depthmask.errors import UserError
from depthmask.params import DepthParams

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
MAX_PIXELS = 100_000_000  # a larger header is taken for a decompression bomb
MASK_THRESHOLD = 128  # of 255


def read_rgb(path: Path) -> np.ndarray:
    """A photo as uint8 H x W x 3 sRGB, turned upright as its EXIF data say; any colour mode."""
    image = _open(path)
    if image.mode == "I;16":
        return np.repeat((np.asarray(image) >> 8).astype(np.uint8)[..., None], 3, axis=2)
    return np.array(image.convert("RGB"))


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
        UserError: it has colours: three channels that differ by more than JPEG noise.
    """
    image = _open(path)
    if image.mode in ("I;16", "I;16B", "I"):
        values = np.asarray(image)
        if values.min() < 0 or values.max() > 65535:
            raise UserError(f"{path}: values outside 0..65535; save it as an 8- or 16-bit grey image")
        return values.astype(np.uint16)
    if image.mode in ("L", "1"):
        return np.array(image.convert("L"))
    if image.mode == "F":
        raise UserError(f"{path}: floating-point pixels; save it as an 8- or 16-bit grey image")
    rgb = np.array(image.convert("RGB")).astype(np.int16)
    if np.ptp(rgb, axis=2).max() > 8:
        raise UserError(f"{path}: a colour picture where a grey one is expected; are folders swapped?")
    return rgb[..., 0].astype(np.uint8)


def decode_depth(raw: np.ndarray, scale: DepthParams) -> tuple[np.ndarray, np.ndarray]:
    """Stored values as (depth float32 0..1 of scale.max, larger is farther, 0 where unknown; valid bool)."""
    valid = np.ones(raw.shape, bool) if scale.raw_unknown is None else raw != scale.raw_unknown
    depth = np.minimum(raw.astype(np.float32) / np.float32(scale.raw_max), np.float32(1))
    if scale.polarity == "near_is_large":
        depth = 1 - depth
    return np.where(valid, depth, np.float32(0)), valid


def _open(path: Path) -> Image.Image:
    try:
        image = Image.open(path)
        if image.width * image.height > MAX_PIXELS:
            raise UserError(f"{path}: {image.width} x {image.height} px is more than {MAX_PIXELS:,} pixels; shrink it")
        image.load()
        return ImageOps.exif_transpose(image)
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file") from error
    except UnidentifiedImageError as error:
        raise UserError(
            f"{path}: is not a picture that can be read ({path.stat().st_size} bytes); replace or remove it"
        ) from error
    except Image.DecompressionBombError as error:
        raise UserError(f"{path}: {error}; shrink it") from error
    except PermissionError:
        raise
    except (OSError, SyntaxError, ValueError) as error:
        raise UserError(f"{path}: damaged picture ({error}); replace or remove it") from error
