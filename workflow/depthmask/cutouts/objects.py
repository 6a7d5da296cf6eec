"""What a reader returns: pictures, and for each of them an object that finds the annotated objects in it."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from depthmask.base.errors import UserError

# why an object or a picture is left out
UNWANTED = "kind not wanted"
CROWD = "a crowd or region, not one object"
BOX = "only a box, no outline"
LINE = "a line or point, no area"
INVALID = "invalid outline"
EMPTY = "no pixel inside the picture"
SMALL = "too small"
CUT = "cut by the frame"
OCCLUDED = "marked as occluded"
UNKNOWN_VALUE = "value without a name in the palette"
VOID = "void, which may hide an object"
INVERTED = "mask covers the whole border; inverted?"
MISSING = "no such picture"
UNREADABLE = "picture or mask cannot be read"
SIZE = "other size than the annotation says"
TWICE = "named twice"
DEPTH = "no depth map"
OCCUPIED = "an object of a wanted kind is in it"
UNSURE = "an object of a wanted kind may be in it"
ANY_OBJECT = "an object is in it"

Wants = Callable[[str | None], bool]


class View(NamedTuple):
    """A picture, upright, and the size that outlines refer to, which differs if they were drawn on the unrotated picture."""

    image: np.ndarray  # uint8 H x W x 3
    width: int
    height: int
    alpha: np.ndarray | None = None  # uint8 H x W, of a picture with transparency


@dataclass(frozen=True)
class Found:
    """An object, or why there is none to cut out.

    place: where it is in the annotation. alpha: uint8 height x width of the view, None with a fault. number: how many it
    stands for.
    """

    place: str
    kind: str | None
    alpha: np.ndarray | None = None
    fault: str | None = None
    detail: str = ""
    number: int = 1


class Objects(Protocol):
    """Finds the objects of one picture, in the order of the annotation. Pickled to the worker processes."""

    def find(self, view: View, wants: Wants) -> Iterable[Found]: ...


@dataclass(frozen=True)
class Picture:
    """A picture named in an annotation.

    name: relative path, as in the annotation. declared: width and height there. is_embedded: `path` is a LabelMe file that
    contains the picture. inputs: label pictures or masks that are read for it. is_exhaustive: what is not annotated is not
    there, so that it can be a background.
    """

    name: str
    path: Path
    objects: Objects
    declared: tuple[int, int] | None = None
    licence: str | None = None
    is_embedded: bool = False
    inputs: tuple[Path, ...] = ()
    is_exhaustive: bool = True


class Problem(NamedTuple):
    """Something in the annotation that no picture can be blamed for, or that no picture was found for."""

    place: str
    reason: str
    detail: str = ""


class Unread(NamedTuple):
    """Files that were not read: how many of a kind, and one of them."""

    what: str
    number: int
    example: str


@dataclass
class Reading:
    """What a reader found. kinds: all that can occur, None if only the pictures tell. notes: for the user, one line each."""

    pictures: list[Picture]
    problems: list[Problem] = field(default_factory=list)
    unread: list[Unread] = field(default_factory=list)
    kinds: set[str] | None = None
    notes: list[str] = field(default_factory=list)

    def note_twice(self, number: int, place: str, first: str) -> None:
        """Note that a picture, given by its number, is named again: since that is ignored, the picture is no background."""
        picture = self.pictures[number]
        self.problems.append(Problem(place, TWICE, f"{picture.name}, also {first}; what is annotated here is ignored"))
        self.pictures[number] = replace(picture, is_exhaustive=False)


class SegmenterError(UserError):
    """The segmentation network cannot be used, whatever the picture."""


class NoArea(ValueError):
    """An outline has no pixel inside, wherever it is."""


class Shape(Protocol):
    """An outline."""

    def draw(self, height: int, width: int) -> np.ndarray:
        """bool height x width, True inside.

        Raises:
            ValueError: it has no inside; says why.
        """
        ...


@dataclass(frozen=True)
class Drawn:
    """An annotated object: the union of its shapes. kind: None if it is unknown, so that it might be any.

    z_order: of two that overlap, the higher one hides the other.
    """

    place: str
    kind: str | None
    shapes: tuple[Shape, ...] = ()
    fault: str | None = None
    detail: str = ""
    z_order: int = 0


def join_groups(drawn: Iterable[tuple[Drawn, Hashable]]) -> tuple[Drawn, ...]:
    """Annotated objects, each with its group or None: those of one kind and one group are one object, in place of the first.

    Those with a fault stay by themselves.
    """
    joined: list[Drawn] = []
    firsts: dict[tuple[str | None, Hashable], int] = {}
    for one, group in drawn:
        key = one.kind, group
        if group is None or one.fault is not None:
            joined.append(one)
        elif key in firsts:
            first = joined[firsts[key]]
            joined[firsts[key]] = replace(first, shapes=(*first.shapes, *one.shapes))
        else:
            firsts[key] = len(joined)
            joined.append(one)
    return tuple(joined)


@dataclass(frozen=True)
class DrawnObjects:
    """Objects given by outlines."""

    drawn: Sequence[Drawn] = ()

    def find(self, view: View, wants: Wants) -> Iterator[Found]:
        orders = {one.z_order for one in self.drawn}
        for one in self.drawn:
            is_unknown = one.kind is None and one.fault is not None
            if not is_unknown and not wants(one.kind):
                yield Found(one.place, one.kind, fault=UNWANTED)
            elif one.fault is not None:
                yield Found(one.place, one.kind, fault=one.fault, detail=one.detail)
            else:
                yield self._draw(one, view, is_layered=len(orders) > 1)

    def _draw(self, one: Drawn, view: View, is_layered: bool) -> Found:
        try:
            inside = draw_union(one.shapes, view)
        except ValueError as error:
            return Found(one.place, one.kind, fault=INVALID, detail=str(error))
        for other in self.drawn if is_layered else ():
            if other.z_order > one.z_order and other.shapes:
                try:
                    inside &= ~draw_union(other.shapes, view)
                except ValueError:  # reported as an object of its own
                    continue
        return Found(one.place, one.kind, inside.astype(np.uint8) * 255)


def draw_union(shapes: Iterable[Shape], view: View) -> np.ndarray:
    """bool height x width, True inside any of the shapes, of which some may be slivers without a pixel.

    Raises:
        ValueError: as `Shape.draw`.
    """
    inside = np.zeros((view.height, view.width), bool)
    empty: NoArea | None = None
    is_drawn = False
    for shape in shapes:
        try:
            inside |= shape.draw(view.height, view.width)
            is_drawn = True
        except NoArea as error:
            empty = empty or error
    if empty is not None and not is_drawn:
        raise empty
    return inside
