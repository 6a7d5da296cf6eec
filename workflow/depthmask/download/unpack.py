"""Unpacks archives without trusting them.

Rejected in one line: absolute paths and paths that lead outside, invalid names, devices, links to anything but a file of the
same archive, duplicate names, encryption, archives in archives, and contents so large or so many for the archive's size that it
must be a bomb. Nothing of a rejected archive is kept.
Metadata (owner, mode, time) is dropped, so the same archive gives the same bytes.
"""

from __future__ import annotations

import contextlib
import errno
import lzma
import posixpath
import shutil
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

from depthmask.base.errors import UserError
from depthmask.base.terminal import Bar
from depthmask.catalog.archives import ARCHIVES, TO_FOLDER, explain_foreign, is_junk
from depthmask.download.foreign import cut_query, require_readable
from depthmask.download.members import BadArchiveError, DamagedArchiveError, Member, MemberError
from depthmask.download.names import find_fault, join_inside, show_name, to_slashes
from depthmask.download.space import require_space
from depthmask.download.tar_members import SPARSE, list_tar, open_tar, read_to_end
from depthmask.download.zip_members import ENCRYPTED, check_directory, list_zip

NESTED = (*ARCHIVES, ".7z", ".rar", ".gz", ".bz2", ".xz", ".zst")
# images hardly shrink in an archive; a bomb of zeros has a ratio of about 1000
RATIO_MAX, RATIO_FROM_BYTES = 200, 100 << 20
# the largest known set has 1.2 million files; no image is smaller than 32 bytes
MEMBERS_MAX, FOLDERS_MAX = 5_000_000, 200_000
TINY_BYTES, TINY_MAX = 32, 10_000
COPY_BYTES = 1 << 20
# what Python's readers raise for damaged archives, some of it by oversight
DAMAGED = (
    *(zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, struct.error, EOFError),
    *(ValueError, LookupError, ArithmeticError, TypeError, AttributeError, RuntimeError),
)
with contextlib.suppress(ImportError):  # Python 3.14, whose zipfile reads zstd
    from compression.zstd import ZstdError

    DAMAGED += (ZstdError,)
_ADVICE = {
    ENCRYPTED: f"unpack it with its password (7z x) {TO_FOLDER}",
    SPARSE: "pack it again without --sparse",
}


def unpack(path: Path, folder: Path, shown: str) -> None:
    """Unpack an archive, recognised by its bytes and not its name, into `folder`; `shown` names it in messages.

    Raises:
        DamagedArchiveError: it cannot be read to its end.
        BadArchiveError: it contains something rejected. In both cases the folder is removed if it did not exist before.
        UserError: not enough disk space.
    """
    is_new = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    work = _Unpacking(shown, folder, path.stat().st_size)
    try:
        require_readable(path, shown)
        with work.explain_failures():
            if zipfile.is_zipfile(path):
                _unpack_zip(path, work)
            else:
                require_space(folder, work.archive_bytes)
                with open_tar(path, work.validate_size) as archive:
                    work.write(list_tar(archive), None)
                    read_to_end(archive)
        if not work.num_files:
            raise BadArchiveError(f"{shown}: contains no file; pack it again")
    except BaseException:
        if is_new:
            shutil.rmtree(folder, ignore_errors=True)
        raise


def _unpack_zip(path: Path, work: _Unpacking) -> None:
    with zipfile.ZipFile(path) as archive:
        check_directory(archive, path)
        num_bytes = work.check(list_zip(archive))  # the whole list, before the first byte is written
        require_space(work.folder, num_bytes)
        work.write(list_zip(archive), len(archive.infolist()))


