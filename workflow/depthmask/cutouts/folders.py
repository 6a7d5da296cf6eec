"""Lists folders of pictures at any depth, and finds the one that an annotation names."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path, PurePosixPath

from depthmask.base.errors import UserError
from depthmask.cutouts.objects import Unread
from depthmask.data.formats import SUFFIXES, is_hidden

LABEL_SUFFIXES = (".png", ".tif", ".tiff", ".bmp", ".gif", ".webp")


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
    """Relative paths with / of all files in a folder at any depth, sorted within each folder; hidden ones are ignored."""
    seen = set()
    for place, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(place)
        folders[:] = sorted(name for name in folders if not is_hidden(name)) if real not in seen else []
        if real in seen:  # a link to a folder above
            continue
        seen.add(real)
        within = Path(place).relative_to(folder)
        yield from ((within / name).as_posix() for name in sorted(files) if not is_hidden(name))


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
        self._by_base: dict[str, list[str]] = defaultdict(list)
        self._by_stem: dict[str, list[str]] = defaultdict(list)
        for name in self.files:
            self._by_base[PurePosixPath(name).name].append(name)
            self._by_stem[strip_suffix(name)].append(name)

    def find(self, name: str) -> str | None:
        """The relative name of the picture that an annotation calls `name`: the path if it exists, else the file name.

        A path that leads out of the folder is never followed. None if there is none, or several in different folders.
        """
        name = PurePosixPath(name.replace("\\", "/")).as_posix()
        if name in self.files:
            return name
        found = self._by_base.get(PurePosixPath(name).name, [])
        return found[0] if len(found) == 1 else None

    def find_stem(self, stem: str) -> str | None:
        """The picture of that relative name, whatever its suffix; None if there is none, or several."""
        found = self._by_stem.get(stem, [])
        return found[0] if len(found) == 1 else None

    def list_unread(self, used: Collection[str], why: str = "pictures that the annotation does not name") -> list[Unread]:
        """What is in the folder and not in `used`: pictures, and other files by suffix."""
        left = [name for name in self.files if name not in used]
        unread = [Unread(f"{why}, in {self.folder}", len(left), left[0])] if left else []
        return unread + count_by_suffix(self.others, self.folder)


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
