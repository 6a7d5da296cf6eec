"""Reads a picture as the annotation sees it, and the numbers in a label picture."""

from __future__ import annotations

import base64
import binascii
import io
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from depthmask.base.errors import UserError
from depthmask.base.file_errors import name_errors
from depthmask.cutouts.labelme import read_file
from depthmask.cutouts.objects import Picture, View
from depthmask.data.arrays import MAX_PIXELS
from depthmask.data.formats import OPENED
from depthmask.data.images import SIDE_MIN_PX, convert_photo, measure_picture, open_photo, open_picture
from depthmask.data.metadata import TURNS, UPRIGHT, read_orientation, read_orientation_ahead, turn_upright


class SizeError(UserError):
    """A picture has another size than its annotation says."""


class Canvas(NamedTuple):
    """What the annotation is drawn on.

    turn: to be applied to masks so that they fit the upright image; None: they do. stored_turn: the same for what fits the
    picture as it is stored.
    """

    view: View
    turn: Image.Transpose | None
    stored_turn: Image.Transpose | None = None


class Values(NamedTuple):
    """A label picture. numbers: int32 H x W; is_colour: they are red * 65536 + green * 256 + blue; mode: Pillow's name for it."""

    numbers: np.ndarray
    is_colour: bool
    mode: str


def open_canvas(picture: Picture) -> Canvas:
    """Read a picture. Outlines are taken to refer to it upright, unless only the stored size is the declared one.

    Masks and label pictures declare it by their own size.

    Raises:
        UserError: it cannot be read; SizeError: neither size is the declared one.
    """
    upright, stored_size, orientation = _open(picture)
    alpha = np.array(upright.convert("RGBA").getchannel("A")) if upright.has_transparency_data else None
    declared = picture.declared
    if declared is None and stored_size != upright.size and picture.inputs:
        declared = measure_picture(picture.inputs[0]) if picture.inputs[0].is_file() else None
    if declared == stored_size and declared != upright.size:
        size, turn = stored_size, TURNS.get(orientation)
    elif picture.declared in (None, upright.size):
        size, turn = upright.size, None
    else:
        (width, height), (has_width, has_height) = picture.declared, upright.size
        raise SizeError(f"{has_width} x {has_height} px, {width} x {height} in the annotation")
    # straight colours of transparent pictures: they are blended with what is behind them by their alpha alone
    image = np.array(upright.convert("RGBA").convert("RGB")) if alpha is not None else convert_photo(upright)
    return Canvas(View(image, *size, alpha), turn, TURNS.get(orientation))


def turn_mask(alpha: np.ndarray, turn: Image.Transpose | None) -> np.ndarray:
    """A mask drawn on the stored picture, made to fit the upright one."""
    return alpha if turn is None else np.array(Image.fromarray(alpha).transpose(turn))


def read_values(path: Path) -> Values:
    """Read a label picture: palette indices, grey levels of 8 or 16 bits, or colours. An alpha channel is ignored.

    Raises:
        UserError: it cannot be read, or has fractions.
    """
    image = _open_upright(path)
    if image.mode in ("P", "L", "1"):
        numbers = np.array(image if image.mode == "P" else image.convert("L"))
        return Values(numbers.astype(np.int32), False, image.mode)
    if image.mode.startswith("I"):
        return Values(np.array(image).astype(np.int32), False, "I")
    if image.mode == "F":
        raise UserError(f"{path}: floating-point pixels; save it as PNG of 8 or 16 bits")
    return Values(pack_colours(np.array(image.convert("RGB"))), True, "RGB")


def read_values_as_colours(path: Path) -> Values:
    """Read a label picture by its colours, also if it has a palette."""
    return Values(pack_colours(np.array(_open_upright(path).convert("RGB"))), True, "RGB")


def read_opacity(path: Path) -> np.ndarray | None:
    """The alpha channel of a picture as uint8 H x W; None without one, or if it is opaque everywhere.

    Raises:
        UserError: it cannot be read, or has black and white too, so that either could be the mask.
    """
    image = _open_upright(path)
    if image.mode not in ("RGBA", "LA"):
        return None
    grey, alpha = (np.array(image.convert("LA").getchannel(channel)) for channel in ("L", "A"))
    if (alpha == 255).all():
        return None
    shown = np.unique(grey[alpha > 0])
    if len(shown) == 2 and shown[0] == 0 and shown[1] == 255:
        raise UserError(f"{path}: has black and white, and transparency too; save it without alpha, or white alone")
    return alpha


def pack_colours(rgb: np.ndarray) -> np.ndarray:
    """One number for each colour: int32 H x W of uint8 H x W x 3."""
    red, green, blue = np.moveaxis(rgb.astype(np.int32), 2, 0)
    return red << 16 | green << 8 | blue


def _open(picture: Picture) -> tuple[Image.Image, tuple[int, int], int]:
    """The upright image, width and height as they are stored, and the orientation.

    Raises:
        UserError: it cannot be read.
    """
    if not picture.is_embedded:
        with name_errors(picture.path, "image"):
            upright = open_photo(picture.path)
        return upright, *_read_stored(picture.path, upright)
    place = f"{picture.path}: imageData"
    with name_errors(place, "image"):
        image = Image.open(io.BytesIO(_extract(picture.path)), formats=OPENED)
        if image.width * image.height > MAX_PIXELS or min(image.size) < SIDE_MIN_PX:
            raise UserError(f"{place}: {image.width} x {image.height} px; allowed: {SIDE_MIN_PX} px to {MAX_PIXELS:,} pixels")
        image.load()
        return turn_upright(image), image.size, read_orientation(image)


def _open_upright(path: Path) -> Image.Image:
    with name_errors(path, "image"):
        return open_picture(path)


def _read_stored(path: Path, upright: Image.Image) -> tuple[tuple[int, int], int]:
    """Width and height as stored, and the orientation; those of the upright image if the header alone does not say."""
    try:
        with Image.open(path, formats=OPENED) as header:
            return header.size, read_orientation_ahead(path, header)
    except Exception:  # untrusted metadata, which open_picture has left out; HEIF, which is upright when it is opened
        return upright.size, UPRIGHT


def _extract(path: Path) -> bytes:
    """The picture inside a LabelMe file."""
    try:
        return base64.b64decode(read_file(path)["imageData"], validate=True)
    except (binascii.Error, ValueError) as error:
        raise UserError(f"{path}: imageData is not base64") from error
