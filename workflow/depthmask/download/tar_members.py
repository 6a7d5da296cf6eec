"""The members of a tar, compressed or not, read in one pass, since a tar has no table of contents."""

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

from depthmask.catalog.archives import TAR, TAR_AT, ZIP
from depthmask.download.members import Member, MemberError, resolve_link
from depthmask.download.names import to_slashes

COMPRESSED = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\x00": lzma.open}
EXTENDED = (
    *(tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE),
    *(tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK),
)
EXTENDED_BYTES_MAX = 1 << 16  # of a long name or other attributes, which tarfile reads into memory whole
SPARSE = "a sparse file"
COPY_BYTES = 1 << 20


@contextlib.contextmanager
def open_tar(path: Path, allow: Callable[[int], None]) -> Iterator[tarfile.TarFile]:
    """Open a tar for reading; `allow` is called with the number of unpacked bytes so far, and raises to stop.

    Raises:
        tarfile.ReadError: "neither zip nor tar", or the compression is damaged.
        NotImplementedError: something else than a tar is compressed.
    """
    with path.open("rb") as data:
        first = data.read(6)
    unpack = next((unpack for magic, unpack in COMPRESSED.items() if first.startswith(magic)), None)
    with unpack(path) if unpack else path.open("rb") as data:
        try:
            archive = tarfile.TarFile(fileobj=_Metered(data, allow), tarinfo=_StrictTarInfo)
        except tarfile.ReadError as error:
            if unpack and _holds_other(path, unpack):
                raise NotImplementedError("it is compressed, but no tar is inside") from error
            raise tarfile.ReadError("a zip without its end" if first.startswith(ZIP) else "neither zip nor tar") from error
        with archive:
            yield archive


def _holds_other(path: Path, unpack: Callable[..., IO[bytes]]) -> bool:
    """Whether what is compressed begins as no tar does; raises what the reader does if the compression is damaged."""
    with unpack(path) as data:
        start = data.read(tarfile.BLOCKSIZE)
    return start[TAR_AT : TAR_AT + len(TAR)] != TAR


def list_tar(archive: tarfile.TarFile) -> Iterator[Member]:
    """Yield every member in order; read each before asking for the next."""
    end = 0
    for info in archive:
        if info.size < 0 or archive.offset <= end:  # which would loop forever
            raise MemberError(info.name, "with a negative size; do not trust this archive")
        end, target = archive.offset, ""
        if info.issparse():
            kind = SPARSE
        elif info.issym():
            kind, target = "link", resolve_link(to_slashes(info.name), to_slashes(info.linkname))
        elif info.islnk():
            kind, target = "link", posixpath.normpath(to_slashes(info.linkname))
        elif info.isdir():
            kind = "folder"
        else:
            kind = "file" if info.isfile() else "a device or pipe"
        yield Member(info.name, kind, info.size, functools.partial(archive.extractfile, info), target)
        archive.members.clear()  # or it would keep all of 400,000 in memory


def read_to_end(archive: tarfile.TarFile) -> None:
    """Read past a tar's end marker, because a compressed stream's checksum comes last."""
    while archive.fileobj.read(COPY_BYTES):
        pass


class _StrictTarInfo(tarfile.TarInfo):
    """Python treats a truncated or damaged header as the end of the archive; here only the end marker is."""

    @classmethod
    def frombuf(cls, buf: bytes, encoding: str, errors: str) -> tarfile.TarInfo:
        info = super().frombuf(buf, encoding, errors)
        if info.size < 0:
            raise MemberError(info.name, "with a negative size; do not trust this archive")
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
    """A stream of unpacked bytes that asks permission before it advances, including when it only skips bytes."""

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
