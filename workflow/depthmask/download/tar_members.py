"""The members of a tar, compressed or not, read in one pass: a tar has no list of contents."""

from __future__ import annotations

import bz2
import contextlib
import functools
import gzip
import lzma
import posixpath
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from depthmask.download.members import Member, MemberError, resolve_link

COMPRESSED = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\x00": lzma.open}
EXTENDED = (
    *(tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE),
    *(tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK),
)
EXTENDED_BYTES_MAX = 1 << 16  # of a long name or other attributes; the tar module takes them into memory whole
SPARSE = "a file with holes"
COPY_BYTES = 1 << 20


@contextlib.contextmanager
def open_tar(path: Path, allow: Callable[[int], None]) -> Iterator[tarfile.TarFile]:
    """A tar that is open for reading; `allow` is called with each number of unpacked bytes reached, and raises to stop it.

    Raises:
        tarfile.ReadError: "neither zip nor tar", or whatever the file is compressed with is damaged.
    """
    with path.open("rb") as data:
        first = data.read(6)
    unpack = next((unpack for magic, unpack in COMPRESSED.items() if first.startswith(magic)), None)
    with unpack(path) if unpack else path.open("rb") as data:
        try:
            archive = tarfile.TarFile(fileobj=_Metered(data, allow), tarinfo=_StrictTarInfo)
        except tarfile.ReadError as error:
            raise tarfile.ReadError("neither zip nor tar") from error
        with archive:
            yield archive


def list_tar(archive: tarfile.TarFile) -> Iterator[Member]:
    """Every member as it comes; each is to be read before the next is asked for."""
    end = 0
    for info in archive:
        if info.size < 0 or archive.offset <= end:  # which would be read again and again
            raise MemberError(info.name, "whose size is negative; do not trust this archive")
        end, target = archive.offset, ""
        if info.issparse():
            kind = SPARSE
        elif info.issym():
            kind, target = "link", resolve_link(info.name, info.linkname)
        elif info.islnk():
            kind, target = "link", posixpath.normpath(info.linkname)
        elif info.isdir():
            kind = "folder"
        else:
            kind = "file" if info.isfile() else "a device or pipe"
        yield Member(info.name, kind, info.size, functools.partial(archive.extractfile, info), target)
        archive.members.clear()  # or it would hold each of 400,000 to the end


def read_to_end(archive: tarfile.TarFile) -> None:
    """Read what follows a tar's end marker, as a compressed stream's checksum comes last."""
    while archive.fileobj.read(COPY_BYTES):
        pass


class _StrictTarInfo(tarfile.TarInfo):
    """Python takes a header that is cut off or spoiled for the archive's end; here only the end marker is the end."""

    @classmethod
    def frombuf(cls, buf: bytes, encoding: str, errors: str) -> tarfile.TarInfo:
        info = super().frombuf(buf, encoding, errors)
        if info.size < 0:
            raise MemberError(info.name, "whose size is negative; do not trust this archive")
        if info.type in EXTENDED and info.size > EXTENDED_BYTES_MAX:
            raise MemberError(info.name, f"a name or attributes of {info.size:,} bytes; do not trust this archive")
        if info.type == tarfile.GNUTYPE_SPARSE:
            raise MemberError(info.name, f"{SPARSE}; pack it again without --sparse")
        return info

    @classmethod
    def fromtarfile(cls, archive: tarfile.TarFile) -> tarfile.TarInfo:
        try:
            return super().fromtarfile(archive)
        except tarfile.EOFHeaderError:
            raise
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(str(error)) from error


class _Metered:
    """A stream of unpacked bytes that asks whether it may go as far as it is to: also where it would only pass over them."""

    def __init__(self, data: IO[bytes], allow: Callable[[int], None]):
        self._data, self._allow = data, allow

    def read(self, num_bytes: int = -1) -> bytes:
        read = self._data.read(num_bytes)
        self._allow(self._data.tell())
        return read

    def seek(self, position: int) -> int:
        self._allow(position)
        return self._data.seek(position)

    def tell(self) -> int:
        return self._data.tell()
