"""Archives from strangers, unpacked without trusting them.

Refused in one line: paths that are absolute or lead outside, devices, links to anything but a file of the same archive,
names twice, encryption, archives in archives, and contents so much larger than the archive that it must be a bomb.
Nothing of an archive's own metadata is kept: no owner, mode or time, so the same archive gives the same bytes.
"""

from __future__ import annotations

import lzma
import posixpath
import shutil
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from depthmask.download.space import require_space
from depthmask.errors import UserError
from depthmask.terminal import BYTES, Bar

ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
NESTED = (*ARCHIVES, ".7z", ".rar", ".gz", ".bz2", ".xz", ".zst")
FOREIGN = {b"7z\xbc\xaf\x27\x1c": "7z", b"Rar!\x1a\x07": "rar", b"\x28\xb5\x2f\xfd": "zstd"}
JUNK = ("__MACOSX", ".DS_Store")
# a picture hardly shrinks in an archive; a bomb of zeros has a ratio of about 1000
RATIO_MAX, RATIO_FROM_BYTES = 200, 100 << 20
ENTRIES_MAX = 20_000_000
COPY_BYTES = 1 << 20
DAMAGED = (
    *(zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, struct.error),
    *(EOFError, NotImplementedError, ValueError),
)


class DamagedArchiveError(UserError):
    """The archive cannot be read to its end: it was cut off, or it is none."""


@dataclass(frozen=True)
class _Entry:
    """One name in an archive. kind: file, folder, link (to `target`, a path in the archive), or what is refused."""

    name: str
    kind: str
    num_bytes: int
    target: str = ""
    member: zipfile.ZipInfo | tarfile.TarInfo | None = None


def is_archive(path: Path | str) -> bool:
    """By its name."""
    return str(path).lower().endswith(ARCHIVES)


def cut_suffix(name: str) -> str:
    """The name of an archive without the suffix that makes it one."""
    suffix = next((s for s in sorted(ARCHIVES, key=len, reverse=True) if name.lower().endswith(s)), "")
    return name[: len(name) - len(suffix)]


def unpack(path: Path, folder: Path, shown: str) -> None:
    """Unpack an archive, recognised by its bytes and not by its name, into `folder`; `shown` names it in messages.

    Raises:
        DamagedArchiveError: it cannot be read to its end.
        UserError: it holds what is refused, or there is no room.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _refuse_foreign(path, shown)
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                num_bytes = _refuse_entries(shown, _list_zip(archive), path.stat().st_size)
                require_space(folder, num_bytes)
                _write(shown, _list_zip(archive), archive.open, folder, path.stat().st_size, num_bytes)
        else:
            require_space(folder, path.stat().st_size)
            with tarfile.open(path, tarinfo=_StrictTarInfo) as archive:  # one pass: a tar has no list of contents
                _write(shown, _list_tar(archive), archive.extractfile, folder, path.stat().st_size, None)
                _read_to_end(shown, archive.fileobj, path.stat().st_size)
    except (IsADirectoryError, NotADirectoryError, FileExistsError) as error:
        raise UserError(f"{shown}: holds a file and a folder of the same name ({error.filename}); pack it again") from error
    except (*DAMAGED, OSError, RuntimeError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        # of a file that is no tar, tarfile tells over several lines what it is not
        reason = "neither zip nor tar" if "could not be opened" in str(error) else str(error) or type(error).__name__
        raise DamagedArchiveError(f"{shown}: the archive cannot be unpacked ({reason}); fetch it again") from error


def look_through(folder: Path) -> Path:
    """The one folder in `folder` if there is nothing beside it, else `folder`: many archives wrap all in a top folder."""
    inside = [entry for entry in folder.iterdir() if not entry.name.startswith(".")]
    return inside[0] if len(inside) == 1 and inside[0].is_dir() else folder


def _write(shown: str, entries: Iterator[_Entry], read, folder: Path, archive_bytes: int, total: int | None) -> None:
    """Write entry after entry; counts real bytes, whatever the archive declares."""
    written, seen, made, links = 0, set(), {folder}, []
    with Bar(f"unpacking {shown}", BYTES) as bar:
        bar.start(0, total)
        for entry in entries:
            name = _refuse_entry(shown, entry, seen)
            if name is None or entry.kind == "folder":
                continue
            target = folder / name
            if target.parent not in made:
                target.parent.mkdir(parents=True, exist_ok=True)
                made.add(target.parent)
            if entry.kind == "link":
                links.append((entry, target))
                continue
            with read(entry.member) as source, target.open("xb") as out:
                for num_bytes in _copy_bytes(source, out):
                    written += num_bytes
                    _refuse_bomb(shown, written, archive_bytes)
                    bar.advance(num_bytes)
    for entry, target in links:  # at last, as a link may come before its file
        origin = folder / entry.target
        if _leads_outside(entry.target) or not origin.is_file():
            raise UserError(f"{shown}: holds {entry.name}, a link to {entry.target}, no file in it; pack it without links")
        shutil.copyfile(origin, target)


class _StrictTarInfo(tarfile.TarInfo):
    """Python takes a header that is cut off or spoiled for the archive's end; here only the end marker is the end."""

    @classmethod
    def fromtarfile(cls, archive: tarfile.TarFile) -> tarfile.TarInfo:
        try:
            return super().fromtarfile(archive)
        except tarfile.EOFHeaderError:
            raise
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(str(error)) from error


