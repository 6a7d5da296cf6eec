"""LabelMe: a JSON file per picture, beside it or in a folder of its own; the picture may also be inside the file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

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
    TWICE,
    UNREADABLE,
    Drawn,
    DrawnObjects,
    Picture,
    Problem,
    Reading,
    Shape,
)
from depthmask.cutouts.shapes import Ellipse, PngPatch, Polygon, make_rectangle

SUFFIX = ".json"
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
    used: dict[Path, str] = {}
    for name in track(files, "reading annotations", "files"):
        try:
            picture = _read_file(root, name, folders)
        except (ValueError, UserError) as error:
            reason = error.reason if isinstance(error, JsonError) else str(error)
            reading.problems.append(Problem(name, UNREADABLE, reason))
        except FileNotFoundError as error:
            reading.problems.append(Problem(name, MISSING, str(error)))
        else:
            if picture.path in used:
                reading.problems.append(Problem(name, TWICE, f"{picture.name}, also {used[picture.path]}"))
            else:
                used[picture.path] = name
                reading.pictures.append(picture)
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


def _read_file(root: Path, name: str, folders: list[PictureFolder]) -> Picture:
    path = root / name
    data = read_file(path)
    objects = DrawnObjects(tuple(_read_shapes(data["shapes"])))
    size = get_size(data, "imageWidth", "imageHeight")
    written = get_text(data, "imagePath")
    beside = written and _join(Path(name).parent, written)
    for folder in folders:
        for wanted in filter(None, (beside, written)):
            found = folder.find(wanted) or folder.find_stem(strip_suffix(wanted))
            if found is not None:
                return Picture(found, folder.files[found], objects, size)
        found = folder.find_stem(strip_suffix(name))
        if found is not None:
            return Picture(found, folder.files[found], objects, size)
    if get_text(data, "imageData") is not None:
        return Picture(written or name, path, objects, size, is_embedded=True)
    raise FileNotFoundError(f"imagePath {show(written)}, and there is no imageData")


def _join(parent: Path, written: str) -> str:
    return (parent / written.replace("\\", "/")).as_posix()


def _read_shapes(shapes: list[Any]) -> list[Drawn]:
    """An object for each shape; those with one label and one group_id are one object."""
    drawn: list[Drawn] = []
    groups: dict[tuple[str, Any], int] = {}
    for number, shape in enumerate(shapes):
        place = f"shapes[{number}]"
        if not isinstance(shape, dict):
            drawn.append(Drawn(place, "without a label", fault=INVALID, detail=f"is {show(shape)}"))
            continue
        kind = get_text(shape, "label") or "without a label"
        one = _read_shape(shape, place, kind)
        group = shape.get("group_id")
        key = kind, group
        if isinstance(group, int | str) and key in groups and one.fault is None:
            first = drawn[groups[key]]
            drawn[groups[key]] = Drawn(first.place, kind, (*first.shapes, *one.shapes))
            continue
        if isinstance(group, int | str) and one.fault is None:
            groups[key] = len(drawn)
        drawn.append(one)
    return drawn


def _read_shape(shape: dict[str, Any], place: str, kind: str) -> Drawn:
    form = shape.get("shape_type") or "polygon"
    if form in WITHOUT_AREA:
        return Drawn(place, kind, fault=LINE, detail=form)
    try:
        return Drawn(place, kind, (_make_shape(form, shape),))
    except ValueError as error:
        return Drawn(place, kind, fault=INVALID, detail=str(error))


def _make_shape(form: str, shape: dict[str, Any]) -> Shape:
    points = read_points(shape.get("points"))
    if form in ("polygon", "oriented_rectangle"):
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
