"""What lies at a path before anything is opened there, and a path as text."""

from __future__ import annotations

import errno
import re
import stat
from pathlib import Path

SURROGATES = re.compile("[\ud800-\udfff]")
NO_SUCH_FILE = "no such file"
KINDS = {
    stat.S_IFDIR: "is a folder",
    stat.S_IFIFO: "is a pipe",
    stat.S_IFSOCK: "is a socket",
    stat.S_IFCHR: "is a device",
    stat.S_IFBLK: "is a device",
}


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
