"""Puts what several archives contain into one folder, as if one archive had contained it all."""

from __future__ import annotations

import filecmp
import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from depthmask.base.errors import UserError
from depthmask.catalog.archives import cut_copy, read_download
from depthmask.catalog.layouts import Layout
from depthmask.download.names import join_inside, make_name, make_unique, show_name
from depthmask.download.places import Places
from depthmask.download.unpack import unpack
from depthmask.download.wrappers import find_root, find_roots, look_through, require_one, skip_top_folder


@dataclass(frozen=True)
class Archive:
    """One of several archives. path: of its bytes; name: as its owner calls it; shown: in messages; parent: its folder."""

    path: Path
    name: str
    shown: str
    parent: str = ""


class Assembler:
    """Fills a folder from archives, one after the other.

    A tree in which the layout is recognised is merged into the folder, without what wraps it; other contents go into a
    subfolder named as the archive. layout None: a list of sets says where each folder is to be found, so that only the latter
    is done.
    """

    def __init__(self, folder: Path, layout: Layout | None, places: Places):
        self.folder, self.layout, self.places = folder, layout, places
        self._names: dict[tuple[str, ...], str] = {}  # subfolders by archive, of those that are numbered
        self._kept: list[Path] = []  # the subfolders named as archives
        self._num = 0

    def add(self, archive: Archive, numbered: bool) -> None:
        """Unpack an archive and put its contents into place.

        numbered: another archive of the same name gets a number, because its name was chosen by nobody who knows of this one.

        Raises:
            UserError: it is rejected, or has a file of another archive with other content.
        """
        self._num += 1
        self.places.archives.add(archive.shown)
        aside = self.folder.with_name(f"{self.folder.name}.{self._num}")
        unpack(archive.path, aside, archive.shown)
        base = PurePosixPath(archive.parent)
        download = read_download(archive.name)
        stem = make_name(download.stem)
        if self.layout is not None and not self.layout.searches and self._merge_layout(archive, aside, base):
            shutil.rmtree(aside)
            return
        if self.layout is not None and self.layout.knows(cut_copy(stem)):
            stem, inner = cut_copy(stem), look_through(aside)
        else:
            inner = look_through(aside, stem) if self.layout is not None else skip_top_folder(aside)
            inner = inner if inner.name == stem else aside
            if numbered:
                key = (download.stem, download.time, "" if download.time else archive.shown)
                stem = self._names.setdefault(key, make_unique(stem, list(self._names.values())))
        self._merge(inner, base / stem, archive, aside)
        self._kept.append(join_inside(self.folder, base / stem))
        shutil.rmtree(aside, ignore_errors=True)

    def finish(self, shown: str) -> Path:
        """The folder that contains the layout, once all archives have been added; shown: where they are.

        Raises:
            UserError: there is none, or there are several.
        """
        if self.layout is None or not self.layout.needs:
            return self.folder
        for kept in dict.fromkeys(self._kept if self.layout.searches else []):
            roots = find_roots(kept, self.layout)
            inner = Path(os.path.commonpath(roots)) if roots else kept
            if inner != kept and not self.layout.knows(kept.name):
                aside = self.folder.with_name(f"{self.folder.name}.inner")
                inner.rename(aside)
                shutil.rmtree(kept)
                aside.rename(kept)
                self.places.follow(inner, kept)
        return find_root(self.folder, self.layout, shown)

    def _merge_layout(self, archive: Archive, aside: Path, base: PurePosixPath) -> bool:
        """Merge the layout's files of an unpacked tree, with what is beside them; False if there are none."""
        roots = find_roots(aside, self.layout)
        require_one(roots, aside, archive.shown)
        for root in roots:
            for entry in sorted(root.iterdir()):
                inner = look_through(entry, entry.name) if entry.is_dir() else entry
                if self.layout.knows(entry.name) or not os.path.lexists(join_inside(self.folder, base / entry.name)):
                    self._merge(inner, base / entry.name, archive, aside)
        return bool(roots)

    def _merge(self, source: Path, name: PurePosixPath, archive: Archive, aside: Path) -> None:
        """Move a file or folder of an unpacked tree to `name` in the folder, into a folder that is there already."""
        target = join_inside(self.folder, name)
        inner = source.relative_to(aside).as_posix()
        if not os.path.lexists(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            source.rename(target)
            self.places.put(target, archive.shown, "" if inner == "." else inner)
        elif source.is_dir() and target.is_dir() and not target.is_symlink():
            for entry in sorted(source.iterdir()):
                self._merge(entry, name / entry.name, archive, aside)
        elif _is_copy(source, target):  # also of a folder that the user unpacked beside its archive
            self.places.used.add(archive.shown)
        elif source.is_file() and target.is_file():
            raise UserError(
                f"{archive.shown}: contains {show_name(inner)}, of which {self.places.explain(str(target))} is another version;"
                " remove one of them"
            )
        else:
            raise UserError(f"{archive.shown}: another archive or folder is called {show_name(str(name))}; rename one")


def require_all_parts(archives: Iterable[Archive]) -> None:
    """Raise UserError if a part of a download that Google Drive split is missing, as far as the numbers of the others show it."""
    parts: dict[tuple[str, str, str], dict[int, Archive]] = {}
    for archive in archives:
        download = read_download(archive.name)
        if download.number:
            parts.setdefault((archive.parent, download.stem, download.time), {})[int(download.number)] = archive
    for found in parts.values():
        last = max(found)
        missing = next((number for number in range(1, last) if number not in found), None)
        if missing is not None:
            raise UserError(
                f"{found[last].shown}: is part {last} of a split download, but part {missing} is missing; download all parts, and"
                " name their folder or all their addresses"
            )


def _is_copy(source: Path, target: Path) -> bool:
    """Whether a file, or every file of a folder, is at `target` with the same content."""
    if source.is_dir():
        return target.is_dir() and all(_is_copy(entry, target / entry.name) for entry in source.iterdir())
    return target.is_file() and filecmp.cmp(source, target, shallow=False)
