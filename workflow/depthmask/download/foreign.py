"""What a file is that is not an archive that can be read, judged by its first bytes, and what to do about it."""

from __future__ import annotations

import re
from pathlib import Path

from depthmask.catalog.archives import TAR, TAR_AT, TO_FOLDER, explain_foreign
from depthmask.download.members import BadArchiveError, DamagedArchiveError
from depthmask.download.remote import is_page
from depthmask.download.tar_members import COMPRESSED
from depthmask.download.zip_members import read_end

READ_BYTES = 4096
ISO_AT, ISO = 0x8001, b"CD001"
# what a file begins with, what it is, and what unpacks it
FOREIGN = (
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", "7z x"),
    (b"Rar!\x1a\x07", "a rar archive", "7z x, or unrar x"),
    (b"\x28\xb5\x2f\xfd", "compressed with zstd", "tar --zstd -xf"),
    (b"LZIP", "compressed with lzip", "tar --lzip -xf"),
    (b"\x04\x22\x4d\x18", "compressed with lz4", "lz4 -d, then tar -xf"),
    (b"\x1f\x9d", "compressed with compress", "tar -Z -xf"),
    (b"\x5d\x00\x00", "compressed with lzma", "tar --lzma -xf"),
    (b"MSCF", "a cab archive", "7z x"),
)
PICTURES = (b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"II*\0", b"MM\0*")
POINTER = b"version https://git-lfs"
SPLIT_ZIP = b"PK\x07\x08"
PRINTABLE, SHOWN_BYTES = re.compile(rb"[\t\r\n\x20-\x7e]{8,}"), 60
LAST_PART = f"unpack its last part, the one named .zip (7z x), {TO_FOLDER}"


def require_readable(path: Path, shown: str) -> None:
    """Reject what its first bytes show to be no archive that is read: fetching it again would not help.

    Raises:
        BadArchiveError: it is another kind of archive, a part of one, or no archive.
        DamagedArchiveError: it is empty.
    """
    with path.open("rb") as data:
        first = data.read(READ_BYTES)
        data.seek(ISO_AT)
        is_iso = data.read(len(ISO)) == ISO
    if not first:
        raise DamagedArchiveError(f"{shown}: 0 bytes, not an archive; fetch it again")
    if first[TAR_AT : TAR_AT + len(TAR)] == TAR or first.startswith(tuple(COMPRESSED)):
        return  # a tar begins with a name, which may look like anything
    for magic, what, command in (*FOREIGN, *([(first[:1], "a disk image", "7z x")] if is_iso else [])):
        if first.startswith(magic):
            explained = explain_foreign(cut_query(shown))
            if explained is not None and explained.startswith("is a part"):
                raise BadArchiveError(f"{shown}: {explained}")
            raise BadArchiveError(f"{shown}: is {what}, which is not read; unpack it ({command}) {TO_FOLDER}")
    num_before, num_members = read_end(path)
    if num_members is None and first.startswith(SPLIT_ZIP):
        raise BadArchiveError(f"{shown}: is the first part of a split zip; {LAST_PART}")
    if num_before:
        raise BadArchiveError(
            f"{shown}: is the last of {num_before + 1} parts of a split zip; unpack it with the others beside it (7z x),"
            f" {TO_FOLDER}"
        )
    if is_page("", first):
        raise BadArchiveError(f"{shown}: is a web page, not an archive; fetch the file itself")
    if first.startswith(POINTER):
        raise BadArchiveError(f"{shown}: is a Git LFS pointer, not the file itself; run git lfs pull where it comes from")
    if num_members is None and not any(first):
        raise DamagedArchiveError(f"{shown}: begins with zeros, as a download does that was not finished; fetch it again")
    if num_members is None and PRINTABLE.fullmatch(first):
        begins = " ".join(first[:SHOWN_BYTES].decode("ascii").split())
        raise BadArchiveError(f"{shown}: is text, not an archive: {begins!r}; correct the address, or fetch the file itself")
    if first.startswith(PICTURES):
        raise BadArchiveError(f"{shown}: is an image, not an archive; put images into folders (docs/sources.md)")


def cut_query(shown: str) -> str:
    """A file's name or URL without the URL's query."""
    return shown.partition("?")[0]
