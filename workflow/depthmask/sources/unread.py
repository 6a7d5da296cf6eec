"""What a source's folder holds that is not read, so that nothing is dropped without a word.

Files of other formats, files in folders one or more levels too deep, and folders whose names are not those of the layout are
counted, and named with one example. Hidden files and what systems leave behind (Thumbs.db, __MACOSX) are not of interest.
"""

from __future__ import annotations

import contextlib
import difflib
import itertools
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from depthmask.base.paths import is_folder, show_path
from depthmask.data.formats import ARRAY_SUFFIXES, LACKING, OTHER_PICTURES, PICTURES, is_hidden

LINES_MAX = 12
FOLDERS_LISTED = 6
VISITED_MAX = 50_000  # entries outside the source's own folders: it may lie beside anything
DEPTH_MAX = 6
SIMILAR = 0.75  # of difflib's ratio
# what people call the folders of a layout; letters and digits only
OTHER_NAMES = {
    "bg": ("background", "backgrounds", "bgs", "back", "scene", "scenes"),
    "fg": ("foreground", "foregrounds", "fgs", "fore", "cutout", "cutouts", "objects"),
    "bg_depth": ("backgrounddepth", "backgroundsdepth", "bgdepths", "depthbg", "depth", "depths", "depthmaps"),
    "fg_depth": ("foregrounddepth", "foregroundsdepth", "fgdepths", "depthfg", "relief", "reliefs"),
    "images": ("image", "img", "imgs", "rgb", "color", "colour", "photo", "photos", "pictures", "jpegimages"),
    "masks": ("mask", "matte", "mattes", "alpha", "label", "labels", "segmentation", "segmentationclass", "gt"),
    "depth": ("depths", "depthmap", "depthmaps", "depthimages"),
    "background": ("backgrounds", "bg", "bgs", "clean", "cleanplate", "bare"),
}
NUMBERS = (".mat", ".h5", ".hdf5", ".raw", ".bin", ".pt", ".pth", ".tfrecord", ".parquet", ".hdr")
TEXTS = (".txt", ".csv")  # depth only where there is nothing else
VIDEOS = (".mp4", ".mov", ".avi", ".mkv", ".webm")
ARCHIVES = (".zip", ".tar", ".tgz", ".gz", ".7z", ".rar")
SAVE_NUMBERS = "save depth or masks in them as .npy, .tif or 16-bit PNG"
ADVICE = dict.fromkeys(NUMBERS, SAVE_NUMBERS)
ADVICE |= dict.fromkeys((one for one in OTHER_PICTURES if one not in NUMBERS), "convert them to JPEG or PNG")
ADVICE |= dict.fromkeys(VIDEOS, "save frames of them as images") | dict.fromkeys(ARCHIVES, "unpack them")
ADVICE |= dict.fromkeys(ARRAY_SUFFIXES, "save them as PNG")
ADVICE[""] = "give them the suffix of their format, such as .jpg"
DATA_SUFFIXES = {
    *(suffix for one in PICTURES for suffix in one.suffixes),
    *ARRAY_SUFFIXES,
    *OTHER_PICTURES,
    *NUMBERS,
    *VIDEOS,
    ".ply",
}


@dataclass
class _Group:
    """Files of one kind. example: the first by name, relative to the source; hint: what to do."""

    example: str
    hint: str
    num: int = 0


def describe_unread(root: Path, folders: Mapping[Path, tuple[str, ...]], expected: tuple[str, ...]) -> list[str]:
    """A line for each kind of file that is not read; none if all is.

    folders: those that are read, each with the suffixes read in it. expected: names of folders that the layout may have.
    """
    return _Search(root, folders, expected).run()


