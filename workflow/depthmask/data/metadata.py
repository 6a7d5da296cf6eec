"""The orientation of a picture, from untrusted metadata: whatever is in them, the pixels are read.

Metadata are parsed only as far as the orientation needs it, and never by Pillow, whose reader fails at entries that
are of no interest here (a resolution of -1/0) and has then read half of them. `stripping` is for files in which metadata
keep Pillow from reaching the pixels at all.
"""

from __future__ import annotations

import re
import struct
from pathlib import Path

from PIL import Image

ORIENTATION_TAG, UPRIGHT = 0x0112, 1
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
ON_ITS_SIDE = range(5, 9)  # a quarter turn, with or without a flip
EXIF_KEY, RAW_EXIF_KEY, XMP_KEYS = "exif", "Raw profile type exif", ("XML:com.adobe.xmp", "xmp")  # of Image.info
EXIF_START = b"Exif\0"  # and a byte that should be 0
BYTE_ORDERS = {b"II*\0": "<", b"MM\0*": ">"}
INTEGERS = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i"}  # TIFF's types; a SHORT is right, but others are found
XMP_ORIENTATION = re.compile(rb"tiff:Orientation\s*(?:=\s*[\"']|>)\s*([1-8])\b")
TURNED_BY_PILLOW = ("TIFF",)  # when its pixels are loaded
LATE_BYTES = 16384  # at the end of a PNG, where metadata may follow the pixels
# names that a PNG's text may have and that Pillow then takes for its own: the pixels would come out wrong
TAKEN_FOR_PIXELS = ("transparency", "interlace")


def turn_upright(image: Image.Image, orientation: int | None = None) -> Image.Image:
    """Turn the image upright according to its EXIF or XMP data; unchanged if they are missing or unreadable.

    orientation: 2 to 8 if it was read elsewhere.
    """
    turn = TURNS.get(orientation if orientation in TURNS else read_orientation(image))
    if turn is None:
        return image
    turned = image.transpose(turn)
    turned.format = image.format
    for name in (EXIF_KEY, RAW_EXIF_KEY, *XMP_KEYS):  # or it would be turned again
        turned.info.pop(name, None)
    return turned


def read_orientation(image: Image.Image) -> int:
    """The orientation of an opened image, 1 to 8; 1 (upright) without one. EXIF counts before XMP."""
    if image.format in TURNED_BY_PILLOW:
        return UPRIGHT
    exif, raw = image.info.get(EXIF_KEY), image.info.get(RAW_EXIF_KEY)
    if not isinstance(exif, bytes) and isinstance(raw, str):
        exif = decode_raw_profile(raw)
    found = find_orientation(exif) if isinstance(exif, bytes) else None
    return found or _find_in_xmp_of(image) or UPRIGHT


def _find_in_xmp_of(image: Image.Image) -> int | None:
    for key in XMP_KEYS:
        xmp = image.info.get(key)
        if isinstance(xmp, str | bytes):
            found = find_orientation_in_xmp(xmp.encode("utf-8", "replace") if isinstance(xmp, str) else xmp)
            if found is not None:
                return found
    return None


def read_orientation_ahead(path: Path, image: Image.Image) -> int:
    """The orientation of a file of which Pillow has read only what comes before the pixels, as it will be with them."""
    if image.format in TURNED_BY_PILLOW:
        return (
            UPRIGHT if ORIENTATION_TAG in image.tag_v2 else _find_in_xmp_of(image) or UPRIGHT
        )  # Pillow has turned the size by a tag
    found = read_orientation(image)
    if image.format == "PNG":
        with path.open("rb") as file:
            file.seek(max(0, file.seek(0, 2) - LATE_BYTES))
            end = file.read()
        _, chunk, exif = end.rpartition(b"eXIf")
        late = find_orientation(exif) if chunk else None
        return late or (find_orientation_in_xmp(end) if found == UPRIGHT else None) or found
    return found


def find_orientation(exif: bytes) -> int | None:
    """The orientation in the first directory of EXIF data, 1 to 8; None without one, or if the data are something else."""
    while exif.startswith(EXIF_START):
        exif = exif[len(EXIF_START) + 1 :]
    order = BYTE_ORDERS.get(exif[:4])
    if order is None:
        return None
    try:
        (start,) = struct.unpack_from(f"{order}I", exif, 4)
        (num_entries,) = struct.unpack_from(f"{order}H", exif, start)
        for place in range(start + 2, start + 2 + 12 * num_entries, 12):
            tag, kind, number = struct.unpack_from(f"{order}HHI", exif, place)
            if tag == ORIENTATION_TAG and kind in INTEGERS and number == 1:
                (value,) = struct.unpack_from(order + INTEGERS[kind], exif, place + 8)
                if value in range(1, 9):
                    return value
    except struct.error:  # cut off
        pass
    return None


def find_orientation_in_xmp(xmp: bytes) -> int | None:
    """The orientation in an XMP packet, 1 to 8; None without one. The packet need not be valid XML."""
    found = XMP_ORIENTATION.search(xmp)
    return int(found[1]) if found else None


def decode_raw_profile(text: str) -> bytes:
    """The bytes of a profile that ImageMagick wrote as hexadecimal text into a PNG; empty if it is something else."""
    try:
        return bytes.fromhex("".join(text.split("\n")[3:]))
    except ValueError:
        return b""


def is_misled(image: Image.Image) -> bool:
    """Whether text in the file has a name that Pillow takes for a property of the pixels."""
    return any(isinstance(image.info.get(name), str) for name in TAKEN_FOR_PIXELS)
