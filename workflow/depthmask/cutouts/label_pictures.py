"""Objects in label pictures: regions of one class number or colour, or of one instance number."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from depthmask.base.errors import UserError
from depthmask.cutouts.objects import CROWD, SMALL, UNKNOWN_VALUE, UNWANTED, VOID, Found, View, Wants
from depthmask.cutouts.palette import VOC_VOID, VOC_VOID_COLOUR, Palette
from depthmask.cutouts.reading import SizeError, Values, read_values, read_values_as_colours

VOID_SIDE_PX = 15  # void that contains a square of that side is more than the outline of an object
SPECK_PX = 16  # connected parts of a class of fewer pixels are counted, not listed


def read_labels(path: Path, palette: Palette, view: View) -> tuple[Values, dict[int, str | None]]:
    """A label picture of the view's size, and the names that its numbers have.

    Raises:
        UserError: it cannot be read, has colours for which there are no names; SizeError: it has another size.
    """
    values = read_values(path)
    if values.mode == "P" and not palette.by_value:
        values = read_values_as_colours(path)
    require_size(path, values.numbers, view)
    names = palette.by_colour if values.is_colour else palette.by_value
    if not names:
        what = "colours" if values.is_colour else "numbers"
        raise UserError(f"{path}: has {what}, and the palette names none; add lines for them to --palette")
    return values, names


def require_size(path: Path, array: np.ndarray, view: View) -> None:
    """Raise SizeError unless an array of H x W has the size of the view."""
    height, width = array.shape[:2]
    if (width, height) != (view.width, view.height):
        raise SizeError(f"{path}: {width} x {height} px, the picture {view.width} x {view.height}")


@dataclass(frozen=True)
class ClassRegions:
    """Each connected part of a class is an object; 0 and black are no class unless the palette names them.

    void: numbers and colours that are no class and may hide an object.
    """

    path: Path
    palette: Palette
    void: tuple[int, ...] = ()
    void_colours: tuple[int, ...] = ()

    def find(self, view: View, wants: Wants) -> Iterator[Found]:
        values, names = read_labels(self.path, self.palette, view)
        for value in np.unique(values.numbers):
            place = f"{self.path.name}: {show_value(value, values.is_colour)}"
            name = names.get(int(value), None if value == 0 else "")
            if name is None and value in (self.void_colours if values.is_colour else self.void):
                yield from find_void(values.numbers == value, place)
            if name == "":
                yield Found(place, None, fault=UNKNOWN_VALUE)
            elif name is not None and not wants(name):
                yield Found(place, name, fault=UNWANTED)
            elif name is not None:
                yield from find_parts(values.numbers == value, place, name)


def find_parts(inside: np.ndarray, place: str, kind: str | None) -> Iterator[Found]:
    """An object for each connected part of a mask (by sides and corners), from the top left on."""
    num_parts, parts, stats, _ = cv2.connectedComponentsWithStats(inside.astype(np.uint8), connectivity=8)
    large = [part for part in range(1, num_parts) if stats[part, cv2.CC_STAT_AREA] >= SPECK_PX]
    for number, part in enumerate(large, 1):
        yield Found(f"{place}, part {number}", kind, (parts == part).astype(np.uint8) * 255)
    specks = num_parts - 1 - len(large)
    if specks:
        yield Found(place, kind, fault=SMALL, detail=f"parts of less than {SPECK_PX} pixels", number=specks)


def find_void(inside: np.ndarray, place: str) -> Iterator[Found]:
    """Void that is more than outlines: VOC has it over objects that are too difficult to tell apart."""
    left = cv2.erode(inside.astype(np.uint8), np.ones((VOID_SIDE_PX, VOID_SIDE_PX), np.uint8))
    if left.any():
        yield Found(place, None, fault=VOID, detail=f"{int(inside.sum()):,} pixels")


@dataclass(frozen=True)
class Instances:
    """Each number is an object; its kind is the most frequent class among its pixels. void: numbers that are no object."""

    path: Path
    classes: Path | None
    palette: Palette
    void: tuple[int, ...] = (0, VOC_VOID)
    void_colours: tuple[int, ...] = (0, VOC_VOID_COLOUR)

    def find(self, view: View, wants: Wants) -> Iterator[Found]:
        values = read_values(self.path)
        require_size(self.path, values.numbers, view)
        classes = None if self.classes is None else read_labels(self.classes, self.palette, view)
        for value in np.unique(values.numbers):
            place = f"{self.path.name}: {show_value(value, values.is_colour)}"
            inside = values.numbers == value
            if value in (self.void_colours if values.is_colour else self.void):
                yield from find_void(inside, place) if value else ()
                continue
            kind, fault = (None, None) if classes is None else _find_kind(inside, *classes)
            if fault is not None or not wants(kind):
                yield Found(place, kind, fault=fault or UNWANTED)
            else:
                yield Found(place, kind, inside.astype(np.uint8) * 255)


def _find_kind(inside: np.ndarray, classes: Values, names: dict[int, str | None]) -> tuple[str | None, str | None]:
    """The most frequent name of a class within a mask, and a fault if there is none."""
    numbers, counts = np.unique(classes.numbers[inside], return_counts=True)
    for number in numbers[np.argsort(-counts, kind="stable")]:
        if number != 0 and int(number) not in names:
            return None, UNKNOWN_VALUE
        if names.get(int(number)) is not None:
            return names[int(number)], None
    return None, UNKNOWN_VALUE


@dataclass(frozen=True)
class ClassTimesDivisor:
    """Numbers are class * divisor + instance; a class alone marks a crowd, or a region without instances."""

    path: Path
    palette: Palette
    divisor: int

    def find(self, view: View, wants: Wants) -> Iterator[Found]:
        values = read_values(self.path)
        require_size(self.path, values.numbers, view)
        if values.is_colour:
            raise UserError(f"{self.path}: has colours, not numbers of class * {self.divisor} + instance")
        for value in map(int, np.unique(values.numbers)):
            is_instance = value >= self.divisor
            place, number = f"{self.path.name}: {value}", value // self.divisor if is_instance else value
            name = self.palette.by_value.get(number, None if number == 0 else "")
            if name == "":
                yield Found(place, None, fault=UNKNOWN_VALUE)
            elif name is not None and not wants(name):
                yield Found(place, name, fault=UNWANTED)
            elif name is not None and not is_instance:
                yield Found(place, name, fault=CROWD)
            elif name is not None:
                yield Found(place, name, (values.numbers == value).astype(np.uint8) * 255)


def show_value(value: int, is_colour: bool) -> str:
    """A number as it is, a colour as #rrggbb."""
    return f"#{value:06x}" if is_colour else f"value {value}"