class _Search:
    def __init__(self, root: Path, folders: Mapping[Path, tuple[str, ...]], expected: tuple[str, ...]):
        self.root, self.expected = root, expected
        self.suffixes = {os.path.abspath(folder): suffixes for folder, suffixes in folders.items()}  # noqa: PTH100
        top = os.path.abspath(root)  # noqa: PTH100
        self.containers = {top}
        for folder in self.suffixes:
            while folder != top and (folder := os.path.dirname(folder)).startswith(top):  # noqa: PTH120
                self.containers.add(folder)
        self.real = {os.path.realpath(folder) for folder in self.suffixes}  # a link may lead to a folder beside it
        self.used = {part for folder in self.suffixes for part in Path(os.path.relpath(folder, top)).parts}
        self.groups: dict[tuple[str, ...], _Group] = {}
        self.num_visited = 0

    def run(self) -> list[str]:
        self._look_into(os.path.abspath(self.root))  # noqa: PTH100
        lines = [self._describe(place, kind, group) for (place, kind, *_), group in self.groups.items()]
        if len(lines) > LINES_MAX:
            lines = [*lines[:LINES_MAX], f"and {len(lines) - LINES_MAX} more kinds of files are not read"]
        if self.num_visited >= VISITED_MAX:
            lines.append(f"{self.root}: holds more than {VISITED_MAX:,} other files; the rest was not looked at")
        return lines

    def _look_into(self, folder: str) -> None:
        """A folder that is read, or holds one that is."""
        suffixes = self.suffixes.get(folder)
        for name, below in _list(folder):
            path = os.path.join(folder, name)  # noqa: PTH118
            if below and (path in self.containers or path in self.suffixes):
                self._look_into(path)
            elif below:
                self._count_folder(folder, path, suffixes is not None)
            elif suffixes is not None and not name.lower().endswith(suffixes):
                self._add(os.path.relpath(folder, self.root), "files", path, _advise(_suffix(name)))
            elif suffixes is None and _suffix(name) in DATA_SUFFIXES:
                where = ", ".join(self.expected[:2])
                self._add(os.path.relpath(folder, self.root), "beside", path, f"only folders such as {where} are")

    def _count_folder(self, parent: str, folder: str, is_below: bool) -> None:
        """A folder that is not read."""
        if os.path.realpath(folder) in self.real:
            return
        place = os.path.relpath(parent, self.root)
        name = os.path.basename(folder)  # noqa: PTH119
        hint = f"move them up into {place}" if is_below else self._advise_name(name)
        for path in self._walk(folder, DEPTH_MAX):
            if is_below or name in self.expected or _suffix(path) in DATA_SUFFIXES:
                self._add(place if is_below else name, "below" if is_below else "elsewhere", path, hint)

    def _walk(self, folder: str, depth: int) -> Iterator[str]:
        for name, below in _list(folder):
            path = os.path.join(folder, name)  # noqa: PTH118
            self.num_visited += 1
            if self.num_visited >= VISITED_MAX:
                return
            if not below:
                yield path
            elif depth and not os.path.islink(path):  # noqa: PTH114
                yield from self._walk(path, depth - 1)

    def _advise_name(self, name: str) -> str:
        similar = find_similar(name, [one for one in self.expected if one not in self.used])
        return f"rename the folder to {similar} if that is what it is" if similar and similar != name else ""

    def _add(self, place: str, kind: str, path: str, hint: str) -> None:
        """Count a file with others of its kind; folders of one name (of a layout with one per background) are one place."""
        key = (os.path.basename(place), kind, _suffix(path)) if kind == "files" else (place, kind)  # noqa: PTH119
        shown = show_path(os.path.relpath(path, self.root))
        group = self.groups.setdefault(key, _Group(shown, hint))
        group.num += 1

    def _describe(self, place: str, kind: str, group: _Group) -> str:
        suffix = _suffix(group.example) or "other"
        where = {
            "files": f"{suffix} {_files(group.num)} in {place}",
            "below": f"{_files(group.num)} in folders below {place}",
            "elsewhere": f"{_files(group.num)} in {place}",
            "beside": f"{_files(group.num)} beside the folders",
        }[kind]
        is_are = "is" if group.num == 1 else "are"
        hint = f"; {group.hint}" if group.hint else ""
        return f"{group.num:,} {where} {is_are} not read, such as {group.example}{hint}"


