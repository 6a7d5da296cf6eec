"""From the arguments of a command to photos, each with its background and the place of its results."""

from __future__ import annotations

import fnmatch
import glob
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from depthmask.base.errors import UserError
from depthmask.base.paths import is_folder, resolve_path, show_path
from depthmask.data.images import SUFFIXES

LINE_BYTES_MAX, LINES_MAX = 65536, 1_000_000  # of a list: a path has 4096 bytes at most
BACKGROUND = "_background"  # at the end of a photo's stem: it is the clean background of another photo


@dataclass(frozen=True)
class Selected:
    """out: where results go, without what is added to it: DIR/sub/dog for dog.jpg; background: beside it, or None."""

    path: Path
    out: Path
    background: Path | None


def has_name_of_photo(name: str) -> bool:
    """Whether a name in a folder is that of a photo; hidden ones are not."""
    return Path(name).suffix.lower() in SUFFIXES and name[0] != "."


def is_photo(path: Path) -> bool:
    """Whether a file of a folder is taken for a photo."""
    try:
        return has_name_of_photo(path.name) and path.is_file()
    except OSError:
        return False


def read_list(stream: IO[str] | None) -> Iterator[str]:
    """The lines of standard input, each a path; bytes that are no UTF-8 are kept, as the operating system gives them.

    Raises:
        UserError: it is closed, cannot be read, or is no list of paths.
    """
    if stream is None:
        raise UserError("-: standard input is closed; give it a list of photos, a path a line")
    data = getattr(stream, "buffer", stream)
    try:
        for number in range(1, LINES_MAX + 2):
            line = data.readline(LINE_BYTES_MAX)
            if len(line) == LINE_BYTES_MAX or number > LINES_MAX:
                what = f"line {number} has more than {LINE_BYTES_MAX:,} bytes" if number <= LINES_MAX else "it does not end"
                raise UserError(f"-: standard input is no list of photos, a path a line: {what}")
            if not line:
                return
            yield os.fsdecode(line)
    except OSError as error:
        raise UserError(f"-: standard input cannot be read ({error.strerror}); give it a path a line") from error


def select_photos(arguments: Sequence[str], lines: Iterable[str], out: Path, leave_out: Path | None = None) -> list[Selected]:
    """Files as they are named; folders with all that is below them, mirrored under `out`; globs; `-`: a path a line of `lines`.

    NAME_background.EXT beside NAME.EXT is that photo's background and no photo of its own. leave_out: a file that is no photo
    either. A file that is named twice counts once; whether a named file is there is not looked at.

    Raises:
        UserError: a glob or a folder has no photo, `out` is a folder of photos, or two photos would get the same results, or
            results would overwrite a photo, or folders lie within each other without end.
    """
    try:
        return _select_photos(arguments, lines, out, leave_out)
    except RecursionError:
        raise UserError(f"{_join(arguments)}: folders lie too deep within each other; name a folder further down") from None


def _select_photos(arguments: Sequence[str], lines: Iterable[str], out: Path, leave_out: Path | None) -> list[Selected]:
    found: dict[Path, tuple[Path, Path]] = {}  # by the resolved path: path, and result's path below `out`
    for argument in arguments:
        for path, below in _expand(argument, lines, out):
            found.setdefault(resolve_path(path), (path, below))
    beside = _Neighbours()
    left_out = None if leave_out is None else resolve_path(leave_out)
    photos = [
        Selected(path, out / below.with_suffix(""), beside.find_background(path))
        for resolved, (path, below) in found.items()
        if resolved != left_out and not beside.is_background(path)
    ]
    if not photos:
        raise UserError(f"{_join(arguments)}: no photos there; photos of folders end in {', '.join(SUFFIXES)}")
    _refuse_clashes(photos)
    return photos


def _join(arguments: Sequence[str]) -> str:
    return show_path(" ".join(arguments[:3]) + (f" and {len(arguments) - 3} more" if len(arguments) > 3 else ""))


def refuse_overwriting(photos: Sequence[Selected], outputs: Iterable[Path]) -> None:
    """Raises UserError if one of the files to write is among the photos or their backgrounds."""
    inputs = {resolve_path(path) for photo in photos for path in (photo.path, photo.background) if path is not None}
    for output in outputs:
        if resolve_path(output) in inputs:
            raise UserError(
                f"{show_path(output)}: a photo to predict, and would be overwritten by a result; choose another --out"
            )


def _expand(argument: str, lines: Iterable[str], out: Path) -> Iterator[tuple[Path, Path]]:
    """Photos of an argument, each with the path of its results below `out`."""
    if argument == "-":
        for line in lines:
            if line.strip():
                yield from _expand_path(Path(line.rstrip("\r\n")), out)
    elif glob.has_magic(argument) and not os.path.lexists(argument):
        matches = sorted({str(path) for path in _match(Path(), Path(argument).parts)})
        if not matches:
            raise UserError(f"{show_path(argument)}: matches no file")
        for match in matches:
            yield from _expand_path(Path(match), out)
    else:
        yield from _expand_path(Path(argument), out)


def _match(folder: Path, parts: Sequence[str]) -> Iterator[Path]:
    """What fits a glob below a folder. `**` follows no link, with which glob.glob walks in circles."""
    if not parts:
        yield folder
        return
    first, rest = parts[0], parts[1:]
    if first == "**":
        for path, folders, names in os.walk(folder):
            folders[:] = [name for name in folders if name[0] != "."]
            yield from _match(Path(path), rest)
            yield from (Path(path, name) for name in ([] if rest else names) if name[0] != ".")
    elif glob.has_magic(first):
        for name in _list_names(folder):
            is_meant = fnmatch.fnmatchcase(name, first) and (name[0] != "." or first[0] == ".")
            if is_meant and (not rest or is_folder(folder / name)):
                yield from _match(folder / name, rest)
    elif os.path.lexists(folder / first):
        yield from _match(folder / first, rest)


def _list_names(folder: Path) -> list[str]:
    try:
        return [path.name for path in folder.iterdir()]
    except (OSError, ValueError):
        return []


def _expand_path(path: Path, out: Path) -> Iterator[tuple[Path, Path]]:
    if not is_folder(path):
        yield path, Path(path.name)
        return
    if resolve_path(path) == resolve_path(out):
        raise UserError(
            f"--out {show_path(out)}: the folder of the photos itself, where results would be taken for photos; choose another"
        )
    closed: list[OSError] = []  # folders that may not be listed: each a failure of its own, not a silence
    for folder, below, names in os.walk(path, onerror=closed.append):
        # in order, without hidden folders and without what an earlier call wrote
        below[:] = sorted(name for name in below if name[0] != "." and resolve_path(Path(folder, name)) != resolve_path(out))
        for name in sorted(names):
            if has_name_of_photo(name):  # a link that leads nowhere, or a pipe, is said to be one
                yield Path(folder, name), Path(folder, name).relative_to(path)
    for error in closed:
        yield Path(error.filename), Path(error.filename).relative_to(path)


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
            names = sorted(_list_names(folder), reverse=True)  # of several, the first by name
            self._stems[folder] = {path.stem: path for path in (folder / name for name in names) if is_photo(path)}
        return self._stems[folder]


def _refuse_clashes(photos: Sequence[Selected]) -> None:
    taken: dict[Path, Path] = {}
    for photo in photos:
        other = taken.setdefault(photo.out, photo.path)
        if other != photo.path:
            first, second, result = (show_path(path) for path in (other, photo.path, photo.out))
            raise UserError(
                f"{first} and {second}: both would be written as {result}_...; rename one, name their folder (results are"
                " mirrored), or call twice with another --out"
            )
