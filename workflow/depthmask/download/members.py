"""What the readers of archives give: members, and the ways in which an archive is bad."""

from __future__ import annotations

import posixpath
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import IO

from depthmask.base.errors import UserError


class BadArchiveError(UserError):
    """The archive holds what is not taken; nothing of it was kept."""


class DamagedArchiveError(BadArchiveError):
    """The archive cannot be read to its end: it was cut off, or it is none."""


class MemberError(Exception):
    """What is wrong with one member, found where the archive's own name is not known."""

    def __init__(self, name: str, fault: str):
        super().__init__(name, fault)
        self.name, self.fault = name, fault


@dataclass(frozen=True)
class Member:
    """One name in an archive. kind: file, folder, link (to `target`, a path in the archive), or what is refused.

    num_bytes: as the archive declares it. open: its bytes, of a file.
    """

    name: str
    kind: str
    num_bytes: int
    open: Callable[[], AbstractContextManager[IO[bytes]]]
    target: str = ""


def resolve_link(name: str, target: str) -> str:
    """The path within the archive that a symbolic link at `name` leads to; absolute where it leads out."""
    return target if target.startswith("/") else posixpath.normpath(posixpath.join(posixpath.dirname(name), target))