def _read_to_end(shown: str, data: IO[bytes], archive_bytes: int) -> None:
    """Read what follows a tar's end marker, as a compressed stream's checksum comes last."""
    left_over = 0
    while chunk := data.read(COPY_BYTES):
        left_over += len(chunk)
        _refuse_bomb(shown, left_over, archive_bytes)


def _copy_bytes(source: IO[bytes], out: IO[bytes]) -> Iterator[int]:
    while chunk := source.read(COPY_BYTES):
        out.write(chunk)
        yield len(chunk)


def _refuse_entries(shown: str, entries: Iterator[_Entry], archive_bytes: int) -> int:
    """Look at the whole list before the first byte is written; returns the sum of the declared sizes."""
    seen: set[str] = set()
    num_bytes = 0
    for entry in entries:
        _refuse_entry(shown, entry, seen)
        num_bytes += entry.num_bytes
    _refuse_bomb(shown, num_bytes, archive_bytes)
    return num_bytes


def _refuse_entry(shown: str, entry: _Entry, seen: set[str]) -> str | None:
    """The safe relative path of an entry; None if it is to be left out."""
    name = entry.name
    if _leads_outside(name):
        raise UserError(f"{shown}: holds {name!r}, a path outside of it; do not trust this archive")
    clean = posixpath.normpath(name)
    if clean == "." or JUNK[0] in clean.split("/") or clean.endswith(JUNK[1]):
        return None
    if entry.kind not in ("file", "folder", "link"):
        raise UserError(f"{shown}: holds {name}, {entry.kind}; {_ADVICE.get(entry.kind, 'do not trust this archive')}")
    if entry.kind != "folder":
        if clean.lower().endswith(NESTED):
            raise UserError(f"{shown}: holds {name}, an archive in an archive; unpack it once and give the folder")
        if clean in seen:
            raise UserError(f"{shown}: holds {name} twice; pack it again")
        seen.add(clean)
        if len(seen) > ENTRIES_MAX:
            raise UserError(f"{shown}: holds over {ENTRIES_MAX:,} files; do not trust this archive")
    return clean


_ENCRYPTED = "an encrypted file"
_ADVICE = {_ENCRYPTED: "unpack it with its password and give the folder"}


def _leads_outside(name: str) -> bool:
    if not name or name.startswith("/") or "\x00" in name or "\\" in name or name[1:2] == ":":
        return True
    return ".." in name.split("/")


def _refuse_bomb(shown: str, num_bytes: int, archive_bytes: int) -> None:
    if num_bytes > RATIO_FROM_BYTES and num_bytes > RATIO_MAX * archive_bytes:
        raise UserError(
            f"{shown}: {archive_bytes:,} bytes that become more than {num_bytes:,}, over {RATIO_MAX} times as many:"
            " a bomb; do not trust this archive"
        )


def _list_zip(archive: zipfile.ZipFile) -> Iterator[_Entry]:
    for member in archive.infolist():
        mode, target = member.external_attr >> 16, ""
        if member.flag_bits & 0x1:
            kind = _ENCRYPTED
        elif stat.S_ISLNK(mode):
            kind = "link"
            text = archive.read(member).decode("utf-8", "replace") if member.file_size < 4096 else "/"
            target = _resolve_link(member.filename, text)
        elif stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
            kind = "a device or pipe"
        else:
            kind = "folder" if member.is_dir() else "file"
        yield _Entry(member.orig_filename, kind, member.file_size, target, member)


def _list_tar(archive: tarfile.TarFile) -> Iterator[_Entry]:
    for member in archive:
        target = ""
        if member.issym():
            kind, target = "link", _resolve_link(member.name, member.linkname)
        elif member.islnk():
            kind, target = "link", posixpath.normpath(member.linkname)
        elif member.isdir():
            kind = "folder"
        else:
            kind = "file" if member.isfile() else "a device or pipe"
        yield _Entry(member.name, kind, member.size, target, member)
        archive.members.clear()  # or it would hold each of 400,000 to the end


def _resolve_link(name: str, target: str) -> str:
    """The path within the archive that a symbolic link at `name` leads to; absolute where it leads out."""
    return target if target.startswith("/") else posixpath.normpath(posixpath.join(posixpath.dirname(name), target))


def _refuse_foreign(path: Path, shown: str) -> None:
    with path.open("rb") as data:
        first = data.read(8)
    for magic, name in FOREIGN.items():
        if first.startswith(magic):
            raise UserError(f"{shown}: is a {name} archive, which is not read; allowed: {', '.join(ARCHIVES)}")
    if not first:
        raise DamagedArchiveError(f"{shown}: 0 bytes, no archive; fetch it again")
