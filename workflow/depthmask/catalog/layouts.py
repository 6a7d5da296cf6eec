"""Recognises the folder of a source by the names in it."""

from __future__ import annotations

import os
import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from depthmask.base.paths import is_file
from depthmask.catalog.archives import explain_foreign
from depthmask.params import DownloadParams
from depthmask.registry.sources import SOURCES


@dataclass(frozen=True)
class Layout:
    """The names by which the folder of a source is recognised: patterns, of which all of `needs` must be there.

    searches: the source itself looks for them, up to two folders deep.
    """

    name: str
    needs: tuple[str, ...] = ()
    may_have: tuple[str, ...] = ()
    searches: bool = False

    @classmethod
    def of(cls, download: DownloadParams) -> Layout:
        spec = SOURCES[download.source]
        more = () if download.backgrounds is None else (re.escape(Path(download.backgrounds).parts[0]),)
        return cls(download.source, spec.needs, (*spec.may_have, *more), spec.searches)

    def knows(self, name: str) -> bool:
        """Whether a name directly in the source's folder belongs to it."""
        return any(re.fullmatch(pattern, name, re.ASCII) for pattern in (*self.needs, *self.may_have))

    def is_complete(self, names: Collection[str]) -> bool:
        """Whether names directly in a folder make it the source's."""
        return all(any(re.fullmatch(pattern, name, re.ASCII) for name in names) for pattern in self.needs)

    def describe(self) -> str:
        """The names that a source needs, for messages."""
        return " and ".join(re.sub(r"_\?\\d\+$|\\d\+$", "NUMBER", pattern) for pattern in self.needs)


def explain_foreign_in(folder: Path, download: DownloadParams) -> str | None:
    """Which archive of a kind that is not read is in a local folder that lacks folders of the source; None if none is."""
    with os.scandir(folder) as entries:
        files = {entry.name: is_file(entry) for entry in entries}
    foreign = min((name for name, is_one in files.items() if is_one and explain_foreign(name)), default=None)
    if foreign is None or Layout.of(download).is_complete(files):
        return None
    return f"{folder / foreign}: {explain_foreign(foreign)}"
