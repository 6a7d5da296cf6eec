"""LabelMe: a JSON file per picture, beside it or in a folder of its own; the picture may also be inside the file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from posixpath import normpath
from typing import Any, NamedTuple

from depthmask.base.errors import UserError
from depthmask.base.files import JsonError, read_json
from depthmask.base.terminal import track
from depthmask.cutouts.fields import get_size, get_text, read_points, show
from depthmask.cutouts.folders import PictureFolder, require_folder, strip_suffix
from depthmask.cutouts.formats import Request
from depthmask.cutouts.objects import (
    INVALID,
    LINE,
    MISSING,
    UNREADABLE,
    Drawn,
    DrawnObjects,
    Picture,
    Problem,
    Reading,
    Shape,
    join_groups,
)
from depthmask.cutouts.shapes import Ellipse, PngPatch, Polygon, make_rectangle

SUFFIX = ".json"
CORNERS = 4
WITHOUT_AREA = ("line", "linestrip", "point", "points")


def read(request: Request) -> Reading:
    """Read every JSON file of the folder, at any depth.

    Raises:
        UserError: there is no file of LabelMe's.
    """
    root = require_folder(request.annotations, "--annotations", "folder of LabelMe's JSON files")
    own = PictureFolder(root)
    folders = [own]
    if request.images is not None:
        folders.insert(0, PictureFolder(require_folder(request.images, "--images", "folder that contains the pictures")))
    files = [name for name in own.others if name.lower().endswith(SUFFIX)]
    own.others = [name for name in own.others if not name.lower().endswith(SUFFIX)]
    if not files:
        raise UserError(f"{root}: contains no .json file; name the folder that LabelMe saved into")
    reading = Reading([])
    parsed = []
    for name in track(files, "reading annotations", "files"):
        try:
            parsed.append(_parse(root, name))
        except (ValueError, UserError) as error:
            reason = error.reason if isinstance(error, JsonError) else str(error)
            reading.problems.append(Problem(name, UNREADABLE, reason))
    used = _list_pictures(root, parsed, folders, reading)
    reading.problems.sort()
    if not reading.pictures and all(problem.reason == UNREADABLE for problem in reading.problems):
        first = reading.problems[0]
        raise UserError(f"{root}: none of {len(files)} .json files is LabelMe's; {first.place}: {first.detail}")
    for folder in folders:
        names = {name for name, path in folder.files.items() if path in used}
        reading.unread += folder.list_unread(names, "pictures without a JSON file")
    return reading


def read_file(path: Path) -> dict[str, Any]:
    """The contents of a LabelMe file.

    Raises:
        JsonError, ValueError: it is none.
    """
    data = read_json(path)
    if not isinstance(data, dict) or not isinstance(data.get("shapes"), list):
        raise ValueError("not LabelMe's: it has no list `shapes`")
    return data


class _Parsed(NamedTuple):
    """A JSON file: its relative name, what is in it, and imagePath as a relative path from the folder of annotations."""

    name: str
    objects: DrawnObjects
    size: tuple[int, int] | None
    written: str | None
    is_embedded: bool

    @property
    def wanted(self) -> str:
        return normpath((PurePosixPath(self.name).parent / (self.written or self.name).replace("\\", "/")).as_posix())


def _parse(root: Path, name: str) -> _Parsed:
    data = read_file(root / name)
    objects = DrawnObjects(join_groups(_read_shapes(data["shapes"])))
    size, is_embedded = get_size(data, "imageWidth", "imageHeight"), get_text(data, "imageData") is not None
    return _Parsed(name, objects, size, get_text(data, "imagePath"), is_embedded)


def _list_pictures(root: Path, parsed: list[_Parsed], folders: list[PictureFolder], reading: Reading) -> dict[Path, str]:
    """Add the picture of each file to `reading`; returns the file that each picture belongs to."""
    found = {one.name: _find_certain(one, folders) for one in parsed}
    used: dict[Path, tuple[int, str]] = {}
    for folder in folders:  # pictures elsewhere, where imagePath leads on another computer
        rest = [one for one in parsed if found[one.name] is None and one.written and not one.is_embedded]
        taken = {name for name, path in filter(None, found.values()) if folder.files.get(name) == path}
        matched = folder.match({one.wanted for one in rest}, taken)
        reading.notes += matched.describe()
        for one in rest:
            name = matched.found[one.wanted]
            found[one.name] = None if name is None else (name, folder.files[name])
    for one in parsed:
        name, path = found[one.name] or (one.written or one.name, root / one.name)
        if found[one.name] is None and not one.is_embedded:
            reading.problems.append(Problem(one.name, MISSING, f"imagePath {show(one.written)}, and there is no imageData"))
        elif path in used:
            reading.note_twice(used[path][0], one.name, used[path][1])
        else:
            used[path] = len(reading.pictures), one.name
            reading.pictures.append(Picture(name, path, one.objects, one.size, is_embedded=found[one.name] is None))
    return {path: name for path, (_, name) in used.items()}


def _find_certain(one: _Parsed, folders: list[PictureFolder]) -> tuple[str, Path] | None:
    """The picture at the place that imagePath gives, or of the name of the JSON file, with any suffix."""
    tidy = normpath((one.written or one.name).replace("\\", "/"))
    for folder in folders:
        exact = [name for name in (one.wanted, tidy) if name in folder.files]
        stems = (folder.find_stem(strip_suffix(name)) for name in (one.wanted, tidy, one.name))
        name = next((name for name in (*exact, *stems) if name is not None), None)
        if name is not None:
            return name, folder.files[name]
    return None


def _read_shapes(shapes: list[Any]) -> Iterator[tuple[Drawn, int | str | None]]:
    """An object for each shape, and its group_id."""
    for number, shape in enumerate(shapes):
        place = f"shapes[{number}]"
        if not isinstance(shape, dict):
            yield Drawn(place, None, fault=INVALID, detail=f"is {show(shape)}"), None
            continue
        group = shape.get("group_id")
        yield _read_shape(shape, place), group if isinstance(group, int | str) else None


def _read_shape(shape: dict[str, Any], place: str) -> Drawn:
    kind = get_text(shape, "label")
    form = shape.get("shape_type") or "polygon"
    if form in WITHOUT_AREA:
        return Drawn(place, kind, fault=LINE, detail=form)
    try:
        return Drawn(place, kind, (_make_shape(form, shape),))
    except ValueError as error:
        return Drawn(place, kind, fault=INVALID, detail=str(error))


def _make_shape(form: str, shape: dict[str, Any]) -> Shape:
    points = read_points(shape.get("points"))
    # other tools that write these files call a turned rectangle a rotation, and give all corners of an upright one
    if form in ("polygon", "oriented_rectangle", "rotation") or (form == "rectangle" and len(points) == CORNERS):
        return Polygon(points)
    if form not in ("rectangle", "circle", "mask"):
        raise ValueError(f"shape_type {show(form)} is not known")
    if len(points) != 2:
        raise ValueError(f"a {form} of {len(points)} points instead of 2")
    (x0, y0), (x1, y1) = points
    if form == "rectangle":
        return make_rectangle(points)
    if form == "circle":
        radius = ((x1 - x0) ** 2 + (y1 - y0) ** 2) ** 0.5
        return Ellipse(x0, y0, radius, radius)
    text = shape.get("mask")
    if not isinstance(text, str):
        raise ValueError("a mask without its picture")
    return PngPatch(round(min(x0, x1)), round(min(y0, y1)), text)
