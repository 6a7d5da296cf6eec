"""The file formats that are read: one table for sources, predictions, photos and checks.

Files in a folder are found by suffix, in upper or lower case, and recognised by content, whatever their suffix. Of animations and
of files with several pages, the first image is read.
"""

from __future__ import annotations

import re
from codecs import BOM_UTF8
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from depthmask.base.errors import UserError, format_install_command


class Format(NamedTuple):
    """A format of pictures. name: Pillow's; has_alpha: whether a cut-out can be stored in it."""

    name: str
    suffixes: tuple[str, ...]
    has_alpha: bool = True


PICTURES = (
    Format("JPEG", (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"), has_alpha=False),
    Format("PNG", (".png", ".apng")),
    Format("WEBP", (".webp",)),
    Format("TIFF", (".tif", ".tiff")),
    Format("BMP", (".bmp",)),
    Format("GIF", (".gif",)),
    Format("PPM", (".ppm", ".pgm", ".pbm", ".pnm"), has_alpha=False),
    Format("TGA", (".tga",)),
    Format("JPEG2000", (".jp2", ".j2k", ".jpf", ".jpx")),
    Format("AVIF", (".avif",)),
    Format("HEIF", (".heic", ".heif", ".hif")),
)
JPEG_SUFFIXES = PICTURES[0].suffixes
HEIF, AVIF = PICTURES[-1], PICTURES[-2]
ARRAY_SUFFIXES = (".npy", ".npz", ".exr", ".pfm")  # numbers without a picture: depth, and masks of the first two
# pictures that are not read, but that nobody leaves in a folder by chance
OTHER_PICTURES = (".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".rw2", ".raf", ".jxl", ".psd", ".xcf", ".svg", ".eps", ".pdf")
OTHER_PICTURES += (".hdr",)
FLOAT_SUFFIXES = (*ARRAY_SUFFIXES, ".tif", ".tiff")  # may hold floating-point values
AVIF_BRANDS = (b"avif", b"avis")
HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")

GET_HEIF = format_install_command("heif")
GET_AVIF = "pip install --upgrade pillow"


def find_lacking() -> dict[str, str]:
    """The suffixes whose pictures cannot be read in this environment, each with the command that changes that."""
    lacking = {} if find_spec("pillow_heif") else dict.fromkeys(HEIF.suffixes, GET_HEIF)
    return lacking if find_spec("PIL.AvifImagePlugin") else lacking | dict.fromkeys(AVIF.suffixes, GET_AVIF)


LACKING = find_lacking()
SUFFIXES = tuple(suffix for one in PICTURES for suffix in one.suffixes if suffix not in LACKING)
CUTOUT_SUFFIXES = tuple(suffix for one in PICTURES if one.has_alpha for suffix in one.suffixes if suffix in SUFFIXES)
MASK_SUFFIXES = (*SUFFIXES, ".npy", ".npz")
# without what keeps 8 bits at most
DEPTH_SUFFIXES = (*(s for s in SUFFIXES if s not in (*HEIF.suffixes, *AVIF.suffixes)), *ARRAY_SUFFIXES)
SUFFIXES_OF = {"image": SUFFIXES, "mask": MASK_SUFFIXES, "depth": DEPTH_SUFFIXES}

# what Pillow may open: formats that start a program (EPS: Ghostscript) or load other files are not in it
OPENED = tuple(one.name for one in PICTURES if one.suffixes[0] in SUFFIXES and one != HEIF)
OPENED = tuple(sorted(OPENED, key=lambda name: name == "TGA"))  # which has no signature: last

# what else is found under the name of a picture, by the first bytes: (offset, bytes): what it is
SIGNS = {
    (0, b"version https://git-lfs"): "a Git LFS pointer; run git lfs pull",
    (0, b"<!doctype html"): "a web page; download the file itself",
    (0, b"<html"): "a web page; download the file itself",
    (0, b"%pdf"): "a PDF; export it as PNG",
    (0, b"%!ps"): "an EPS file; export it as PNG",
    (0, b"8bps"): "a Photoshop file; export it as PNG",
    (0, b"\xff\x0a"): "a JPEG XL image; convert it to PNG",
    (4, b"jxl "): "a JPEG XL image; convert it to PNG",
    (0, b"pk\x03\x04"): "an archive; unpack it",
    (0, b"\x76\x2f\x31\x01"): "an OpenEXR file; give it the suffix .exr",
    (0, b"\x93numpy"): "a NumPy array; give it the suffix .npy",
    (0, b"\x00\x00\x00\x00\x00\x00\x00\x00"): "zeros; copy or download it again",
}
SIGN_BYTES = 32
DAMAGED_AVIF = "a damaged AVIF image; replace or remove it"
TEXT = "text, such as a server's answer or a drawing in SVG; download or export the picture itself"
PRINTABLE = re.compile(rb"(?!p[1-7]\s)[\t\r\n\x20-\x7e]{8,}")  # but not the start of a PPM


def register_heif(path: Path, start: bytes) -> bool:
    """Let Pillow read HEIF, if a file is that; False if it is not.

    start: the first bytes of the file.

    Raises:
        UserError: it is one, and the package that reads it is not installed.
    """
    if start[4:8] != b"ftyp" or start[8:12] not in HEIF_BRANDS:
        return False
    if HEIF.suffixes[0] in LACKING:
        raise UserError(f"{path}: is a HEIC image, which needs the package pillow-heif: {GET_HEIF}, or convert it to JPEG")
    import pillow_heif

    pillow_heif.register_heif_opener()
    return True


def find_sign(start: bytes) -> str | None:
    """What a file is that is no readable picture, and what to do, by its first bytes; None if that is not known."""
    start = start.removeprefix(BOM_UTF8)
    start = start.lstrip().lower() if start.isascii() else start.lower()
    if start[4:8] == b"ftyp" and start[8:12] in AVIF_BRANDS:
        return f"an AVIF image, which needs a newer Pillow: {GET_AVIF}" if AVIF.suffixes[0] in LACKING else DAMAGED_AVIF
    if start[4:8] == b"ftyp":
        return "a video or a picture of a kind that is not read; convert it to JPEG or PNG"
    found = next((what for (offset, sign), what in SIGNS.items() if start[offset:].startswith(sign)), None)
    return found or (TEXT if PRINTABLE.fullmatch(start) else None)


def read_start(path: Path) -> bytes:
    """The first SIGN_BYTES of a file; none if it cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(SIGN_BYTES)
    except OSError:
        return b""


def is_unread_photo(name: str) -> bool:
    """Whether a file has the name of a photo of a format that is not read, at all or in this environment."""
    return Path(name).suffix.lower() in (*LACKING, *OTHER_PICTURES) and not is_hidden(name)


def describe_unread_photos(names: Sequence[str]) -> str | None:
    """How many photos of formats that are not read there are, with one as an example and what to do; None if there are none."""
    if not names:
        return None
    lacking = [name for name in names if Path(name).suffix.lower() in LACKING]
    example = (lacking or names)[0]
    advice = (
        f"to read {Path(example).suffix}: {LACKING[Path(example).suffix.lower()]}" if lacking else "convert them to JPEG or PNG"
    )
    what = "photo is" if len(names) == 1 else "photos are"
    return f"{len(names):,} {what} in a format that is not read, such as {example}; {advice}"


def is_hidden(name: str) -> bool:
    """Whether a file or folder is litter of a system or hidden by its user: .DS_Store, ._x, Thumbs.db, __MACOSX."""
    return name.startswith((".", "__MACOSX")) or name.lower() in ("thumbs.db", "desktop.ini", "ehthumbs.db", "@eadir")
