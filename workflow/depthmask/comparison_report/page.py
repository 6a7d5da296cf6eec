"""Builds the page: all scores, params that differ, and the images that changed most with the maps of both."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from depthmask.base.errors import UserError
from depthmask.base.files import JsonError, read_json
from depthmask.comparison.comparison import Comparison
from depthmask.comparison.differences import BETTER, WORSE, find_most_changed
from depthmask.comparison.words import (
    describe_images,
    describe_main_scores,
    describe_method,
    describe_params,
    describe_rest_of_params,
    describe_score,
)
from depthmask.reporting.gallery import make_tile
from depthmask.reporting.rendering import load_template
from depthmask.scores.labels import describe_scene, format_score

TEMPLATES = Path(__file__).parent / "templates"
SIDE_PX = 256
NUM_SHOWN = 3  # samples of each primary score
MAPS = ("mask", "depth")


def build_page(comparison: Comparison) -> str:
    """The page: all scores, params, and the images that changed most, with the maps of both where both have them.

    Raises:
        UserError: an image of a sample is missing or broken.
    """
    main = {one.column for one in comparison.list_main()}
    more = [describe_score(one, comparison.unit) for one in comparison.differences if one.column not in main]
    return load_template("comparison.html.j2", TEMPLATES).render(
        a=comparison.a.title,
        b=comparison.b.title,
        method=describe_method(comparison),
        main=describe_main_scores(comparison),
        more=more,
        styles={BETTER: "better", WORSE: "worse"},
        params=describe_params(comparison),
        rest_of_params=describe_rest_of_params(comparison),
        images=describe_images(comparison),
        samples=_list_samples(comparison),
    )


def _list_samples(comparison: Comparison) -> list[dict[str, Any]]:
    """The images that changed most among those of which both sides have the maps."""
    a, b = (_read_samples(one.samples) for one in (comparison.a, comparison.b))
    known = {index for index, (row, _) in enumerate(comparison.pairs) if row["key"] in a and row["key"] in b}
    shown: dict[int, None] = {}
    for column in comparison.changed:
        changed = find_most_changed(comparison.get(column), len(comparison.pairs))
        shown |= dict.fromkeys([index for index in changed if index in known][:NUM_SHOWN])
    return [_show_sample(comparison, index, a, b) for index in shown]


def _read_samples(folder: Path | None) -> dict[str, tuple[Path, dict[str, Any], dict[str, str]]]:
    """By key: the folder, its sample and the captions of the maps."""
    if folder is None:
        return {}
    try:
        index = read_json(folder / "index.json")
        return {sample["key"]: (folder, sample["files"], index["captions"]) for sample in index["samples"].values()}
    except (OSError, JsonError, KeyError, TypeError) as error:
        raise UserError(f"{folder / 'index.json'}: cannot be read ({error}); run evaluate again") from error


def _show_sample(comparison: Comparison, index: int, a: dict, b: dict) -> dict[str, Any]:
    row = comparison.pairs[index][1]
    folder, files, captions = b[row["key"]]

    def show(folder: Path, files: dict[str, str], name: str, side: str = "") -> dict[str, Any]:
        caption = f"{side}: {captions[name]}" if side else captions[name]
        return make_tile(folder / files[name], caption, f"{caption} of {row['key']}", SIDE_PX)

    tiles = [show(folder, files, "image")]
    for name in MAPS:  # the truth and both predictions, in a row
        tiles.append(show(folder, files, name))
        tiles += [show(*known[row["key"]][:2], f"{name}_prediction", side) for side, known in (("A", a), ("B", b))]
    properties = []
    for column in comparison.changed:
        one = comparison.get(column)
        old, new = one.values_N2[index]
        properties.append(f"{one.spec.label}: {format_score(old)} and {format_score(new)}")
    return {"title": describe_scene(row), "properties": properties, "tiles": tiles}
