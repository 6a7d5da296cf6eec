"""Finds the photos named by a command's arguments, each with its background and where its results go."""

from __future__ import annotations

import fnmatch
import glob
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from depthmask.base.errors import UserError
from depthmask.base.paths import is_folder, resolve_path, show_path
from depthmask.data.formats import SUFFIXES, describe_unread_photos, is_unread_photo

LINE_BYTES_MAX, LINES_MAX = 65536, 1_000_000  # of a list: a path has at most 4096 bytes
BACKGROUND = "_background"  # suffix of the stem: the clean background of another photo


@dataclass(frozen=True)
class Selected:
    """out: prefix of the results, DIR/sub/dog for dog.jpg, or DIR/sub/dog.jpg beside dog.png; background: beside it, or None."""

    path: Path
    out: Path
    background: Path | None


def has_name_of_photo(name: str) -> bool:
    """Whether a file name in a folder is that of a photo; hidden ones are not."""
    return Path(name).suffix.lower() in SUFFIXES and name[0] != "."


def is_photo(path: Path) -> bool:
    """Whether a file in a folder counts as a photo."""
    try:
        return has_name_of_photo(path.name) and path.is_file()
    except OSError:
        return False


def read_list(stream: IO[str] | None) -> Iterator[str]:
    """Yield the lines of standard input, each a path; bytes that are not UTF-8 are kept.

    Raises:
        UserError: it is closed, unreadable, or not a list of paths.
    """
    if stream is None:
        raise UserError("-: standard input is closed; pass a list of photos, one path per line")
    data = getattr(stream, "buffer", stream)
    try:
        for number in range(1, LINES_MAX + 2):
            line = data.readline(LINE_BYTES_MAX)
            if len(line) == LINE_BYTES_MAX or number > LINES_MAX:
                what = f"line {number} has more than {LINE_BYTES_MAX:,} bytes" if number <= LINES_MAX else "it does not end"
                raise UserError(f"-: standard input is not a list of photos, one path per line: {what}")
            if not line:
                return
            yield os.fsdecode(line)
    except OSError as error:
        raise UserError(f"-: standard input cannot be read ({error.strerror}); pass one path per line") from error


def select_photos(
    arguments: Sequence[str], lines: Iterable[str], out: Path, ignore: Path | None = None, unread: list[str] | None = None
) -> list[Selected]:
    """Select files; folders recursively, mirrored under `out`; globs; `-`: the paths in `lines`.

    NAME_background.EXT beside NAME.EXT is that photo's background, not a photo. ignore: a file that is not a photo either. A
    file named twice counts once; whether a named file exists is not checked. unread: takes the paths of photos in folders whose
    format is not read.

    Raises:
        UserError: a glob or folder has no photo, `out` is a folder of photos, two photos would have the same results, results
            would overwrite a photo, or folders are nested too deeply.
    """
    try:
        return _select_photos(arguments, lines, out, ignore, [] if unread is None else unread)
    except RecursionError:
        raise UserError(f"{_join(arguments)}: folders are nested too deeply; choose a folder further down") from None


def _select_photos(
    arguments: Sequence[str], lines: Iterable[str], out: Path, ignore: Path | None, unread: list[str]
) -> list[Selected]:
    found: dict[Path, tuple[Path, Path]] = {}  # by resolved path: path, and path of the result below `out`
    for argument in arguments:
        for path, below in _expand(argument, lines, out, unread):
            found.setdefault(resolve_path(path), (path, below))
    beside = _Neighbours()
    ignored = None if ignore is None else resolve_path(ignore)
    chosen = [pair for resolved, pair in found.items() if resolved != ignored and not beside.is_background(pair[0])]
    names: dict[Path, set[str]] = defaultdict(set)
    for _, below in chosen:
        names[below.with_suffix("")].add(below.name)

    def place(below: Path) -> Path:
        short = below.with_suffix("")
        return out / (below if len(names[short]) > 1 else short)  # the whole name of dog.jpg beside dog.png

    photos = [Selected(path, place(below), beside.find_background(path)) for path, below in chosen]
    if not photos:
        what = describe_unread_photos(unread) or f"photos in folders must end in {', '.join(SUFFIXES)}"
        raise UserError(f"{_join(arguments)}: no photos found; {what}")
    _validate_unique_names(photos)
    return photos


def _join(arguments: Sequence[str]) -> str:
    return show_path(" ".join(arguments[:3]) + (f" and {len(arguments) - 3} more" if len(arguments) > 3 else ""))


def validate_not_overwriting(photos: Sequence[Selected], outputs: Iterable[Path]) -> None:
    """Raise UserError if a file to write is among the photos or their backgrounds."""
    inputs = {resolve_path(path) for photo in photos for path in (photo.path, photo.background) if path is not None}
    for output in outputs:
        if resolve_path(output) in inputs:
            raise UserError(f"{show_path(output)}: is a photo to predict and would be overwritten; choose another --out")


def _expand(argument: str, lines: Iterable[str], out: Path, unread: list[str]) -> Iterator[tuple[Path, Path]]:
    """Yield the photos of an argument, each with the path of its results below `out`."""
    if argument == "-":
        for line in lines:
            if line.strip():
                yield from _expand_path(Path(line.rstrip("\r\n")), out, unread)
    elif glob.has_magic(argument) and not os.path.lexists(argument):
        matches = sorted({str(path) for path in _match(Path(), Path(argument).parts)})
        if not matches:
            raise UserError(f"{show_path(argument)}: matches no file")
        for match in matches:
            yield from _expand_path(Path(match), out, unread)
    else:
        yield from _expand_path(Path(argument), out, unread)


def _match(folder: Path, parts: Sequence[str]) -> Iterator[Path]:
    """Match a glob below a folder. `**` does not follow links, which make glob.glob loop."""
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


def _expand_path(path: Path, out: Path, unread: list[str]) -> Iterator[tuple[Path, Path]]:
    if not is_folder(path):
        yield path, Path(path.name)
        return
    if resolve_path(path) == resolve_path(out):
        raise UserError(
            f"--out {show_path(out)}: is the folder of the photos, where results would be mistaken for photos; choose another"
        )
    closed: list[OSError] = []  # folders that cannot be listed: each is reported as a failure
    for folder, below, names in os.walk(path, onerror=closed.append):
        # in order, without hidden folders and results of earlier calls
        below[:] = sorted(name for name in below if name[0] != "." and resolve_path(Path(folder, name)) != resolve_path(out))
        for name in sorted(names):
            if has_name_of_photo(name):  # broken links and pipes are reported as such
                yield Path(folder, name), Path(folder, name).relative_to(path)
            elif is_unread_photo(name):
                unread.append(show_path(Path(folder, name)))
    for error in closed:
        yield Path(error.filename), Path(error.filename).relative_to(path)


class _Neighbours:
    """The photos of each folder by stem, cached per folder."""

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


def _validate_unique_names(photos: Sequence[Selected]) -> None:
    taken: dict[Path, Path] = {}
    for photo in photos:
        other = taken.setdefault(photo.out, photo.path)
        if other != photo.path:
            first, second, result = (show_path(path) for path in (other, photo.path, photo.out))
            raise UserError(
                f"{first} and {second}: both would be written as {result}_...; rename one, pass their folder (results are"
                " mirrored), or use two calls with different --out"
            )
