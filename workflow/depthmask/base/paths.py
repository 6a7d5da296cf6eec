"""What is at a path, checked before opening it (opening a pipe blocks forever), and paths as text."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

from depthmask.base.errors import UserError

SURROGATES = re.compile("[\ud800-\udfff]")
NAME_BYTES_MAX = 255  # of most file systems
HASH_CHARACTERS = 12
NO_SUCH_FILE = "no such file"
SPECIAL_KINDS = {stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device"}
KINDS = {stat.S_IFDIR: "is a folder"} | {kind: f"is {name}" for kind, name in SPECIAL_KINDS.items()}


def find_fault_of_file(path: Path) -> str | None:
    """Why there is no file to read at `path`, in a few words; None if there is. It is not opened: a pipe would block forever.

    Raises:
        OSError: permission denied, or the disk fails.
    """
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return NO_SUCH_FILE
    except ValueError:  # raised before the operating system is asked
        return "is not a valid file name: it contains a NUL or half a character"
    except OSError as error:
        if error.errno == errno.ELOOP:
            return "is a link to itself"
        if error.errno == errno.ENAMETOOLONG:
            return "is too long for a file name"
        raise
    return None if stat.S_ISREG(mode) else KINDS.get(stat.S_IFMT(mode), "is not a file")


def show_path(path: str | Path) -> str:
    """A path as printable text: bytes that are not UTF-8 are shown as \\xe9."""
    return SURROGATES.sub(lambda found: f"\\x{ord(found[0]) & 0xFF:02x}", str(path))


def is_utf8(name: str) -> bool:
    """Whether a file name is UTF-8 on disk: Python keeps other bytes as lone surrogates, which no tool can write down."""
    return name.isascii() or SURROGATES.search(name) is None


def make_result_name(name: str, bytes_max: int, *, any_bytes: bool = False) -> str:
    """A name for a file that is made from another one: the same if it is short enough, and UTF-8 unless `any_bytes`.

    Otherwise its start, ~ and a hash of the whole name, so that two such names do not become one.
    """
    data = os.fsencode(name)
    if len(data) <= bytes_max and (any_bytes or is_utf8(name)):
        return name
    ending = f"~{hashlib.sha256(data).hexdigest()[:HASH_CHARACTERS]}"
    start = SURROGATES.sub("_", name).encode()[: bytes_max - len(ending)]
    return start.decode(errors="ignore") + ending


def resolve_path(path: Path) -> Path:
    """Resolve links as far as possible; a link to itself or an invalid name is returned unchanged."""
    try:
        return path.resolve()
    except (OSError, RuntimeError, ValueError):
        return path.absolute()


def is_folder(path: Path | os.DirEntry) -> bool:
    """Whether a path is a folder, following links; False for invalid names and links to themselves."""
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


def name_special(path: Path | str) -> str | None:
    """What is at a path, following links, if it is neither file nor folder; None for a file, a folder or nothing."""
    try:
        return SPECIAL_KINDS.get(stat.S_IFMT(os.stat(path).st_mode))  # noqa: PTH116 (texts come here by the hundred thousand)
    except (OSError, ValueError):
        return "a broken link" if os.path.islink(path) else None  # noqa: PTH114


def validate_path(path: Path | str) -> None:
    """Raise UserError unless a path is a file, a folder or missing, following links."""
    special = name_special(path)
    if special is not None:
        raise UserError(f"{path}: is {special}, not a file; remove it, or put a file in its place")


def find_unfit(folder: Path | str) -> Iterator[tuple[str, str]]:
    """(path, what is wrong) of what `validate_path` rejects or is not named in UTF-8, at any depth, links followed once.

    One pass over the entries of each folder, without a stat per file: folders hold hundreds of thousands.
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
                    if not is_utf8(entry.name):
                        yield show_path(entry.path), "has a name that is not UTF-8; rename it"
                    if is_folder(entry):
                        waiting.append(entry.path)
                    elif not is_file(entry):
                        what = name_special(entry.path) or "not a file"
                        yield entry.path, f"is {what}; remove it, or put a file in its place"
        except OSError:  # an unreadable folder: its reader reports it
            continue


def is_file(entry: os.DirEntry) -> bool:
    """Whether an entry is a regular file, following links; False for link loops."""
    try:
        return entry.is_file()
    except OSError:
        return False
