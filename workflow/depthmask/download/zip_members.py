"""The members of a zip, after checking its central directory."""

from __future__ import annotations

import contextlib
import functools
import stat
import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path

from depthmask.catalog.archives import TO_FOLDER
from depthmask.download.members import Member, MemberError, resolve_link
from depthmask.download.names import show_name, to_slashes

ENCRYPTED = "an encrypted file"
METHODS_READ = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA}
METHODS_READ |= {zipfile.ZIP_ZSTANDARD} if hasattr(zipfile, "ZIP_ZSTANDARD") else set()  # since Python 3.14
METHODS = {  # of APPNOTE.TXT 4.4.5
    1: "Shrink",
    **dict.fromkeys((2, 3, 4, 5), "Reduce"),
    **dict.fromkeys((6, 10), "Implode"),
    9: "Deflate64",
    **dict.fromkeys((20, 93), "zstd"),
    94: "MP3",
    95: "xz",
    96: "JPEG",
    97: "WavPack",
    98: "PPMd",
}
FOLDER_OF_DOS = 0x10  # external attribute
END, END_64 = b"PK\x05\x06", b"PK\x06\x06"
END_BYTES, END_64_BYTES, LOCATOR_BYTES, HEADER_BYTES = 22, 56, 20, 30
COMMENT_BYTES_MAX = (1 << 16) - 1
LINK_BYTES_MAX = 4096
UTF_8 = 0x800  # flag: the name is UTF-8


def list_zip(archive: zipfile.ZipFile) -> Iterator[Member]:
    """Yield every member in directory order."""
    for info in archive.infolist():
        mode, target = info.external_attr >> 16, ""
        # not is_dir(), which an empty name breaks
        is_folder = to_slashes(info.orig_filename).endswith("/") or stat.S_ISDIR(mode)
        is_folder |= not mode and not info.file_size and bool(info.external_attr & FOLDER_OF_DOS)
        if info.flag_bits & 0x1:
            kind = ENCRYPTED
        elif info.compress_type not in METHODS_READ:
            method = METHODS.get(info.compress_type, f"the method {info.compress_type}")
            raise MemberError(
                info.orig_filename,
                f"compressed with {method}, which cannot be read here; unpack it (7z x) {TO_FOLDER}, or pack it again as a"
                " plain zip (zip -r)",
            )
        elif stat.S_ISLNK(mode):
            kind = "link"
            text = archive.read(info).decode("utf-8", "replace") if info.file_size < LINK_BYTES_MAX else "/"
            target = resolve_link(to_slashes(info.orig_filename), to_slashes(text))
        elif stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
            kind = "a device or pipe"
        elif is_folder and info.file_size:
            kind = "a folder with content"
        else:
            kind = "folder" if is_folder else "file"
        yield Member(_read_name(info), kind, info.file_size, functools.partial(archive.open, info), target)


def _read_name(info: zipfile.ZipInfo) -> str:
    """A member's name; macOS writes UTF-8 without the flag that says so."""
    if not info.flag_bits & UTF_8 and not info.orig_filename.isascii():
        with contextlib.suppress(UnicodeError):
            return info.orig_filename.encode("cp437").decode("utf-8")
    return info.orig_filename


def check_directory(archive: zipfile.ZipFile, path: Path) -> None:
    """Detect what zipfile overlooks: a truncated directory, and members that share bytes.

    Raises:
        zipfile.BadZipFile: the directory does not match the end record.
        MemberError: two members share bytes, as in a bomb.
    """
    members = sorted(archive.infolist(), key=lambda info: info.header_offset)
    _, declared = read_end(path)
    if declared is not None and declared != len(members):
        raise zipfile.BadZipFile(f"its directory lists {len(members):,} members, its end record {declared:,}")
    if members and members[0].header_offset < 0:
        raise zipfile.BadZipFile(f"{show_name(members[0].orig_filename)} would start before the file")
    ends = [*(info.header_offset for info in members[1:]), archive.start_dir]
    for info, end in zip(members, ends):
        name = info.orig_filename.encode("utf-8" if info.flag_bits & UTF_8 else "cp437", "replace")
        if info.header_offset + HEADER_BYTES + len(name) + info.compress_size <= end:
            continue
        if info is members[-1]:
            raise zipfile.BadZipFile(f"{show_name(info.orig_filename)} runs into the directory")
        raise MemberError(info.orig_filename, "whose bytes overlap another member; do not trust this archive")


def read_end(path: Path) -> tuple[int, int | None]:
    """How many parts come before this one in a split zip, and how many members the end record declares; None if unknown."""
    with path.open("rb") as data:
        size = data.seek(0, 2)
        data.seek(max(0, size - END_BYTES - COMMENT_BYTES_MAX - LOCATOR_BYTES - END_64_BYTES))
        tail = data.read()
    at = len(tail) - END_BYTES
    if tail[at : at + 4] != END or tail[-2:] != b"\0\0":
        at = tail.rfind(END)
    if at < 0 or len(tail) - at < END_BYTES:
        return 0, None
    num_before, declared = struct.unpack_from("<H", tail, at + 4)[0], struct.unpack_from("<H", tail, at + 10)[0]
    if 0xFFFF not in (num_before, declared):
        return num_before, declared
    wide = at - LOCATOR_BYTES - END_64_BYTES
    if wide < 0 or tail[wide : wide + 4] != END_64:
        return 0, declared if declared != 0xFFFF else None
    return struct.unpack_from("<I", tail, wide + 16)[0], struct.unpack_from("<Q", tail, wide + 32)[0]
