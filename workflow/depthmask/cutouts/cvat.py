"""CVAT for images 1.1: an XML file with polygons, masks and ellipses for each picture.

It is read with expat, element by element, so that every message has a line. A document type is refused: entities, which a
harmful file would expand without end, can only be declared there, and CVAT writes none.
"""

from __future__ import annotations

from pathlib import Path
from xml.parsers import expat

from depthmask.base.errors import UserError
from depthmask.base.files import read_regular_file
from depthmask.cutouts.fields import get_size, is_number, show
from depthmask.cutouts.folders import PictureFolder, require_file, require_folder
from depthmask.cutouts.formats import Request
from depthmask.cutouts.objects import (
    BOX,
    INVALID,
    LINE,
    MISSING,
    OCCLUDED,
    Drawn,
    DrawnObjects,
    Picture,
    Problem,
    Reading,
    Shape,
    join_groups,
)
from depthmask.cutouts.shapes import Ellipse, Polygon, RowRuns

WITH_AREA = ("polygon", "mask", "ellipse")
WITHOUT_AREA = ("polyline", "points", "skeleton", "cuboid")
SHAPES = (*WITH_AREA, *WITHOUT_AREA, "box")


def read(request: Request) -> Reading:
    """Read the file.

    Raises:
        UserError: it is not XML, not CVAT's, of tracks in a video, or has a document type; names the line.
    """
    path = require_file(request.annotations, "--annotations", "file annotations.xml of CVAT for images")
    folder = PictureFolder(require_folder(request.images, "--images", "folder that contains the pictures"))
    parsed = _File(path, request.allow_occluded)
    reading = Reading([])
    matched = folder.match({attributes.get("name", "").strip() for _, attributes, _ in parsed.images} - {""})
    reading.notes += [f"{path}: {line}" for line in matched.describe()]
    used: dict[str, tuple[int, str]] = {}
    for place, attributes, drawn in parsed.images:
        name = attributes.get("name", "").strip()
        found = matched.found[name] if name else None
        if not name:
            reading.problems.append(Problem(place, INVALID, "image without a name"))
        elif found is None:
            reading.problems.append(Problem(place, MISSING, f"{folder.folder}/{name}"))
        elif found in used:
            reading.note_twice(used[found][0], place, f"in {used[found][1]}")
        else:
            used[found] = len(reading.pictures), place
            size = get_size({key: _to_number(attributes.get(key)) for key in ("width", "height")}, "width", "height")
            reading.pictures.append(Picture(found, folder.files[found], DrawnObjects(join_groups(drawn)), size))
    reading.unread = folder.list_unread(used)
    if parsed.num_boxes:
        boxes = f"{parsed.num_boxes:,} box" + ("es are" if parsed.num_boxes > 1 else " is")
        reading.notes.append(f"{path}: {boxes} ignored: a box has no outline")
    return reading


class _File:
    """images: (place, attributes, objects with their groups) of each picture, in the order of the file."""

    def __init__(self, path: Path, allow_occluded: bool):
        self.images: list[tuple[str, dict[str, str], list[tuple[Drawn, str | None]]]] = []
        self.num_boxes = 0
        self._path, self._allow_occluded, self._depth = path, allow_occluded, 0
        self._parser = expat.ParserCreate()
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.StartDoctypeDeclHandler = self._reject_doctype
        try:
            self._parser.Parse(read_regular_file(path), True)
        except expat.ExpatError as error:
            reason = expat.ErrorString(error.code)
            raise UserError(f"{path}: line {error.lineno}: is not XML ({reason}); export it again") from error
        except (LookupError, ValueError) as error:  # an encoding that Python does not know
            raise UserError(f"{path}: line {self._line}: is not XML ({error}); export it again") from error

    @property
    def _line(self) -> int:
        return self._parser.CurrentLineNumber

    def _reject_doctype(self, *_: object) -> None:
        raise UserError(
            f"{self._path}: line {self._line}: has a document type, which CVAT does not write; do not trust this file"
        )

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        self._depth += 1
        if self._depth == 1 and name != "annotations":
            raise UserError(f"{self._path}: line {self._line}: begins with <{name[:40]}>, not <annotations>; name CVAT's file")
        if self._depth == 2 and name == "track":
            raise UserError(
                f"{self._path}: line {self._line}: has the tracks of a video; export the task as `CVAT for images 1.1`"
            )
        if self._depth == 2 and name == "image":
            self.images.append((f"line {self._line}", attributes, []))
        elif self._depth == 3 and name in SHAPES and self.images:
            self._add(name, attributes)

    def _end(self, _: str) -> None:
        self._depth -= 1

    def _add(self, form: str, attributes: dict[str, str]) -> None:
        """Add an object and its group_id; 0 is none, as in CVAT's own COCO export."""
        one = _read_shape(form, attributes, f"line {self._line}", self._allow_occluded)
        self.num_boxes += one.fault == BOX
        group = attributes.get("group_id", "0")
        self.images[-1][2].append((one, None if group == "0" else group))


def _read_shape(form: str, attributes: dict[str, str], place: str, allow_occluded: bool) -> Drawn:
    kind = attributes.get("label", "").strip() or None
    if form == "box":
        return Drawn(place, kind, fault=BOX)
    if form in WITHOUT_AREA:
        return Drawn(place, kind, fault=LINE, detail=form)
    try:
        shapes = (_make_shape(form, attributes),)
        order = int(_get_number(attributes, "z_order", "0"))
    except ValueError as error:
        return Drawn(place, kind, fault=INVALID, detail=str(error))
    if attributes.get("occluded") == "1" and not allow_occluded:
        return Drawn(place, kind, shapes, fault=OCCLUDED, z_order=order)
    return Drawn(place, kind, shapes, z_order=order)


def _make_shape(form: str, attributes: dict[str, str]) -> Shape:
    if form == "ellipse":
        return Ellipse(
            *(_get_number(attributes, key) for key in ("cx", "cy", "rx", "ry")), _get_number(attributes, "rotation", "0")
        )
    if form == "polygon":
        pairs = [tuple(map(_to_number, pair.split(","))) for pair in attributes.get("points", "").split(";")]
        if not all(len(pair) == 2 and None not in pair for pair in pairs):
            raise ValueError(f"points {show(attributes.get('points'))} are not x,y;x,y;...")
        return Polygon(tuple(pairs))
    box = [int(_get_number(attributes, key)) for key in ("left", "top", "width", "height")]
    counts = [_to_number(count) for count in attributes.get("rle", "").split(",")]
    if any(count is None or count != int(count) for count in counts):
        raise ValueError(f"rle {show(attributes.get('rle'))} is not a list of whole numbers")
    return RowRuns(*box, tuple(map(int, counts)))


def _to_number(text: str | None) -> float | None:
    try:
        number = float(text or "")
    except ValueError:
        return None
    return number if is_number(number) else None


def _get_number(attributes: dict[str, str], key: str, default: str | None = None) -> float:
    number = _to_number(attributes.get(key, default))
    if number is None:
        raise ValueError(f"{key} {show(attributes.get(key))} is not a number")
    return number
