"""What the numbers and colours of label pictures mean: built-in palettes, and those in files of the user's.

A CSV file has lines `value,name` or `red,green,blue,name` or `#rrggbb,name`; a JSON file maps "value" or "#rrggbb" to a name.
The labelmap.txt that CVAT writes, lines `name:red,green,blue::`, is read too. The names void, ignore, unlabeled and background
mean that nothing is there; case does not matter.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from depthmask.base.errors import UserError
from depthmask.base.file_errors import name_errors
from depthmask.base.files import read_json

NOTHING = ("void", "ignore", "ignored", "unlabeled", "unlabelled", "background", "_background_", "")
VALUE_MAX = 65535
VOC_VOID = 255
# fmt: off
VOC_NAMES = [
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable", "dog",
    "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
]
CITYSCAPES_NAMES = [  # the first seven are void: the own car, the rectification's border and so on
    "void", "void", "void", "void", "void", "void", "void", "road", "sidewalk", "parking", "rail track", "building", "wall",
    "fence", "guard rail", "bridge", "tunnel", "pole", "polegroup", "traffic light", "traffic sign", "vegetation", "terrain",
    "sky", "person", "rider", "car", "truck", "bus", "caravan", "trailer", "train", "motorcycle", "bicycle",
]
# fmt: on
VOC_VOID_COLOUR = 0xE0E0C0


@dataclass(frozen=True)
class Palette:
    """Names by number and by colour (red * 65536 + green * 256 + blue); None: nothing is there."""

    by_value: dict[int, str | None] = field(default_factory=dict)
    by_colour: dict[int, str | None] = field(default_factory=dict)

    @property
    def kinds(self) -> set[str]:
        return {name for name in (*self.by_value.values(), *self.by_colour.values()) if name is not None}


def make_voc_palette() -> Palette:
    """Pascal VOC's classes, by index and by the colours of its palette; 255 is void."""
    names = {number: _clean(name) for number, name in enumerate(VOC_NAMES)} | {VOC_VOID: None}
    colours = {colour_of_index(number): name for number, name in names.items() if number != VOC_VOID} | {VOC_VOID_COLOUR: None}
    return Palette(names, colours)


def make_cityscapes_palette() -> Palette:
    """Cityscapes' labels by id."""
    return Palette({number: _clean(name) for number, name in enumerate(CITYSCAPES_NAMES)} | {VOC_VOID: None})


def colour_of_index(index: int) -> int:
    """The colour of an index in VOC's palette: its bits, three at a time, are the highest bits of red, green and blue."""
    colour = 0
    for place in range(8):
        for channel in range(3):
            colour |= (index >> (3 * place + channel) & 1) << (7 - place) << (8 * (2 - channel))
    return colour


def read_palette(path: Path) -> Palette:
    """Read a palette from a CSV, JSON or labelmap file.

    Raises:
        UserError: a line is none of these; names it.
    """
    by_value: dict[int, str | None] = {}
    by_colour: dict[int, str | None] = {}
    for place, key, name in _list_entries(path):
        target, number = _read_key(key, f"{path}: {place}", by_value, by_colour)
        if number in target and target[number] != _clean(name):
            raise UserError(f"{path}: {place}: {key} has two names, {target[number]} and {name}; remove one")
        target[number] = _clean(name)
    if not by_value and not by_colour:
        raise UserError(f"{path}: contains no line; write value,name or red,green,blue,name")
    return Palette(by_value, by_colour)


def _clean(name: str) -> str | None:
    return None if name.strip().lower() in NOTHING else name.strip()


def _read_key(key: str, place: str, by_value: dict, by_colour: dict) -> tuple[dict, int]:
    colour = re.fullmatch(r"#([0-9a-fA-F]{6})", key)
    if colour:
        return by_colour, int(colour[1], 16)
    parts = [part.strip() for part in key.split(",")]
    if all(re.fullmatch(r"\d{1,5}", part) for part in parts) and len(parts) in (1, 3):
        numbers = [int(part) for part in parts]
        if len(numbers) == 1 and numbers[0] <= VALUE_MAX:
            return by_value, numbers[0]
        if len(numbers) == 3 and max(numbers) <= 255:
            return by_colour, numbers[0] << 16 | numbers[1] << 8 | numbers[2]
    raise UserError(
        f"{place}: {key[:40]!r} is neither a value of 0 to {VALUE_MAX} nor a colour; write value,name or #rrggbb,name or"
        " red,green,blue,name"
    )


def _list_entries(path: Path) -> Iterator[tuple[str, str, str]]:
    """(place, value or colour, name)."""
    if path.suffix.lower() == ".json":
        data = read_json(path)
        if not isinstance(data, dict) or not all(isinstance(name, str) for name in data.values()):
            raise UserError(f'{path}: is not a mapping of values to names, such as {{"1": "person"}}; correct it')
        yield from ((f"key {key[:40]}", key, name) for key, name in data.items())
        return
    with name_errors(path, "palette"):
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.lstrip().startswith("# "):
            continue
        place = f"line {number}"
        if ":" in line and path.suffix.lower() == ".txt":
            name, colour = line.split(":")[:2]
            yield place, colour, name
            continue
        try:
            parts = [part.strip() for part in next(csv.reader([line], delimiter=_find_separator(line)))]
        except csv.Error as error:
            raise UserError(f"{path}: {place}: is not CSV ({error}); correct it") from error
        if number == 1 and not re.match(r"#?[0-9a-fA-F]+$", parts[0]):
            continue  # a header
        if len(parts) < 2:
            raise UserError(f"{path}: {place}: {line[:40]!r} has no name; write value,name or red,green,blue,name")
        yield place, ",".join(parts[:-1]), parts[-1]


def _find_separator(line: str) -> str:
    """Excel separates columns by semicolons or tabs in many countries."""
    return next((separator for separator in (",", ";") if separator in line), "\t")
