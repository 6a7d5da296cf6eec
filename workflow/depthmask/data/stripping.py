"""Picture files without their metadata: for those in which metadata keep Pillow from reading the pixels.

A comment of megabytes, an ICC profile with a wrong checksum or a rational -1/0 in the EXIF data are no reason to refuse a photo
that every viewer shows. Each function copies what the pixels need, and drops the rest, without trusting any length in the file.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Callable, Iterator

from depthmask.data.metadata import UPRIGHT, decode_raw_profile, find_orientation, find_orientation_in_xmp

PNG_START = b"\x89PNG\r\n\x1a\n"
PNG_XMP = b"XML:com.adobe.xmp\0"
TEXT_BYTES_MAX = 16 * 2**20  # of a compressed text that may hold an orientation
XMP_START = b"http://ns.adobe.com/xap/1.0/\0"
JFIF = b"\xff\xe0\x00\x10JFIF\0\x01\x01\0\0\x01\0\x01\0\0"  # says that colours are YCbCr
ADOBE = 0xEE  # the segment that says otherwise
WEBP_KEPT = (b"VP8 ", b"VP8L", b"ALPH", b"ANIM", b"ANMF")
WEBP_METADATA_FLAGS = 0x20 | 0x08 | 0x04  # ICC, EXIF, XMP
TIFF_KEPT = (254, 256, 257, 258, 259, 262, 266, 273, 274, 277, 278, 279, 284, 292, 293, 317, 320, 322, 323, 324, 325)
TIFF_KEPT += (338, 339, 347, 530, 532)
AVIF_EXIF = re.compile(rb"(infe[\x02\x03].{3}(?:..|....)..)Exif", re.DOTALL)


def strip_metadata(data: bytes) -> tuple[bytes, int] | None:
    """The file without metadata, and the orientation (1 to 8) that they held; None if its format is not known here."""
    for start, strip in STRIPPED.items():
        if data.startswith(start):
            return strip(data)
    return _strip_avif(data) if data[4:8] == b"ftyp" else None


def _choose(exif: bytes | None, xmp: bytes | None) -> int:
    found = find_orientation(exif) if exif else None
    return found or (find_orientation_in_xmp(xmp) if xmp else None) or UPRIGHT


def _strip_png(data: bytes) -> tuple[bytes, int]:
    kept, exif, xmp = [PNG_START], None, None
    for kind, body, whole in _iterate_png(data):
        if kind[:1].isupper() or kind == b"tRNS":
            kept.append(whole)
        elif kind == b"eXIf":
            exif = body
        elif kind == b"zTXt" and exif is None and body.startswith(b"Raw profile type exif\0"):
            exif = decode_raw_profile(_inflate(body.partition(b"\0")[2][1:]).decode("latin-1"))
        elif kind == b"iTXt" and body.startswith(PNG_XMP):
            flags, text = body[len(PNG_XMP) :][:2], body[len(PNG_XMP) + 2 :].split(b"\0", 2)[-1]  # behind two languages
            xmp = _inflate(text) if flags == b"\1\0" else text
    return b"".join(kept), _choose(exif, xmp)


def _iterate_png(data: bytes) -> Iterator[tuple[bytes, bytes, bytes]]:
    """(kind, content, all bytes) of each chunk up to the end or the first that is cut off, which is the last."""
    place = len(PNG_START)
    while place + 8 <= len(data):
        num_bytes, kind = struct.unpack_from(">I4s", data, place)
        yield kind, data[place + 8 : place + 8 + num_bytes], data[place : place + 12 + num_bytes]
        place += 12 + num_bytes
        if kind == b"IEND":
            return


def _inflate(data: bytes) -> bytes:
    try:
        return zlib.decompressobj().decompress(data, TEXT_BYTES_MAX)
    except zlib.error:
        return b""


def _strip_jpeg(data: bytes) -> tuple[bytes, int]:
    kept, place, exif, xmp = [data[:2]], 2, None, None
    while True:
        place = data.find(b"\xff", place)
        if place < 0 or place + 4 > len(data):
            return b"".join(kept), _choose(exif, xmp)
        marker = data[place + 1]
        if marker in (0x00, 0xFF, 0x01) or 0xD0 <= marker <= 0xD8:  # filling, or a marker without content
            place += 1
            continue
        if marker in (0xD9, 0xDA):  # end, or the first scan
            return b"".join([*kept, data[place:]]), _choose(exif, xmp)
        (num_bytes,) = struct.unpack_from(">H", data, place + 2)
        segment = data[place : place + 2 + num_bytes]
        body = segment[4:]
        if marker == 0xE1 and body.startswith(b"Exif\0"):
            exif = exif + body[6:] if exif else body
        elif marker == 0xE1 and body.startswith(XMP_START):
            xmp = body
        elif marker == 0xE0 and body.startswith(b"JFIF") and JFIF not in kept:
            kept.append(JFIF)
        elif (not 0xE0 <= marker <= 0xEF and marker != 0xFE) or (marker == ADOBE and body[:5] == b"Adobe" and len(body) >= 12):
            kept.append(segment)
        place += max(2 + num_bytes, 2)


def _strip_webp(data: bytes) -> tuple[bytes, int] | None:
    if data[8:12] != b"WEBP":
        return None
    kept, place, exif, xmp = [], 12, None, None
    while place + 8 <= len(data):
        kind, num_bytes = struct.unpack_from("<4sI", data, place)
        whole = data[place : place + 8 + num_bytes + num_bytes % 2]
        if kind == b"VP8X" and len(whole) >= 18:
            kept.append(whole[:8] + bytes([whole[8] & ~WEBP_METADATA_FLAGS & 0xFF]) + whole[9:])
        elif kind in WEBP_KEPT:
            kept.append(whole)
        elif kind == b"EXIF":
            exif = whole[8 : 8 + num_bytes]
        elif kind == b"XMP ":
            xmp = whole[8 : 8 + num_bytes]
        place += 8 + num_bytes + num_bytes % 2
    content = b"WEBP" + b"".join(kept)
    return b"RIFF" + struct.pack("<I", len(content)) + content, _choose(exif, xmp)


def _strip_tiff(data: bytes) -> tuple[bytes, int] | None:
    """The same file, but with a first directory of TIFF_KEPT alone and no second one: everything else stays where it is."""
    order = "<" if data[:2] == b"II" else ">"
    is_big = data[2:4] in (b"+\0", b"\0+")
    offset, count, size = ("Q", "Q", 20) if is_big else ("I", "H", 12)
    try:
        (start,) = struct.unpack_from(order + offset, data, 8 if is_big else 4)
        (num_entries,) = struct.unpack_from(order + count, data, start)
        first = start + struct.calcsize(order + count)
        entries = [data[place : place + size] for place in range(first, min(first + size * num_entries, len(data)), size)]
        kept = [one for one in entries if len(one) == size and struct.unpack_from(f"{order}H", one)[0] in TIFF_KEPT]
        directory = struct.pack(order + count, len(kept)) + b"".join(kept) + struct.pack(order + offset, 0)
    except struct.error:  # cut off
        return None
    return data[:start] + directory + data[start + len(directory) :], UPRIGHT  # Pillow turns it, by the entry that was kept


def _strip_avif(data: bytes) -> tuple[bytes, int]:
    """The same file, but its EXIF item has a type that no reader knows; Pillow finds the orientation elsewhere."""
    return AVIF_EXIF.sub(rb"\1free", data), UPRIGHT


STRIPPED: dict[bytes, Callable[[bytes], tuple[bytes, int] | None]] = {
    PNG_START: _strip_png,
    b"\xff\xd8": _strip_jpeg,
    b"RIFF": _strip_webp,
    **dict.fromkeys((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"), _strip_tiff),
}
