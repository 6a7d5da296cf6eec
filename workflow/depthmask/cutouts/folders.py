"""Lists folders of pictures at any depth, and finds the one that an annotation names."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple
from urllib.parse import unquote

from depthmask.base.errors import UserError
from depthmask.base.terminal import count
from depthmask.cutouts.objects import Unread
from depthmask.data.formats import SUFFIXES, is_hidden
from depthmask.download.names import fold

LABEL_SUFFIXES = (".png", ".tif", ".tiff", ".bmp", ".gif", ".webp")
OWN = ".cutouts"  # the folder that marks a result of this command
ROOT_PARTS = 2  # of a folder's own path that a name in an annotation may begin with


def require_folder(path: Path | None, option: str, what: str) -> Path:
    """Raise UserError unless an option names an existing folder."""
    if path is None:
        raise UserError(f"{option}: is missing; name the {what}")
    if not path.is_dir():
        raise UserError(f"{option} {path}: {'is not a folder' if path.exists() else 'no such folder'}; name the {what}")
    return path


def require_file(path: Path | None, option: str, what: str) -> Path:
    """Raise UserError unless an option names an existing file."""
    if path is None:
        raise UserError(f"{option}: is missing; name the {what}")
    if path.is_dir():
        raise UserError(f"{option} {path}: is a folder; name the {what}")
    if not path.is_file():
        raise UserError(f"{option} {path}: no such file; name the {what}")
    return path


def walk(folder: Path) -> Iterator[str]:
    """Relative paths with / of all files in a folder at any depth, sorted within each folder.

    Hidden ones are ignored, and folders below it that this command has written.
    """
    seen = set()
    for place, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(place)
        if real in seen or (place != os.fspath(folder) and OWN in folders):  # the first: a link to a folder above
            folders[:] = []
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not is_hidden(name))
        within = Path(place).relative_to(folder)
        yield from ((within / name).as_posix() for name in sorted(files) if not is_hidden(name))


class Matched(NamedTuple):
    """found: the picture of each name, or None. by_name_alone: names found in a folder of another name."""

    found: dict[str, str | None]
    by_name_alone: dict[str, str]

    def describe(self) -> list[str]:
        """For the user, if there is anything to check."""
        if not self.by_name_alone:
            return []
        name, picture = next(iter(self.by_name_alone.items()))
        number = count(len(self.by_name_alone), "picture")
        return [f"{number} found by file name alone, such as {picture} for {name}; check that they are the same"]


class PictureFolder:
    """The pictures of a folder at any depth. files: path by relative name; others: files that are no pictures."""

    def __init__(self, folder: Path, suffixes: Collection[str] = SUFFIXES):
        self.folder = folder
        self.files: dict[str, Path] = {}
        self.others: list[str] = []
        for name in walk(folder):
            if name.lower().endswith(tuple(suffixes)):
                self.files[name] = folder / name
            else:
                self.others.append(name)
        self._index()

    def _index(self) -> None:
        self._by_stem: dict[str, list[str]] = defaultdict(list)
        self._by_end: dict[str, list[str]] = defaultdict(list)
        root = self.folder.absolute().parts[-ROOT_PARTS:]
        for name in self.files:
            self._by_stem[strip_suffix(name)].append(name)
            parts = (*root, *name.split("/"))
            for start in range(len(parts)):
                self._by_end[fold("/".join(parts[start:]))].append(name)
        self._num_parts_max = max((len(root) + name.count("/") + 1 for name in self.files), default=0)

    def match(self, names: Collection[str], used: Collection[str] = ()) -> Matched:
        """The picture that each name in an annotation means, other than those in `used`.

        The path itself, else the file that shares most parts of the path from its end on, at least the file name. A path that
        leads out of the folder is never followed. None if there is none, if several are as good, or if several names would be
        the same picture: 0001.jpg of one folder is not that of another.
        """
        exact = {name: _tidy(name) for name in names}
        found = {name: path if path in self.files and path not in used else None for name, path in exact.items()}
        taken = {*used, *found.values()}
        claims: dict[str, list[tuple[int, str]]] = defaultdict(list)
        for name, path in exact.items():
            best = None if found[name] else self._find_nearest(path)
            if best is not None and best[1] not in taken:
                claims[best[1]].append((best[0], name))
        by_name_alone = {}
        for picture, claiming in claims.items():
            most = max(shared for shared, _ in claiming)
            nearest = [name for shared, name in claiming if shared == most]
            if len({exact[name] for name in nearest}) == 1:
                found |= dict.fromkeys(nearest, picture)
                if most == 1 and "/" in exact[nearest[0]]:
                    by_name_alone[nearest[0]] = picture
        return Matched(found, by_name_alone)

    def _find_nearest(self, path: str) -> tuple[int, str] | None:
        """The picture that shares most parts with a path from its end on, and how many; None without one, or with several."""
        for text in dict.fromkeys((path, unquote(path))):
            parts = PurePosixPath(text).parts
            for shared in range(min(len(parts), self._num_parts_max), 0, -1):
                found = self._by_end.get(fold("/".join(parts[-shared:])), [])
                found = [name for name in found if PurePosixPath(name).name == parts[-1]] or found
                if found:
                    return (shared, found[0]) if len(found) == 1 else None
        return None

    def leave_out_folder(self, folder: Path) -> None:
        """Forget all files in a folder within this one."""
        start = f"{folder.as_posix()}/"
        self.files = {name: path for name, path in self.files.items() if not name.startswith(start)}
        self.others = [name for name in self.others if not name.startswith(start)]
        self._index()

    def find_stem(self, stem: str) -> str | None:
        """The picture of that relative name, whatever its suffix; None if there is none, or several."""
        found = self._by_stem.get(stem, [])
        return found[0] if len(found) == 1 else None

    def list_unread(self, used: Collection[str], why: str = "pictures that the annotation does not name") -> list[Unread]:
        """What is in the folder and not in `used`: pictures, and other files by suffix."""
        left = [name for name in self.files if name not in used]
        unread = [Unread(f"{why}, in {self.folder}", len(left), left[0])] if left else []
        return unread + count_by_suffix(self.others, self.folder)


def separate(photos: PictureFolder, labels: PictureFolder) -> None:
    """Where one folder is inside the other, what is in the inner one belongs to that alone: a label picture is no photo.

    Raises:
        UserError: they are the same folder.
    """
    outer, inner = photos.folder.resolve(), labels.folder.resolve()
    if outer == inner:
        raise UserError(
            f"{photos.folder}: is both --images and --annotations; put the label pictures or masks into a folder of their own"
        )
    if inner.is_relative_to(outer):
        photos.leave_out_folder(inner.relative_to(outer))
    elif outer.is_relative_to(inner):
        labels.leave_out_folder(outer.relative_to(inner))


def _tidy(name: str) -> str:
    return PurePosixPath(name.replace("\\", "/")).as_posix()


def count_by_suffix(names: Iterable[str], folder: Path) -> list[Unread]:
    """Files that are not read, by suffix, each with an example."""
    by_suffix: dict[str, list[str]] = defaultdict(list)
    for name in names:
        by_suffix[PurePosixPath(name).suffix.lower() or "files without a suffix"].append(name)
    return [Unread(f"{suffix}, in {folder}", len(found), found[0]) for suffix, found in sorted(by_suffix.items())]


def strip_suffix(name: str) -> str:
    """A relative name without the suffix of its last part."""
    return PurePosixPath(name).with_suffix("").as_posix()


def match_stems(pictures: Collection[str], others: Collection[str], endings: Iterable[str] = ()) -> dict[str, list[str]]:
    """For each picture, the files in `others` (a folder like its own) that belong to it: {picture: [file]}.

    The same relative name without suffix, or else the same file name if that is unique; `endings` (of the stem) are ignored.
    """

    def simplify(name: str) -> str:
        stem = strip_suffix(name)
        return next((stem.removesuffix(ending) for ending in endings if stem.endswith(ending)), stem)

    by_path, by_base = defaultdict(list), defaultdict(list)
    for picture in pictures:
        by_path[simplify(picture)].append(picture)
        by_base[PurePosixPath(simplify(picture)).name].append(picture)
    matched: dict[str, list[str]] = defaultdict(list)
    for other in others:
        name = simplify(other)
        found = by_path.get(name) or by_base.get(PurePosixPath(name).name, [])
        if len(found) == 1:
            matched[found[0]].append(other)
    return matched