class _Unpacking:
    """One archive being unpacked."""

    def __init__(self, shown: str, folder: Path, archive_bytes: int):
        self.shown, self.folder, self.archive_bytes = shown, folder, archive_bytes
        self.current: str | None = None  # the current member, for messages
        self.num_files = 0
        self._made: dict[str, Path] = {}

    def check(self, members: Iterable[Member]) -> int:
        """Check every member; returns the sum of the declared sizes."""
        rules, num_bytes = _Rules(self.shown), 0
        for member in members:
            self.current = member.name
            rules.accept(member)
            num_bytes += member.num_bytes
        self.current = None
        self.validate_size(num_bytes)
        return num_bytes

    def write(self, members: Iterable[Member], total: int | None) -> None:
        """Write the members, counting real bytes, whatever the archive declares. total: of members, for the bar."""
        rules, written, links = _Rules(self.shown), 0, []
        with Bar(f"unpacking {self.shown}", "files") as bar:
            bar.start(0, total)
            for member in members:
                self.current = member.name
                bar.advance()
                name = rules.accept(member)
                if name is None or member.kind == "folder":
                    continue
                target = self._make_place(name)
                self.num_files += 1
                if member.kind == "link":
                    links.append((member, target))
                    continue
                self.validate_size(written + member.num_bytes)
                with member.open() as source, target.open("xb") as out:
                    written = self._copy(source, out, written)
            for member, target in links:  # last, because a link may come before its file
                self.current = member.name
                written = self._copy_link(member, target, written)
        self.current = None

    def validate_size(self, num_bytes: int) -> None:
        """Raise BadArchiveError if num_bytes is implausibly large for the archive."""
        if num_bytes > RATIO_FROM_BYTES and num_bytes > RATIO_MAX * self.archive_bytes:
            at = f" at {show_name(self.current)}" if self.current else ""
            raise BadArchiveError(
                f"{self.shown}: {self.archive_bytes:,} bytes that unpack to more than {num_bytes:,}{at}, over {RATIO_MAX}"
                " times as many: a zip bomb; do not trust this archive"
            )

    @contextlib.contextmanager
    def explain_failures(self) -> Iterator[None]:
        """Turn exceptions of readers and disk into one line that names the archive and the member."""
        try:
            yield
        except UserError:
            raise
        except MemberError as error:
            raise BadArchiveError(f"{self.shown}: contains {show_name(error.name)}, {error.fault}") from error
        except MemoryError as error:
            raise BadArchiveError(f"{self.shown}: needs more memory than there is{self._at()}; do not trust it") from error
        except OSError as error:
            name = show_name(self.current or "a name")
            if error.errno in (errno.EEXIST, errno.ENOTDIR, errno.EISDIR):
                fault = "whose name this disk confuses with another; pack it again with other names"
            elif error.errno in (errno.ENAMETOOLONG, errno.EILSEQ) or (error.errno == errno.EINVAL and error.filename):
                fault = "a name that this disk does not accept; pack it again with a shorter one"
            elif error.errno in (None, errno.EINVAL):  # from the readers: a checksum, or a position before the start of the file
                raise self._damaged(error) from error
            else:
                raise
            raise BadArchiveError(f"{self.shown}: contains {name}, {fault}") from error
        except NotImplementedError as error:
            raise BadArchiveError(
                f"{self.shown}: cannot be unpacked here ({_shorten(error)}){self._at()}; unpack it with another tool (7z x)"
                f" {TO_FOLDER}"
            ) from error
        except DAMAGED as error:
            raise self._damaged(error) from error

    def _damaged(self, error: Exception) -> BadArchiveError:
        explained = explain_foreign(cut_query(self.shown))
        if explained is not None:  # rooms.zip.001: a part by its name
            return BadArchiveError(f"{self.shown}: {explained}")
        return DamagedArchiveError(f"{self.shown}: cannot be unpacked ({_shorten(error)}){self._at()}; fetch it again")

    def _at(self) -> str:
        return f" at {show_name(self.current)}" if self.current is not None else ""

    def _make_place(self, name: str) -> Path:
        parent, _, last = name.rpartition("/")
        folder = self.folder
        if parent:
            folder = self._made.get(parent) or self._make_folder(parent)
        return folder / last

    def _make_folder(self, name: str) -> Path:
        folder = join_inside(self.folder, name)
        folder.mkdir(parents=True, exist_ok=True)
        self._made[name] = folder
        return folder

    def _copy(self, source: IO[bytes], out: IO[bytes], written: int) -> int:
        for num_bytes in _copy_bytes(source, out):
            written += num_bytes
            self.validate_size(written)
        return written

    def _copy_link(self, member: Member, target: Path, written: int) -> int:
        """A link becomes a copy, which counts like any other file: many links to a large one are also a bomb."""
        is_fit = find_fault(member.target) is None and posixpath.normpath(member.target) != "."
        origin = join_inside(self.folder, member.target) if is_fit else None
        if origin is None or not origin.is_file():
            raise BadArchiveError(
                f"{self.shown}: contains {show_name(member.name)}, a link to {show_name(member.target)}, which is not a"
                " file in it; pack it without links"
            )
        with origin.open("rb") as source, target.open("xb") as out:
            return self._copy(source, out, written)


