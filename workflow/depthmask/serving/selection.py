"""From the arguments of a command to photos, each with its background and the place of its results."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from depthmask.errors import UserError
from depthmask.sources.images import SUFFIXES

BACKGROUND = "_background"  # at the end of a photo's stem: it is the bare background of another photo


@dataclass(frozen=True)
class Selected:
    """out: where results go, without what is added to it: DIR/sub/dog for dog.jpg; background: beside it, or None."""

    path: Path
    out: Path
    background: Path | None


def is_photo(path: Path) -> bool:
    """Whether a file of a folder is taken for a photo; hidden ones are not."""
    return path.suffix.lower() in SUFFIXES and path.name[0] != "." and path.is_file()


def select_photos(arguments: Sequence[str], lines: Iterable[str], out: Path, leave_out: Path | None = None) -> list[Selected]:
    """Files as they are named; folders with all that is below them, mirrored under `out`; globs; `-`: a path a line of `lines`.

    NAME_background.EXT beside NAME.EXT is that photo's background and no photo of its own. leave_out: a file that is no photo
    either. A file that is named twice counts once; whether a named file is there is not looked at.

    Raises:
        UserError: a glob or a folder has no photo, `out` is a folder of photos, or two photos would get the same results, or
            results would overwrite a photo.
    """
    found: dict[Path, tuple[Path, Path]] = {}  # by the resolved path: path, and result's path below `out`
    for argument in arguments:
        for path, below in _expand(argument, lines, out):
            found.setdefault(path.resolve(), (path, below))
    beside = _Neighbours()
    left_out = None if leave_out is None else leave_out.resolve()
    photos = [
        Selected(path, out / below.with_suffix(""), beside.find_background(path))
        for resolved, (path, below) in found.items()
        if resolved != left_out and not beside.is_background(path)
    ]
    if not photos:
        raise UserError(f"{' '.join(arguments)}: no photos there; photos of folders end in {', '.join(SUFFIXES)}")
    _refuse_clashes(photos)
    return photos


def refuse_overwriting(photos: Sequence[Selected], outputs: Iterable[Path]) -> None:
    """Raises UserError if one of the files to write is among the photos or their backgrounds."""
    inputs = {path.resolve() for photo in photos for path in (photo.path, photo.background) if path is not None}
    for output in outputs:
        if output.resolve() in inputs:
            raise UserError(f"{output}: a photo to predict, and would be overwritten by a result; choose another --out")


def _expand(argument: str, lines: Iterable[str], out: Path) -> Iterator[tuple[Path, Path]]:
    """Photos of an argument, each with the path of its results below `out`."""
    if argument == "-":
        for line in lines:
            if line.strip():
                yield from _expand_path(Path(line.rstrip("\r\n")), out)
    elif glob.has_magic(argument) and not os.path.lexists(argument):
        matches = sorted(glob.glob(argument, recursive=True))  # noqa: PTH207 (Path.glob takes no absolute pattern)
        if not matches:
            raise UserError(f"{argument}: matches no file")
        for match in matches:
            yield from _expand_path(Path(match), out)
    else:
        yield from _expand_path(Path(argument), out)


def _expand_path(path: Path, out: Path) -> Iterator[tuple[Path, Path]]:
    if not path.is_dir():
        yield path, Path(path.name)
        return
    if path.resolve() == out.resolve():
        raise UserError(f"--out {out}: the folder of the photos itself, where results would be taken for photos; choose another")
    for folder, below, names in os.walk(path):
        # in order, without hidden folders and without what an earlier call wrote
        below[:] = sorted(name for name in below if name[0] != "." and Path(folder, name).resolve() != out.resolve())
        for name in sorted(names):
            if is_photo(Path(folder, name)):
                yield Path(folder, name), Path(folder, name).relative_to(path)


class _Neighbours:
    """The photos of each folder by stem, read once a folder."""

    def __init__(self):
        self._stems: dict[Path, dict[str, Path]] = {}

    def is_background(self, path: Path) -> bool:
        name = path.stem.removesuffix(BACKGROUND)
        return name != path.stem and name in self._list(path.parent)

    def find_background(self, path: Path) -> Path | None:
        return self._list(path.parent).get(path.stem + BACKGROUND)

    def _list(self, folder: Path) -> dict[str, Path]:
        if folder not in self._stems:
            paths = sorted(folder.iterdir(), reverse=True) if folder.is_dir() else []  # of several, the first by name
            self._stems[folder] = {path.stem: path for path in paths if is_photo(path)}
        return self._stems[folder]


def _refuse_clashes(photos: Sequence[Selected]) -> None:
    taken: dict[Path, Path] = {}
    for photo in photos:
        other = taken.setdefault(photo.out, photo.path)
        if other != photo.path:
            raise UserError(
                f"{other} and {photo.path}: both would be written as {photo.out}_...; rename one, name their folder (results are"
                " mirrored), or call twice with another --out"
            )
