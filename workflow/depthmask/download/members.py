"""Archive members, and the ways in which an archive can be bad."""

from __future__ import annotations

import posixpath
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import IO

from depthmask.base.errors import UserError


class BadArchiveError(UserError):
    """The archive contains something that is not accepted; nothing was kept."""


class DamagedArchiveError(BadArchiveError):
    """The archive cannot be read to its end: it is truncated, or not an archive."""


class MemberError(Exception):
    """What is wrong with one member, raised where the archive's name is not known."""

    def __init__(self, name: str, fault: str):
        super().__init__(name, fault)
        self.name, self.fault = name, fault


@dataclass(frozen=True)
class Member:
    """One entry of an archive. kind: file, folder, link (to `target`, a path in the archive), or what is rejected.

    num_bytes: as declared by the archive. open: opens a file's bytes.
    """

    name: str
    kind: str
    num_bytes: int
    open: Callable[[], AbstractContextManager[IO[bytes]]]
    target: str = ""


def resolve_link(name: str, target: str) -> str:
    """The path within the archive that a symbolic link at `name` points to; absolute if it points outside."""
    return target if target.startswith("/") else posixpath.normpath(posixpath.join(posixpath.dirname(name), target))