def _shorten(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


def _copy_bytes(source: IO[bytes], out: IO[bytes]) -> Iterator[int]:
    while chunk := source.read(COPY_BYTES):
        out.write(chunk)
        yield len(chunk)


class _Rules:
    """What an archive may contain; remembers what it has contained so far."""

    def __init__(self, shown: str):
        self.shown = shown
        self.files: set[str] = set()
        self.folders: set[str] = {""}
        self.num_members = self.num_tiny = 0

    def accept(self, member: Member) -> str | None:
        """The safe relative path of a member; None if it is to be skipped.

        Raises:
            BadArchiveError: it is rejected.
        """
        self.num_members += 1
        if self.num_members > MEMBERS_MAX:
            raise BadArchiveError(f"{self.shown}: contains over {MEMBERS_MAX:,} files; do not trust this archive")
        name = to_slashes(member.name)
        if name.endswith("/Icon\r"):  # of a folder of macOS
            return None
        fault = find_fault(name)
        if fault is not None:
            trusted = f"{fault.words}; {fault.remedy}"
            raise self._make_error(member, trusted if fault.remedy else f"{fault.words}; do not trust this archive")
        clean = posixpath.normpath(name)
        if is_junk(clean) or (clean == "." and member.kind == "folder"):
            return None
        if clean == "." or member.kind not in ("file", "folder", "link"):
            kind = member.kind if clean != "." else "the folder itself"
            raise self._make_error(member, f"{kind}; {_ADVICE.get(member.kind, 'do not trust this archive')}")
        if member.kind != "folder":
            self._accept_file(member, clean)
        self._accept_folder(member, clean if member.kind == "folder" else posixpath.dirname(clean))
        return clean

    def _accept_file(self, member: Member, clean: str) -> None:
        if clean.lower().endswith(NESTED):
            raise BadArchiveError(
                f"{self.shown}: contains {show_name(member.name)}, an archive in an archive; unpack it once and use the folder"
            )
        if clean in self.files:
            raise BadArchiveError(f"{self.shown}: contains {show_name(member.name)} twice; pack it again")
        if clean in self.folders:
            raise self._make_error(member, "a file and a folder of the same name; pack it again")
        self.files.add(clean)
        self.num_tiny += member.kind == "file" and member.num_bytes < TINY_BYTES
        if self.num_tiny > TINY_MAX:
            raise BadArchiveError(
                f"{self.shown}: contains over {TINY_MAX:,} files of under {TINY_BYTES} bytes, the last of them"
                f" {show_name(member.name)}; do not trust this archive"
            )

    def _accept_folder(self, member: Member, folder: str) -> None:
        """Remember a folder and its parents."""
        while folder not in self.folders:
            if folder in self.files:
                raise self._make_error(member, f"and {show_name(folder)}, a file and a folder of the same name; pack it again")
            self.folders.add(folder)
            if len(self.folders) > FOLDERS_MAX:
                raise BadArchiveError(f"{self.shown}: contains over {FOLDERS_MAX:,} folders; do not trust this archive")
            folder = posixpath.dirname(folder)

    def _make_error(self, member: Member, why: str) -> BadArchiveError:
        return BadArchiveError(f"{self.shown}: contains {show_name(member.name)}, {why}")