def find_similar(name: str, wanted: list[str]) -> str | None:
    """The folder's name that another was probably meant to be; None if it is like none."""
    plain = _simplify(name)
    for one in wanted:
        if plain == _simplify(one) or plain in OTHER_NAMES.get(one, ()):
            return one
    close = difflib.get_close_matches(plain, [_simplify(one) for one in wanted], 1, SIMILAR)
    return next((one for one in wanted if close and _simplify(one) == close[0]), None)


def find_misspelt(folder: Path) -> str:
    """What to add to the message that a folder is missing: what was probably meant to be it, or what is in its place."""
    beside = [name for name, below in _list(str(folder.parent)) if below and name != folder.name]
    found = next((name for name in beside if find_similar(name, [folder.name])), None)
    if found is not None:
        return f", but there is {show_path(found)}; rename it to {folder.name} if that is what it is"
    deeper = next((name for name in beside if (folder.parent / name / folder.name).is_dir()), None)
    if deeper is not None:
        shown = show_path(deeper)
        return f", but there is {shown}/{folder.name}; set download.path to the folder {shown} in it, or move its contents up"
    listed = ", ".join(map(show_path, beside[:FOLDERS_LISTED])) + (", ..." if len(beside) > FOLDERS_LISTED else "")
    return f"; the folders there are {listed}" if listed else ""


def describe_content(folder: Path) -> str:
    """What a folder without a file that is read holds, for a message."""
    counts: Counter[str] = Counter()
    below, first = 0, ""
    for name, is_below in _list(str(folder)):
        if is_below:
            for path in itertools.islice(_find_below(folder / name, DEPTH_MAX), VISITED_MAX):
                below, first = below + 1, first or show_path(f"{folder.name}/{path.parent.relative_to(folder)}")
        else:
            counts[_suffix(name)] += 1
    if not counts and not below:
        return _describe_hidden(folder)
    parts = []
    for suffix, num in counts.most_common(3):
        advice = SAVE_NUMBERS if suffix in TEXTS else _advise(suffix)
        what = f"{suffix} {_files(num)}" if suffix else f"{_files(num)} without a suffix"
        parts.append(f"{num:,} {what}, which {'is' if num == 1 else 'are'} not read")
        parts[-1] += f" ({advice})" if advice else ""
    if below:
        parts.append(f"{below:,} {_files(below)} in folders of their own, such as {first}; move them up")
    return f"holds {', and '.join(parts)}"


def _find_below(folder: Path, depth: int) -> Iterator[Path]:
    """Files in a folder and up to `depth` levels below; links to folders are not followed."""
    for name, is_below in _list(str(folder)):
        if not is_below:
            yield folder / name
        elif depth and not (folder / name).is_symlink():
            yield from _find_below(folder / name, depth - 1)


def _describe_hidden(folder: Path) -> str:
    """What a folder without a visible file holds."""
    with contextlib.suppress(OSError):
        names = sorted(path.name for path in folder.iterdir())
        hidden = [name for name in names if name[0] == "." and name[1] != "_" and _suffix(name) in DATA_SUFFIXES]
        if hidden:
            return f"holds only hidden files, such as {show_path(hidden[0])}; rename them"
    return "empty folder: contains no file that is read"


def _advise(suffix: str) -> str:
    """What to do about files of a suffix; empty if there is nothing to say."""
    if suffix.rstrip(". ") != suffix:
        return "the name ends in a space or a dot: rename it"
    if suffix in LACKING:
        return f"{LACKING[suffix]} to read them"
    if any(suffix in one.suffixes for one in PICTURES if not one.has_alpha):
        return "this format has no alpha"
    return ADVICE.get(suffix, "")


def _list(folder: str) -> list[tuple[str, bool]]:
    """Names in a folder, sorted, and whether each is a folder; without litter, or nothing if it cannot be read."""
    try:
        with os.scandir(folder) as entries:
            return sorted((entry.name, is_folder(entry)) for entry in entries if not is_hidden(entry.name))
    except OSError:
        return []


def _suffix(name: str) -> str:
    return os.path.splitext(name)[1].lower()  # noqa: PTH122 (texts come here by the hundred thousand)


def _simplify(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _files(num: int) -> str:
    return "file" if num == 1 else "files"
