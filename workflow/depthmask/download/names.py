"""File names from untrusted sources (headers, URLs, listings, archives), and paths joined from them.

A name that could be any name (`make_name`: from a server or a URL) is sanitised. A name that means something (`find_fault`: a
image in an archive or listing whose mask has the same name) is accepted as it is or rejected, never changed.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Collection
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from depthmask.base.errors import UserError
from depthmask.base.paths import show_path
from depthmask.base.terminal import CONTROL, escape_controls
from depthmask.catalog.archives import TO_FOLDER

NAME_BYTES_MAX = 200  # of a sanitised name: leaves room for a prefix and suffix
PART_BYTES_MAX = 255  # of a name that is kept: the limit of file systems
PATH_BYTES_MAX = 2000
FOLDERS_DEEP_MAX = 32
NAME_SHOWN_MAX = 80
FALLBACK = "archive"
SEPARATORS = re.compile(r"[/\\]")
SUFFIX = re.compile(r"(\.[A-Za-z0-9]{1,8}){1,2}\Z")
# control and format characters (including bidirectional marks), lone surrogates, line ends
HIDDEN_CATEGORIES = ("Cc", "Cf", "Cs", "Zl", "Zp")
HALF = re.compile("[\ud800-\udfff]")  # how Python decodes bytes that are not UTF-8


def make_name(text: str, fallback: str = FALLBACK) -> str:
    """A file name from any text: its last component, at most NAME_BYTES_MAX bytes of UTF-8, suffix kept.

    No separators, control or format characters, lone surrogates, or dots and spaces at its ends; `fallback` if nothing is left.
    """
    last = next((part for part in reversed(SEPARATORS.split(text[-10_000:])) if part.strip(". \0")), "")
    shown = "".join("_" if unicodedata.category(letter) in HIDDEN_CATEGORIES else letter for letter in last)
    name = _cut(unicodedata.normalize("NFC", shown).strip(". "), NAME_BYTES_MAX)
    return name if name.strip("_ ") else fallback


def make_unique(name: str, taken: Collection[str]) -> str:
    """`name`, with -2, -3, ... before its suffix if needed, so that no file system confuses it with one of `taken`."""
    folded = {fold(other) for other in taken}
    if fold(name) not in folded:
        return name
    suffix = _find_suffix(name)
    for number in range(2, len(folded) + 3):
        tail = f"-{number}{suffix}"
        candidate = _cut(name[: len(name) - len(suffix)], NAME_BYTES_MAX - len(tail.encode())) + tail
        if fold(candidate) not in folded:
            return candidate
    raise AssertionError("one of that many names is free")


def fold(name: str) -> str:
    """A key that is equal for names that some file system confuses: by case, or by Unicode composition."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


class Fault(NamedTuple):
    """What is wrong with a path, in words that follow its name, and what to do; remedy None: do not trust where it is from."""

    words: str
    remedy: str | None = None


def to_slashes(path: str) -> str:
    """A path of an archive or a listing, whose separators older Windows tools write as backslashes."""
    return path.replace("\\", "/")


def find_fault(path: str) -> Fault | None:
    """What is wrong with a relative path from a listing or archive; None if nothing.

    The path may contain `.` and empty components.
    """
    if not path:
        return Fault("a name without letters")
    if "\\" in path or "\x00" in path or ".." in path.split("/"):
        return Fault("a path outside it")
    if path.startswith("/") or path[1:2] == ":":  # as tools write them that pack without cutting the start of a path
        return Fault("a path outside it", f"if you trust it, unpack it {TO_FOLDER}")
    if HALF.search(path):
        return Fault("a name that is not UTF-8", "rename it, or pack it again with UTF-8 names")
    if CONTROL.search(path):  # joiners are needed by some scripts, so reject only what hides or breaks the displayed name
        return Fault("a name with control characters", "rename it")
    parts = [part for part in path.split("/") if part not in ("", ".")]
    longest = max((len(part.encode()) for part in parts), default=0)
    if longest > PART_BYTES_MAX:
        return Fault(f"a name of {longest:,} bytes (at most {PART_BYTES_MAX})", "give it a shorter name")
    if len(parts) > FOLDERS_DEEP_MAX:
        return Fault(f"a path of {len(parts):,} nested folders (at most {FOLDERS_DEEP_MAX})", "pack it again from further inside")
    if len(path.encode()) > PATH_BYTES_MAX:
        return Fault(f"a path of {len(path.encode()):,} bytes (at most {PATH_BYTES_MAX:,})", "give it a shorter path")
    return None


def show_name(name: str) -> str:
    """A name for messages: unprintable characters escaped, long names shortened in the middle."""
    shown = escape_controls(show_path(name)) or "''"
    half = NAME_SHOWN_MAX // 2 - 2
    return shown if len(shown) <= NAME_SHOWN_MAX else f"{shown[:half]}...{shown[-half:]}"


def join_inside(folder: Path, name: str | PurePosixPath) -> Path:
    """`folder / name`, checked to be inside `folder` after following links; `name` is relative.

    Raises:
        UserError: it would be outside.
    """
    target = folder / name
    parts = PurePosixPath(name).parts
    inside = parts and ".." not in parts and not PurePosixPath(name).is_absolute()
    if not inside or not _is_within(os.path.realpath(target.parent), os.path.realpath(folder)):
        raise UserError(f"{folder}: {show_name(str(name))} leads outside it; do not trust where it comes from")
    return target


def _is_within(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)


def _find_suffix(name: str) -> str:
    found = SUFFIX.search(name, 1)
    return found[0] if found else ""


def _cut(name: str, num_bytes: int) -> str:
    """Shorten a name to num_bytes, keeping its suffix; no character is split."""
    data, suffix = name.encode(), _find_suffix(name).encode()
    if len(data) <= num_bytes:
        return name
    return data[: num_bytes - len(suffix)].decode(errors="ignore").rstrip() + suffix.decode()
