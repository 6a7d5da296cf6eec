"""Pipes, sockets, devices, and links that lead nowhere, where files are expected: whoever opens a pipe waits for ever."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from depthmask.base.errors import UserError

KINDS = {stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device"}


def name_special(path: Path | str) -> str | None:
    """What stands at a path instead of a file or a folder, links followed; None: a file, a folder, or nothing."""
    try:
        return KINDS.get(stat.S_IFMT(os.stat(path).st_mode))  # noqa: PTH116 (texts come here by the hundred thousand)
    except (OSError, ValueError):
        return "a link that leads nowhere" if os.path.islink(path) else None  # noqa: PTH114


def refuse_special(path: Path | str) -> None:
    """UserError unless a path leads to a file, a folder or nothing."""
    special = name_special(path)
    if special is not None:
        raise UserError(f"{path}: is {special}, no file; remove it, or put a file in its place")


def find_special(folder: Path | str) -> Iterator[str]:
    """Paths in a folder and in all that are in it, links followed once, at which `refuse_special` raises.

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


def is_folder(entry: os.DirEntry) -> bool:
    """Whether an entry is a folder, links followed; a link in a circle is none."""
    try:
        return entry.is_dir()
    except OSError:
        return False
