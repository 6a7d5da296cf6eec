"""The members of a zip, after checking its central directory."""

from __future__ import annotations

import functools
import stat
import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path

from depthmask.download.members import Member, MemberError, resolve_link
from depthmask.download.names import show_name

ENCRYPTED = "an encrypted file"
END, END_64 = b"PK\x05\x06", b"PK\x06\x06"
END_BYTES, END_64_BYTES, LOCATOR_BYTES, HEADER_BYTES = 22, 56, 20, 30
COMMENT_BYTES_MAX = (1 << 16) - 1
LINK_BYTES_MAX = 4096
UTF_8 = 0x800  # flag: the name is UTF-8


def list_zip(archive: zipfile.ZipFile) -> Iterator[Member]:
    """Yield every member in directory order."""
    for info in archive.infolist():
        mode, target = info.external_attr >> 16, ""
        is_folder = info.orig_filename.endswith("/") or stat.S_ISDIR(mode)  # not is_dir(), which an empty name breaks
        if info.flag_bits & 0x1:
            kind = ENCRYPTED
        elif stat.S_ISLNK(mode):
            kind = "link"
            text = archive.read(info).decode("utf-8", "replace") if info.file_size < LINK_BYTES_MAX else "/"
            target = resolve_link(info.filename, text)
        elif stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
            kind = "a device or pipe"
        elif is_folder and info.file_size:
            kind = "a folder with content"
        else:
            kind = "folder" if is_folder else "file"
        yield Member(info.orig_filename, kind, info.file_size, functools.partial(archive.open, info), target)


def check_directory(archive: zipfile.ZipFile, path: Path) -> None:
    """Detect what zipfile overlooks: a truncated directory, and members that share bytes.

    Raises:
        zipfile.BadZipFile: the directory does not match the end record.
        MemberError: two members share bytes, as in a bomb.
    """
    members = sorted(archive.infolist(), key=lambda info: info.header_offset)
    declared = _read_num_members(path)
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


def _read_num_members(path: Path) -> int | None:
    """How many members the end record declares; None if unknown."""
    with path.open("rb") as data:
        size = data.seek(0, 2)
        data.seek(max(0, size - END_BYTES - COMMENT_BYTES_MAX - LOCATOR_BYTES - END_64_BYTES))
        tail = data.read()
    at = len(tail) - END_BYTES
    if tail[at : at + 4] != END or tail[-2:] != b"\0\0":
        at = tail.rfind(END)
    if at < 0 or len(tail) - at < END_BYTES:
        return None
    declared = struct.unpack_from("<H", tail, at + 10)[0]
    if declared != 0xFFFF:
        return declared
    wide = at - LOCATOR_BYTES - END_64_BYTES
    return struct.unpack_from("<Q", tail, wide + 32)[0] if wide >= 0 and tail[wide : wide + 4] == END_64 else None
