"""COCO instances: one JSON file with images, annotations (polygons or run lengths), categories and licences."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

from depthmask.base.errors import UserError
from depthmask.base.files import read_json
from depthmask.cutouts.fields import get_size, get_text, is_number, pair_up, show
from depthmask.cutouts.folders import PictureFolder, require_file, require_folder
from depthmask.cutouts.formats import Request
from depthmask.cutouts.objects import BOX, CROWD, INVALID, MISSING, TWICE, Drawn, DrawnObjects, Picture, Problem, Reading, Shape
from depthmask.cutouts.shapes import ColumnRuns, Polygon


def read(request: Request) -> Reading:
    """Read the file.

    Raises:
        UserError: it is not JSON, or not of this form; names the key.
    """
    path = require_file(request.annotations, "--annotations", "JSON file of COCO annotations")
    folder = PictureFolder(require_folder(request.images, "--images", "folder that contains the pictures"))
    data = read_json(path)
    images, annotations = (_get_list(data, key, path) for key in ("images", "annotations"))
    names = _read_categories(data, path)
    licences = _read_licences(data)
    reading = Reading([], kinds=set(names.values()) or None)
    drawn: dict[Any, list[Drawn]] = defaultdict(list)
    known = {_get_id(entry, "id") for entry in images} - {None}
    for number, entry in enumerate(annotations):
        place = f"annotations[{number}]"
        image = _get_id(entry, "image_id")
        if image not in known:
            what = f"image_id {show(entry.get('image_id') if isinstance(entry, dict) else entry)} is not in images"
            reading.problems.append(Problem(place, MISSING, what))
            continue
        drawn[image].append(_read_annotation(entry, place, names))
    matched = folder.match({name for name in map(_get_name, images) if name is not None})
    reading.notes += [f"{path}: {line}" for line in matched.describe()]
    seen_ids: set[Any] = set()
    seen_names: dict[str, tuple[int, str]] = {}
    for number, entry in enumerate(images):
        place, identity = f"images[{number}]", _get_id(entry, "id")
        name = _get_name(entry)
        if identity is None or name is None:
            reading.problems.append(Problem(place, INVALID, "has no id or no file_name"))
            continue
        found = matched.found[name]
        if identity in seen_ids:
            reading.problems.append(Problem(place, TWICE, f"id {show(identity)}"))
        elif found is None:
            reading.problems.append(Problem(place, MISSING, f"{folder.folder}/{name}"))
        elif found in seen_names:
            reading.note_twice(seen_names[found][0], place, seen_names[found][1])
        else:
            seen_names[found] = len(reading.pictures), place
            objects, size = DrawnObjects(tuple(drawn[identity])), get_size(entry, "width", "height")
            licence = licences.get(_get_id(entry, "license"))
            reading.pictures.append(Picture(found, folder.files[found], objects, size, licence))
        seen_ids.add(identity)
    reading.unread = folder.list_unread(seen_names)
    return reading


def _get_list(data: Any, key: str, path: Path) -> list[Any]:
    if not isinstance(data, dict):
        raise UserError(f"{path}: holds a {type(data).__name__}, not the mapping of a COCO file; name the instances file")
    value = data.get(key)
    if not isinstance(value, list):
        raise UserError(
            f"{path}: {key}: {'is missing' if value is None else f'is {show(value)}, not a list'}; name a COCO instances file"
        )
    if key == "annotations" and any(isinstance(entry, dict) and "segments_info" in entry for entry in value[:1]):
        raise UserError(f"{path}: is a panoptic file, whose outlines are in PNGs; name the instances file")
    return value


def _get_name(entry: Any) -> str | None:
    return get_text(entry, "file_name") if isinstance(entry, dict) else None


def _get_id(entry: Any, key: str) -> int | str | None:
    value = entry.get(key) if isinstance(entry, dict) else None
    return value if isinstance(value, int | str) and not isinstance(value, bool) else None


def _read_categories(data: dict[str, Any], path: Path) -> dict[Any, str]:
    names = {}
    for number, entry in enumerate(_get_list({"categories": []} | data, "categories", path)):
        identity, name = _get_id(entry, "id"), get_text(entry, "name") if isinstance(entry, dict) else None
        if identity is None or name is None:
            raise UserError(f"{path}: categories[{number}]: has no id or no name; correct it")
        names[identity] = name
    return names


def _read_licences(data: dict[str, Any]) -> dict[Any, str]:
    listed = data.get("licenses")
    licences = {}
    for entry in listed if isinstance(listed, list) else []:
        if isinstance(entry, dict):
            name, url = get_text(entry, "name"), get_text(entry, "url")
            licences[_get_id(entry, "id")] = f"{name} ({url})" if name and url else name or url
    return {identity: text for identity, text in licences.items() if identity is not None and text is not None}


def _read_annotation(entry: dict[str, Any], place: str, names: dict[Any, str]) -> Drawn:
    category = _get_id(entry, "category_id")
    kind = names.get(category)
    if "id" in entry:
        place = f"{place} (id {show(entry['id'])})"
    if kind is None:
        return Drawn(place, None, fault=INVALID, detail=f"category_id {show(entry.get('category_id'))} is not in categories")
    if entry.get("iscrowd") in (1, True):
        return Drawn(place, kind, fault=CROWD)
    segmentation = entry.get("segmentation")
    if segmentation in (None, [], {}, ""):
        return Drawn(place, kind, fault=BOX)
    try:
        return Drawn(place, kind, _read_segmentation(segmentation))
    except ValueError as error:
        return Drawn(place, kind, fault=INVALID, detail=str(error))


def _is_without_area(part: Any) -> bool:
    """Whether it is a point or a line, as some tools leave between the parts of an object."""
    return isinstance(part, list) and len(part) in (0, 2, 4) and all(map(is_number, part))


def _read_segmentation(value: Any) -> tuple[Shape, ...]:
    if isinstance(value, list):
        if all(map(is_number, value)):  # a single polygon without the list around it
            value = [value]
        parts = [(number, part) for number, part in enumerate(value) if not _is_without_area(part)]
        polygons = []
        for number, part in parts or enumerate(value):
            try:
                polygons.append(Polygon(pair_up(part)))
            except ValueError as error:
                raise ValueError(f"segmentation[{number}]: {error}") from error
        return tuple(polygons)
    if not isinstance(value, dict):
        raise ValueError(f"segmentation {show(value)} is neither polygons nor run lengths")
    size, counts = value.get("size"), value.get("counts")
    if not (isinstance(size, list) and len(size) == 2 and all(is_number(s) and s >= 1 and s == int(s) for s in size)):
        raise ValueError(f"segmentation.size {show(size)} is not [height, width]")
    if isinstance(counts, list) and all(is_number(count) and count == int(count) for count in counts):
        counts = tuple(map(int, counts))
    elif not isinstance(counts, str):
        raise ValueError(f"segmentation.counts {show(counts)} are neither numbers nor compressed")
    return (ColumnRuns(int(size[0]), int(size[1]), counts),)
