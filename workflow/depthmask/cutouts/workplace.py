"""The folder that is written: what belongs there, and what an earlier call has done.

OUT/fg, bg, fg_depth, bg_depth, pack.json   for `source: assets`; without --depth the last two are the user's, if they exist
OUT/cutouts.json, cutouts.html              what was made and left out, and why
OUT/.cutouts/settings.json                  all that decides the result
             names.json                     the beginning of each picture's file names
             journal.jsonl                  a line for each finished picture, after its files
             lock                           held while this works
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from depthmask.base.errors import UserError
from depthmask.base.files import TEMPORARY, JsonError, read_json, replace_file, write_json
from depthmask.cutouts.folders import OWN
from depthmask.cutouts.making import SEPARATOR
from depthmask.cutouts.objects import Picture
from depthmask.cutouts.plan import Result, Task

FOLDERS, DEPTH_FOLDERS = ("fg", "bg"), ("fg_depth", "bg_depth")
FILES = ("pack.json", "cutouts.json", "cutouts.html")
SETTINGS, NAMES, JOURNAL = "settings.json", "names.json", "journal.jsonl"
DIFFERENCES_SHOWN = 3


class Workplace:
    """`settings`: what decides the result, by the names of options."""

    def __init__(self, out: Path, settings: Mapping[str, Any], bases: Sequence[str]):
        self.out, self.own = out, out / OWN
        self._settings, self._bases = dict(settings), list(bases)

    def validate(self, replace: bool) -> None:
        """Check that the folder is new, or an earlier, unfinished or finished, result of the same call.

        replace: or of another call, to be removed.

        Raises:
            UserError: there are files of somebody else's, or of a call with other options.
        """
        if self.out.exists() and not self.out.is_dir():
            raise UserError(f"--out {self.out}: is not a folder; name a folder")
        foreign = self._find_foreign(self._read_names())
        if foreign is not None:
            raise UserError(f"--out {self.out}: contains {foreign}, which this command did not write; name another folder")
        different = self._find_differences()
        if different and not replace:
            raise UserError(
                f"--out {self.out}: was made with other options ({different}); add --replace to start over, or name another"
                " folder"
            )

    def prepare(self, replace: bool) -> None:
        """Make the folder, and remove an earlier result if that is asked for."""
        if replace or self._find_differences():
            self._remove()
        names = [*self._bases, *(set(self._read_names()) - set(self._bases))]
        for name in (OWN, "fg"):
            (self.out / name).mkdir(parents=True, exist_ok=True)
        write_json(self.own / NAMES, sorted(names))
        write_json(self.own / SETTINGS, self._settings)

    def _find_foreign(self, bases: Iterable[str]) -> str | None:
        """The first thing in the folder that no earlier call wrote; bases: what the names of its files began with."""
        if not self.out.exists():
            return None
        known, written = set(bases), _list_folders(self._read_settings())
        others = set(DEPTH_FOLDERS) - {*written, *_list_folders(self._settings)}
        for entry in sorted(os.scandir(self.out), key=lambda entry: entry.name):
            if known and entry.name in others:
                continue
            if known and entry.name in written and entry.is_dir():
                for name in sorted(path.name for path in Path(entry.path).iterdir()):
                    if not (_find_base(name) in known or TEMPORARY.fullmatch(name)):
                        return f"{entry.name}/{name}"
            elif not (entry.name == OWN or (known and entry.name in FILES) or TEMPORARY.fullmatch(entry.name)):
                return entry.name
        return None

    def _read_names(self) -> list[str]:
        names = _read(self.own / NAMES)
        return [name for name in names if isinstance(name, str)] if isinstance(names, list) else []

    def _read_settings(self) -> dict[str, Any]:
        """Those of the earlier call; empty if there was none."""
        settings = _read(self.own / SETTINGS)
        return settings if isinstance(settings, dict) else {}

    def _find_differences(self) -> str:
        earlier = self._read_settings()
        if not earlier:
            return ""
        keys = [key for key in self._settings | earlier if self._settings.get(key) != earlier.get(key)]
        shown = [f"{key} was {_show(earlier.get(key))}, is {_show(self._settings.get(key))}" for key in keys[:DIFFERENCES_SHOWN]]
        return ", ".join(shown) + (", ..." if len(keys) > DIFFERENCES_SHOWN else "")

    def _remove(self) -> None:
        """Remove an earlier result; only names that it has can be there."""
        (self.own / JOURNAL).unlink(missing_ok=True)
        for name in FILES:
            (self.out / name).unlink(missing_ok=True)
        for folder in _list_folders(self._read_settings()):
            for path in (self.out / folder).glob("*") if (self.out / folder).is_dir() else ():
                path.unlink()

    def read_done(self, pictures: Sequence[Picture], tasks: Sequence[Task]) -> dict[int, Result]:
        """Results of an earlier call that still hold: its inputs are unchanged, and its files are there."""
        done: dict[int, Result] = {}
        numbers = {task.base: task.number for task in tasks}
        for line in self._read_lines():
            try:
                entry = json.loads(line)
                result = Result.from_json(entry["result"])
            except (ValueError, KeyError, TypeError, AttributeError):  # a line that a kill cut off
                continue
            number = result.number = numbers.get(entry.get("base"), -1)
            if number < 0 or pictures[number].name != result.picture:
                continue
            if entry.get("inputs") == list_stamps(pictures[number], tasks[number]) and self._has_files(result, tasks[number]):
                done[number] = result
        return done

    def _read_lines(self) -> list[str]:
        try:
            return (self.own / JOURNAL).read_text(encoding="utf-8", errors="replace").splitlines()
        except FileNotFoundError:
            return []

    def _has_files(self, result: Result, task: Task) -> bool:
        made = [self.out / "fg" / f"{one.name}.png" for one in result.kept]
        made += [self.out / "bg" / f"{task.base}{result.background}"] if result.background else []
        return all(path.is_file() for path in made)

    def write_journal(self, done: Mapping[int, Result], pictures: Sequence[Picture], tasks: Sequence[Task]) -> None:
        """Write the journal in the order of the pictures."""
        with replace_file(self.own / JOURNAL) as temporary, temporary.open("w", encoding="utf-8") as file:
            for number in sorted(done):
                file.write(_make_line(done[number], pictures[number], tasks[number]))

    def append(self, result: Result, picture: Picture, task: Task) -> None:
        """Note that a picture is finished."""
        with (self.own / JOURNAL).open("a", encoding="utf-8") as file:
            file.write(_make_line(result, picture, task))

    def remove_strays(self, results: Iterable[Result], tasks: Sequence[Task]) -> None:
        """Remove files of pictures whose result no longer has them, as after a change of an input."""
        wanted = {(folder, name) for result in results for folder, name in _list_files(result, tasks[result.number])}
        for folder in _list_folders(self._settings):
            for path in sorted((self.out / folder).glob("*")) if (self.out / folder).is_dir() else ():
                if (folder, path.name.rpartition(".")[0]) not in wanted:
                    path.unlink()


def _list_folders(settings: Mapping[str, Any]) -> tuple[str, ...]:
    """The folders that a call with these settings writes."""
    return FOLDERS + (DEPTH_FOLDERS if "--depth-format" in settings else ())


def list_stamps(picture: Picture, task: Task) -> list[Any]:
    """What a picture's result depends on: a hash of its annotation, and size and time of each file; empty for a missing one."""
    annotation = repr((picture.objects, picture.declared, picture.licence, task.is_background))
    stamps: list[Any] = [hashlib.sha256(annotation.encode(errors="replace")).hexdigest()[:16]]
    for path in (picture.path, *picture.inputs, *([task.depth_map] if task.depth_map else [])):
        try:
            status = path.stat()
            stamps.append([status.st_size, status.st_mtime_ns])
        except OSError:
            stamps.append([])
    return stamps


def _make_line(result: Result, picture: Picture, task: Task) -> str:
    return json.dumps({"base": task.base, "result": result.to_json(), "inputs": list_stamps(picture, task)}) + "\n"


def _list_files(result: Result, task: Task) -> Iterator[tuple[str, str]]:
    """Folder, and name without suffix, of what a picture can have."""
    for one in result.kept:
        yield from (("fg", one.name), ("fg_depth", one.name))
    if result.background:
        yield from (("bg", task.base), ("bg_depth", task.base))


def _find_base(name: str) -> str:
    """The beginning of a file's name that stands for its picture."""
    stem = name.rpartition(".")[0]
    head, _, number = stem.rpartition(SEPARATOR)
    return head if head and number.isdigit() else stem


def _read(path: Path) -> Any:
    try:
        return read_json(path)
    except (JsonError, OSError):
        return {}


def _show(value: Any) -> str:
    text = "not set" if value is None else str(value)
    return text if len(text) <= 40 else f"{text[:40]}..."
