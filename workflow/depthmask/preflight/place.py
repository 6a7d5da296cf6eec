"""Compares paths by where they lead: to the same place, or one into the other."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path, PurePosixPath


@dataclass(frozen=True)
class Place:
    """Where a path leads: its spellings without links and `..`, and those of all its parents.

    Device and inode catch what spelling does not: case, mounts, Unicode composition.
    """

    forms: frozenset[str]
    above: frozenset[str]
    identity: tuple[int, int] | None
    above_identities: frozenset[tuple[int, int]]

    @classmethod
    def find(cls, path: str | Path) -> Place:
        forms = frozenset({os.path.normpath(Path(path).absolute()), os.path.realpath(path)})
        above = frozenset(str(folder) for form in forms for folder in PurePosixPath(form).parents)
        identities = frozenset(identity for folder in above if (identity := _identify(folder)) is not None)
        return cls(forms, above, _identify(path), identities)

    def relate(self, other: Place) -> str | None:
        """How this place relates to another: `is`, `lies in`, `holds`, or None."""
        if self.forms & other.forms or (self.identity is not None and self.identity == other.identity):
            return "is"
        if other.forms & self.above or other.identity in self.above_identities:
            return "lies in"
        if self.forms & other.above or self.identity in other.above_identities:
            return "holds"
        return None


def _identify(path: str | Path) -> tuple[int, int] | None:
    try:
        status = Path(path).stat()
    except (OSError, ValueError):
        return None
    return status.st_dev, status.st_ino
