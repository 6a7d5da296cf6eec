"""Reads masks: grey alpha, or class numbers and colours by the rule that `download.mask` declares."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from depthmask.base.errors import UserError
from depthmask.base.file_errors import name_errors
from depthmask.data.formats import ARRAY_SUFFIXES
from depthmask.data.images import JPEG_TINT, convert_values, measure_tint, open_picture, read_deep, read_values, require_opaque
from depthmask.params import MaskParams

COLOURS_MAX = 256  # a picture with more is a photo, not one of classes
SHOWN = 10


def read_mask(path: Path, rule: MaskParams | None) -> np.ndarray:
    """Read a mask as alpha, float32 H x W, 0..1. rule: None for grey alpha of 8 or 16 bits, or an array of 0..1.

    Raises:
        UserError: it is damaged or partly transparent, or the rule is missing or does not fit: the message says what to set.
    """
    with name_errors(path, "image"):
        if rule is None or not rule.by_value:
            return _read_alpha(path, rule)
        values = _read_colours(path) if rule.by_colour else read_numbers(path, rule.list_values())
        if rule.foreground is not None:
            return _find(values, rule.foreground).astype(np.float32)
        # void is neither; no source leaves single pixels of a mask out
        return (~_find(values, [*rule.background, *rule.ignore])).astype(np.float32)


def _read_alpha(path: Path, rule: MaskParams | None) -> np.ndarray:
    if path.suffix.lower() in ARRAY_SUFFIXES:
        values = read_values(path, "mask")
    else:
        image = open_picture(path)
        values = _read_transparency(path, image)
        if values is None:
            _require_grey(path, image)
            values = convert_values(path, image)
    alpha = _scale(path, values)
    if rule is not None and rule.invert:
        alpha = 1 - alpha
    if rule is not None and rule.ignore:
        alpha[_find(values, rule.ignore)] = 0
    return alpha


def _read_transparency(path: Path, image: Image.Image) -> np.ndarray | None:
    """The alpha channel of a mask that was saved as transparency, uint8 H x W; None if the mask is in the colours.

    It is the mask if everything visible has one grey value, as in white on transparent ground.
    """
    if image.mode == "P" or not image.has_transparency_data:  # class numbers, perhaps
        return None
    rgba = np.array(image.convert("RGBA"))
    alpha = rgba[..., 3]
    if alpha.min() == 255:
        return None
    if not alpha.any():  # an empty mask, unless the colours say something else
        return alpha if (rgba == rgba[0, 0]).all() else None
    visible = rgba[alpha > 0]
    is_grey = (visible[:, :3] == visible[:, :1]).all()
    if is_grey and ((visible[:, 0] == visible[0, 0]).all() or (visible[:, 0] == visible[:, 3]).all()):  # or premultiplied
        return alpha
    if not is_grey and _count_colours(image) is not None:  # classes
        return None
    raise UserError(
        f"{path}: partly transparent, and what is visible has several {'grey values' if is_grey else 'colours'}, as in a cut-out;"
        " the mask may be its alpha or what is visible: save the right one alone, as a grey image"
    )


def _scale(path: Path, values: np.ndarray) -> np.ndarray:
    """Stored alpha as float32, 0..1."""
    if values.dtype.kind == "f":
        if not np.isfinite(values).all():
            raise UserError(f"{path}: a mask with NaN or infinity; save alpha of 0..1, or an 8-bit grey image")
        if not (values.min() >= 0 and values.max() <= 1):
            raise UserError(
                f"{path}: floating-point mask of {values.min():.4g} to {values.max():.4g}, outside 0..1; save alpha of 0..1, or"
                " an 8-bit grey image"
            )
        return values
    if values.dtype.kind == "b":
        return values.astype(np.float32)
    if values.min() < 0 or values.max() > 65535:
        raise UserError(f"{path}: values outside 0..65535; save it as an 8- or 16-bit grey image")
    is_wide = values.dtype.itemsize > 1 and (values.dtype == np.uint16 or values.max() > 255)
    return values.astype(np.float32) / (65535 if is_wide else 255)


def _require_grey(path: Path, image: Image.Image) -> None:
    """Refuse class numbers and class colours, naming those found and the key that says what they mean."""
    if image.mode == "P":
        if measure_tint(np.array(image.convert("RGB"))) > JPEG_TINT:
            numbers = np.unique(image)
            others = [number for number in numbers.tolist() if number not in (0, 255)]
            example = f"{{foreground: {others[:SHOWN]}}}" if others else "{background: [0]}"
            rest = "{background: [0], ignore: [255]}" if 255 in numbers else "{background: [0]}"
            raise UserError(
                f"{path}: a palette image with the class numbers {_list(numbers.tolist())}, where grey alpha is expected; say"
                f" which are foreground: download.mask: {example}, or {rest} for all others"
            )
    elif image.format == "JPEG" and image.mode != "L" and measure_tint(np.array(image.convert("RGB"))) > JPEG_TINT:
        raise UserError(
            f"{path}: a colour JPEG where grey alpha is expected; if its colours are classes, export the masks as PNG and list"
            " the colours in download.mask; if it is a photo, are folders swapped?"
        )
    elif image.mode in ("RGB", "RGBA", "RGBX"):
        colours = _count_colours(image)
        if colours is not None and measure_tint(colours) > JPEG_TINT:
            listed = colours.tolist()
            example = next(colour for colour in listed if any(colour))
            raise UserError(
                f"{path}: a colour image with {len(listed)} colours ({_list(listed)}), where grey alpha is expected; if they are"
                f" classes, say which are foreground: download.mask: {{foreground: [{example}]}}"
            )


def _count_colours(image: Image.Image) -> np.ndarray | None:
    """The distinct colours, N x 3, in order; None if there are more than COLOURS_MAX."""
    found = image.convert("RGB").getcolors(COLOURS_MAX)
    return None if found is None else np.array(sorted(colour for _, colour in found), np.uint8)


def read_numbers(path: Path, wanted: Sequence[int | list[int]] = ()) -> np.ndarray:
    """The class numbers of a mask, H x W: palette indices, grey values of 8 or 16 bits, or those of an array.

    wanted: those that are asked for; white in a black and white image of one bit is 255 if that is among them, else 1.

    Raises:
        UserError: it is a colour image, a JPEG, whose values are not exact, or holds fractions.
    """
    if path.suffix.lower() in ARRAY_SUFFIXES:
        values = read_values(path, "mask")
    else:
        image = open_picture(path)
        _require_exact(path, image)
        if image.mode in ("P", "PA"):
            return np.array(image if image.mode == "P" else image.getchannel(0))
        if image.mode == "1":
            return np.array(image).astype(np.uint8) * np.uint8(255 if 255 in wanted and 1 not in wanted else 1)
        colours = _count_colours(image) if image.mode in ("RGB", "RGBA") and read_deep(path, image) is None else None
        if colours is not None and measure_tint(colours):
            raise UserError(
                f"{path}: a colour image, but download.mask lists numbers; list its colours instead: {_list(colours.tolist())}"
            )
        values = convert_values(path, image)
    if values.dtype.kind == "f":
        if not (values == np.floor(values)).all():
            raise UserError(f"{path}: holds fractions, but download.mask lists class numbers; save it as whole numbers")
        return values.astype(np.int64)
    return values


def _read_colours(path: Path) -> np.ndarray:
    """The colours of a mask, uint8 H x W x 3."""
    if path.suffix.lower() in ARRAY_SUFFIXES:
        raise UserError(f"{path}: an array of numbers, but download.mask lists colours; list its class numbers")
    image = open_picture(path)
    _require_exact(path, image)
    if image.mode.startswith(("I", "F")):
        raise UserError(f"{path}: a grey image of more than 8 bits, but download.mask lists colours; list its class numbers")
    require_opaque(path, image)
    return np.array(image.convert("RGB"))


def _require_exact(path: Path, image: Image.Image) -> None:
    if image.format == "JPEG":
        raise UserError(
            f"{path}: JPEG does not keep the exact values that download.mask lists; export the masks as PNG, or, if they are"
            " black and white, set download.mask: null"
        )


def _find(values: np.ndarray, wanted: Sequence[int | list[int]]) -> np.ndarray:
    """Where an array H x W, or H x W x 3 of colours, has one of the wanted values."""
    if values.ndim == 2:
        return np.isin(values, wanted)
    codes = values.astype(np.int32) @ np.array([1, 256, 65536], np.int32)
    return np.isin(codes, [red + 256 * green + 65536 * blue for red, green, blue in wanted])


def _list(values: Sequence[object]) -> str:
    return ", ".join(map(str, values[:SHOWN])) + (f" and {len(values) - SHOWN} more" if len(values) > SHOWN else "")
