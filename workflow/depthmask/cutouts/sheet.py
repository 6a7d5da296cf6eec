"""The contact sheet: one HTML file, pictures included, of what was kept and what was left out, and why."""

from __future__ import annotations

import base64
import io
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
from PIL import Image, ImageDraw

from depthmask.base.errors import UserError
from depthmask.base.files import write_text
from depthmask.cutouts.objects import Picture
from depthmask.cutouts.plan import Kept, LeftOut, Result, Task
from depthmask.cutouts.reading import open_canvas
from depthmask.cutouts.results import NO_KIND, Summary
from depthmask.data.images import read_photo, read_rgba
from depthmask.reporting.rendering import load_template
from depthmask.sources.layout import choose_spread

SIDE_PX, QUALITY = 150, 82
KEPT_SHOWN, KINDS_SHOWN, BACKGROUNDS_SHOWN, LEFT_SHOWN = 60, 20, 24, 12  # the kept ones are of all kinds together
CHECKER_PX, LIGHT, DARK = 10, 235, 205
MARGIN, OUTLINE = 0.25, "red"  # around an object that was left out, of its sides
Item = TypeVar("Item")


class Tile(NamedTuple):
    """source: a data URL."""

    source: str
    caption: str


class Group(NamedTuple):
    """Tiles under one heading; total: how many there are."""

    name: str
    tiles: list[Tile]
    total: int


def write_sheet(
    path: Path, out: Path, summary: Summary, results: Sequence[Result], pictures: Sequence[Picture], tasks: Sequence[Task]
) -> None:
    """Write the page. Of many, evenly spaced ones are shown."""
    shown_backgrounds = choose_spread([result for result in results if result.background], BACKGROUNDS_SHOWN)
    page = load_template("sheet.html.j2", Path(__file__).parent).render(
        side_px=SIDE_PX,
        summary=summary,
        kinds=_show_kept(out, results),
        backgrounds=_make_tiles(shown_backgrounds, lambda result: _show_background(out, result, tasks[result.number])),
        reasons=_show_left_out(results, pictures),
    )
    write_text(path, page)


def _show_kept(out: Path, results: Iterable[Result]) -> list[Group]:
    by_kind: dict[str, list[Kept]] = defaultdict(list)
    for result in results:
        for one in result.kept:
            by_kind[one.kind or NO_KIND].append(one)
    most_frequent = sorted(by_kind.items(), key=lambda pair: (-len(pair[1]), pair[0]))[:KINDS_SHOWN]
    each = max(4, KEPT_SHOWN // max(1, len(most_frequent)))
    return [
        Group(kind, _make_tiles(choose_spread(kept, each), lambda one: _show_cutout(out, one)), len(kept))
        for kind, kept in most_frequent
    ]


def _show_left_out(results: Iterable[Result], pictures: Sequence[Picture]) -> list[Group]:
    """Those with a box, by reason."""
    by_reason: dict[str, list[tuple[Result, LeftOut]]] = defaultdict(list)
    for result in results:
        for one in result.left_out:
            if one.box is not None:
                by_reason[one.reason].append((result, one))
    return [
        Group(
            reason,
            _make_tiles(choose_spread(left, LEFT_SHOWN), lambda pair: _show_object(pictures[pair[0].number], *pair)),
            len(left),
        )
        for reason, left in sorted(by_reason.items())
    ]


def _make_tiles(items: Iterable[Item], make: Callable[[Item], Tile]) -> list[Tile]:
    """A tile for each item; none where its file has been removed meanwhile."""
    tiles = []
    for item in items:
        try:
            tiles.append(make(item))
        except UserError:
            continue
    return tiles


def _show_cutout(out: Path, one: Kept) -> Tile:
    rgba = Image.fromarray(read_rgba(out / "fg" / f"{one.name}.png"))
    shown = rgba.copy()
    shown.thumbnail((SIDE_PX, SIDE_PX))
    rows, columns = np.mgrid[: shown.height, : shown.width] // CHECKER_PX
    checker = np.where((rows + columns) % 2, LIGHT, DARK).astype(np.uint8)
    picture = Image.fromarray(checker).convert("RGBA")
    picture.alpha_composite(shown)
    left, top, right, bottom = one.box
    metres = "" if one.height_m is None else f", {one.height_m:.2f} m high"
    return Tile(_encode(picture.convert("RGB")), f"{one.name}: {right - left} x {bottom - top} px{metres}")


def _show_background(out: Path, result: Result, task: Task) -> Tile:
    picture = Image.fromarray(read_photo(out / "bg" / f"{task.base}{result.background}"))
    picture.thumbnail((SIDE_PX, SIDE_PX))
    return Tile(_encode(picture), f"{task.base}: {result.width} x {result.height} px")


def _show_object(picture: Picture, result: Result, one: LeftOut) -> Tile:
    """The surroundings of an object in its picture, with its box."""
    photo = Image.fromarray(open_canvas(picture).view.image)
    left, top, right, bottom = one.box
    margin = round(MARGIN * max(right - left, bottom - top)) + 4
    around = max(0, left - margin), max(0, top - margin), min(photo.width, right + margin), min(photo.height, bottom + margin)
    part = photo.crop(around)
    scale = SIDE_PX / max(part.size)
    part = part.resize((max(1, round(part.width * scale)), max(1, round(part.height * scale))))
    corners = ((left - around[0]) * scale, (top - around[1]) * scale, (right - around[0]) * scale, (bottom - around[1]) * scale)
    ImageDraw.Draw(part).rectangle(corners, outline=OUTLINE)
    return Tile(_encode(part), f"{result.picture}, {one.place}: {one.kind or NO_KIND}, {one.detail or one.reason}")


def _encode(picture: Image.Image) -> str:
    data = io.BytesIO()
    picture.save(data, "JPEG", quality=QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(data.getvalue()).decode()}"
