"""What lies at a path before anything is opened there, and a path as text."""

from __future__ import annotations

import errno
import re
import stat
from pathlib import Path

from depthmask.base.special_files import KINDS as SPECIAL_KINDS

SURROGATES = re.compile("[\ud800-\udfff]")
NO_SUCH_FILE = "no such file"
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


def is_folder(path: Path) -> bool:
    """Whether there is a folder; False for what cannot be one, as a name that is too long."""
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False
