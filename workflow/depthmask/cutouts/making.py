"""Makes the files of one picture: its cut-outs, or itself as a background."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from depthmask.base.errors import UserError
from depthmask.base.files import replace_file
from depthmask.cutouts import edges
from depthmask.cutouts.objects import (
    ANY_OBJECT,
    CUT,
    DEPTH,
    EMPTY,
    OCCUPIED,
    SIZE,
    SMALL,
    UNREADABLE,
    UNSURE,
    UNWANTED,
    Found,
    Picture,
    SegmenterError,
)
from depthmask.cutouts.plan import BETWEEN, Filters, Kept, LeftOut, Plan, Result, Task, tidy_kind
from depthmask.cutouts.reading import Canvas, SizeError, open_canvas, turn_mask
from depthmask.cutouts.sizes import Metres, make_relief, measure, read_metres
from depthmask.data.cutouts import RECTANGLE, Box, find_box
from depthmask.data.images import MASK_THRESHOLD

SEPARATOR = "__"  # between the parts of a name: group, picture, number of the object
COPIED = {
    **dict.fromkeys((".jpg", ".jpeg", ".jpe", ".jfif"), ".jpg"),
    ".png": ".png",
    ".webp": ".webp",
}  # suffixes of backgrounds that are copied as they are


def make(picture: Picture, task: Task, plan: Plan) -> Result:
    """Write the files of a picture under the names that `task` begins.

    Raises:
        OSError: a file cannot be written; SegmenterError: the segmentation network cannot be loaded.
    """
    result = Result(task.number, picture.name, licence=picture.licence or plan.licence)
    try:
        canvas = open_canvas(picture)
        result.height, result.width = canvas.view.image.shape[:2]
        metres = _read_depth(task, plan, canvas, result)
        found = _make_cutouts(picture, task, plan, canvas, metres, result)
    except SegmenterError:  # not about this picture
        raise
    except UserError as error:
        reason = SIZE if isinstance(error, SizeError) else UNREADABLE
        return dataclasses.replace(result, kept=[], left_out=[], depth_fault=None, fault=reason, detail=str(error))
    result.no_background = _find_fault_of_background(picture, task, found, plan, metres, result)
    if result.no_background is None:
        result.background = _write_background(picture, task, canvas, plan, metres)
    return result


def _make_cutouts(picture: Picture, task: Task, plan: Plan, canvas: Canvas, metres: Metres | None, result: Result) -> list[Found]:
    """Write the cut-outs of a picture, or note why one is left out; returns what was found, without the masks.

    Masks are made one by one: each is as large as the picture, which may have hundreds of objects.
    """
    found: list[Found] = []
    groups: dict[str | None, _Group] = {}
    for number, one in enumerate(_turn(picture.objects.find(canvas.view, plan.filters.wants), canvas), 1):
        if one.fault is not None:
            result.left_out.append(LeftOut(one.place, one.kind, one.fault, one.detail, one.number))
        elif plan.one_per == "object":
            _make_cutout(canvas, one, _name(task, number), plan, metres, result)
        else:
            key = one.kind if plan.one_per == "kind" else None
            groups[key] = groups[key].add(one) if key in groups else _Group(number, one)
        found.append(dataclasses.replace(one, alpha=None))
    for group in groups.values():
        _make_cutout(canvas, group.join(), _name(task, group.number), plan, metres, result)
    return found


@dataclasses.dataclass(frozen=True)
class _Group:
    """Objects that become one cut-out. number: of the first of them in the picture, which holds their union."""

    number: int
    first: Found
    kinds: frozenset[str] = frozenset()
    num_more: int = 0

    def add(self, other: Found) -> _Group:
        union = dataclasses.replace(self.first, alpha=np.maximum(self.first.alpha, other.alpha))
        return _Group(self.number, union, self.kinds | ({other.kind} - {None}), self.num_more + 1)

    def join(self) -> Found:
        if not self.num_more:
            return self.first
        kinds = self.kinds | ({self.first.kind} - {None})
        place = f"{self.first.place} and {self.num_more} more"
        return Found(place, tidy_kind(BETWEEN.join(sorted(kinds))), self.first.alpha)


def _name(task: Task, number: int) -> str:
    return f"{task.base}{SEPARATOR}{number:02d}"


def _turn(found: Iterable[Found], canvas: Canvas) -> Iterator[Found]:
    for one in found:
        alpha = None if one.alpha is None else turn_mask(one.alpha, canvas.turn)
        yield dataclasses.replace(one, kind=tidy_kind(one.kind), alpha=alpha)


def _read_depth(task: Task, plan: Plan, canvas: Canvas, result: Result) -> Metres | None:
    if plan.depth is None or task.depth_map is None:
        return None
    try:
        return read_metres(task.depth_map, plan.depth, (result.width, result.height), canvas.stored_turn)
    except UserError as error:
        result.depth_fault = str(error)
        return None


def _make_cutout(canvas: Canvas, found: Found, name: str, plan: Plan, metres: Metres | None, result: Result) -> None:
    """Write a cut-out, and its relief where there are depth maps, or note why it is left out."""
    box = find_box(found.alpha)
    fault, detail = find_fault_of_object(found.alpha, box, plan.filters)
    if fault is not None:
        result.left_out.append(LeftOut(found.place, found.kind, fault, detail, box=box and tuple(box)))
        return
    rgba, around = edges.cut(canvas.view.image, found.alpha, plan.feather_px)
    focal_px = plan.optics.find_focal_px(result.height, result.width)
    size = None
    if metres is not None and focal_px is not None:
        size = measure(rgba[..., 3], around, metres, focal_px)
    if plan.depth is not None:
        _save(make_relief(rgba[..., 3], around, metres), plan.out / "fg_depth" / f"{name}.png")
    _save(rgba, plan.out / "fg" / f"{name}.png")
    area = int((found.alpha >= MASK_THRESHOLD).sum())
    fills = area >= RECTANGLE * box.width * box.height
    result.kept.append(Kept(name, found.kind, found.place, tuple(box), area, fills, *(size or (None, None, None))))


def find_fault_of_object(alpha: np.ndarray, box: Box | None, filters: Filters) -> tuple[str | None, str]:
    """Why an object is left out by its mask, with the figures; (None, "") if it is not. box: of its visible pixels."""
    if box is None:
        return EMPTY, ""
    if min(box.width, box.height) < filters.side_min_px:
        return SMALL, f"{box.width} x {box.height} px, less than {filters.side_min_px} px"
    area = int((alpha >= MASK_THRESHOLD).sum())
    if area < filters.area_min_px:
        return SMALL, f"{area:,} pixels, fewer than {filters.area_min_px:,}"
    height, width = alpha.shape
    sides = {
        "left": box.left < filters.frame_margin_px,
        "top": box.top < filters.frame_margin_px,
        "right": box.right > width - filters.frame_margin_px,
        "bottom": box.bottom > height - filters.frame_margin_px,
    }
    touched = [side for side, touches in sides.items() if touches]
    if touched and not filters.allow_cut:
        return CUT, f"at the {', '.join(touched)}"
    return None, ""


def _find_fault_of_background(
    picture: Picture, task: Task, found: list[Found], plan: Plan, metres: Metres | None, result: Result
) -> str | None:
    """Why a picture is no background; None if it is."""
    if not task.is_background:
        if plan.backgrounds == "none" or not picture.is_exhaustive:
            return ""
        if any(one.fault is None or (one.fault != UNWANTED and one.kind is not None) for one in found):
            return OCCUPIED
        if any(one.kind is None for one in found):
            return UNSURE
        if found and plan.backgrounds == "without_objects":
            return ANY_OBJECT
    least = plan.filters.background_side_min_px
    if min(result.width, result.height) < least:
        return f"{SMALL}: a side of less than {least} px"
    return DEPTH if plan.depth is not None and metres is None else None


def _write_background(picture: Picture, task: Task, canvas: Canvas, plan: Plan, metres: Metres | None) -> str:
    """Copy the picture, or save it as PNG where its format or its transparency is none for a background; returns the suffix."""
    suffix = COPIED.get(picture.path.suffix.lower())
    if suffix is None or picture.is_embedded or canvas.view.alpha is not None:
        suffix = ".png"
        _save(canvas.view.image, plan.out / "bg" / f"{task.base}.png")
    else:
        _copy(picture.path, plan.out / "bg" / f"{task.base}{suffix}")
    if metres is not None and metres.stored is not None:
        is_float = metres.stored.dtype.kind == "f"
        place = plan.out / "bg_depth" / f"{task.base}{'.tif' if is_float else '.png'}"
        _save(metres.stored, place, "TIFF" if is_float else "PNG")
    elif task.depth_map is not None and plan.depth is not None:
        _copy(task.depth_map, plan.out / "bg_depth" / f"{task.base}{task.depth_map.suffix.lower()}")
    return suffix


def _save(array: np.ndarray, path: Path, file_format: str = "PNG") -> None:
    with replace_file(path) as temporary:
        Image.fromarray(array).save(temporary, format=file_format)


def _copy(source: Path, path: Path) -> None:
    with replace_file(path) as temporary:
        shutil.copyfile(source, temporary)
