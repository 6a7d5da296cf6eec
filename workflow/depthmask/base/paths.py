"""What is at a path before anything is opened there, since whoever opens a pipe waits for ever; and a path as text."""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

from depthmask.base.errors import UserError

SURROGATES = re.compile("[\ud800-\udfff]")
NO_SUCH_FILE = "no such file"
SPECIAL_KINDS = {stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device"}
KINDS = {stat.S_IFDIR: "is a folder"} | {kind: f"is {name}" for kind, name in SPECIAL_KINDS.items()}


def find_fault_of_file(path: Path) -> str | None:
    """Why there is no file to read at `path`, in a few words; None if there is one. It is not opened: a pipe would wait for ever.

    Raises:
        OSError: it may not be looked at, or the disk fails.
    """
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return NO_SUCH_FILE
    except ValueError:  # which the operating system is never asked
        return "is no name of a file: it has a NUL or half a character"
    except OSError as error:
        if error.errno == errno.ELOOP:
            return "is a link that leads to itself"
        if error.errno == errno.ENAMETOOLONG:
            return "is too long for a file name"
        raise
    return None if stat.S_ISREG(mode) else KINDS.get(stat.S_IFMT(mode), "is no file")


def show_path(path: str | Path) -> str:
    """A path as text that any file and terminal takes: bytes of a name that are no UTF-8 as \\xe9, by which Python keeps them."""
    return SURROGATES.sub(lambda found: f"\\x{ord(found[0]) & 0xFF:02x}", str(path))


ERRORS = {
    errno.ENOENT: "no such file or folder",
    errno.EACCES: "permission denied",
    errno.EPERM: "permission denied",
    errno.EISDIR: "is a folder, not a file",
    errno.EINVAL: "is no regular file",  # of files.read_regular_file
    errno.ENOTDIR: "a file is in the place of a folder above it",
    errno.EEXIST: "a file is in the place of a folder",
    errno.ELOOP: "is a link that leads to itself",
    errno.ENAMETOOLONG: "the name is too long",
    errno.ENXIO: "is a socket or a device, not a file",
    errno.ENODEV: "is a device, not a file",
    errno.ENOTEMPTY: "is a folder that is not empty",
    errno.ENOSPC: "the disk is full; free some space and run the same command again",
    errno.EDQUOT: "the disk is full; free some space and run the same command again",
    errno.EROFS: "is on a read-only disk; choose another folder",
}


def explain_os_error(error: OSError, path: Path | None = None) -> str | None:
    """What is wrong with a path, in one line; None where the error is about no path, or where a user can do nothing about it.

    path: what the error is about if it does not say so itself; then every error has a line.
    """
    named = next((name for name in (error.filename2, error.filename) if isinstance(name, str | Path)), path)
    words = ERRORS.get(error.errno) or (path and " ".join((error.strerror or str(error)).lower().split()))
    return f"{show_path(named)}: {words}" if named is not None and words else None


def resolve_path(path: Path) -> Path:
    """The path without links, as far as they can be followed: one that leads to itself, or no name at all, stays as it is."""
    try:
        return path.resolve()
    except (OSError, RuntimeError, ValueError):
        return path.absolute()


def is_folder(path: Path | os.DirEntry) -> bool:
    """Whether there is a folder, links followed; False for what cannot be one, as a name that is too long or a link to itself."""
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


def name_special(path: Path | str) -> str | None:
    """What stands at a path instead of a file or a folder, links followed; None: a file, a folder, or nothing."""
    try:
        return SPECIAL_KINDS.get(stat.S_IFMT(os.stat(path).st_mode))  # noqa: PTH116 (texts come here by the hundred thousand)
    except (OSError, ValueError):
        return "a link that leads nowhere" if os.path.islink(path) else None  # noqa: PTH114


def validate_path(path: Path | str) -> None:
    """UserError unless a path leads to a file, a folder or nothing."""
    special = name_special(path)
    if special is not None:
        raise UserError(f"{path}: is {special}, no file; remove it, or put a file in its place")


def find_special(folder: Path | str) -> Iterator[str]:
    """Paths in a folder and in all that are in it, links followed once, at which `validate_path` raises.

    One pass over the entries of each folder, no question about a single file: folders hold hundreds of thousands.
    """
    waiting, seen = [os.fspath(folder)], set()
    while waiting:
        place = waiting.pop()
        real = os.path.realpath(place)
        if real in seen:
            continue
        seen.add(real)
        try:
            with os.scandir(place) as entries:
                for entry in entries:
                    if is_folder(entry):
                        waiting.append(entry.path)
                    elif not is_file(entry):
                        yield entry.path
        except OSError:  # of a folder that may not be read: whoever reads it says so
            continue


def is_file(entry: os.DirEntry) -> bool:
    """Whether an entry is a regular file, links followed; a link in a circle is none."""
    try:
        return entry.is_file()
    except OSError:
        return False
