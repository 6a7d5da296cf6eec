"""The page's images, and what the gallery sorts and filters by."""

from __future__ import annotations

import base64
import io
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from depthmask.base.errors import UserError
from depthmask.reporting.inputs import Inputs
from depthmask.reporting.score_groups import read_number
from depthmask.scores import FAMILIES, SCORES, Prominence, list_scores
from depthmask.scores import labels as words

JPEG_QUALITY = 85
SHOWN = "shown"  # the group of unselected samples
MAPS = {"mask": "mask", "depth": "depth"}  # in index.json: the truth, with _prediction and _difference beside it


def make_galleries(inputs: Inputs, reports: Path, num_worst: int, side_px: int) -> dict[str, Any]:
    """`samples`, `photos` and `augmented`: images of at most side_px; `score_options` and `kinds`: the choices.

    A sample is in the gallery if it is among the first, or among the num_worst worst or best by mask or depth.

    Raises:
        UserError: an image is missing or broken, or an index file or per_image.csv lacks what it should have.
    """
    index = inputs.samples
    limits = {group: None if group == SHOWN else num_worst for group in index["groups"]}
    groups = {group: names[: limits[group]] for group, names in index["groups"].items()}
    try:
        names = sorted({name for listed in groups.values() for name in listed})
        samples = [_show_sample(inputs, name, reports / "samples", side_px) for name in names]
        for sample in samples:
            sample["groups"] = [group for group, listed in groups.items() if sample["name"] in listed]
        photos = [_show_photo(photo, reports / "photos", side_px) for photo in inputs.photos["photos"]]
        augmented = [_show_draws(entry, reports / "samples", side_px) for entry in inputs.augmented]
    except (KeyError, IndexError, ValueError) as error:
        raise UserError(
            f"{reports}: samples/index.json, samples/augmented.json, photos/index.json and per_image.csv do not fit together"
            f" ({error}); run evaluate again"
        ) from error
    return {
        "samples": samples,
        "photos": photos,
        "augmented": augmented,
        "score_options": list_score_options(inputs),
        "ranked_by": [spec.title for spec in list_scores(at_least=Prominence.PRIMARY)],
        "kinds": sorted({sample["kind"] for sample in samples if sample["kind"]}),
    }


def list_score_options(inputs: Inputs) -> list[tuple[str, list[dict[str, Any]]]]:
    """By family, the score columns of per_image.csv: {"column", "label", "higher"}."""
    options = []
    for family in FAMILIES:
        found = []
        for column in inputs.per_image[0]:
            label, spec = words.describe_column(column) or ("", None)
            if spec is not None and spec.family == family:
                found.append({"column": column, "label": label, "higher": spec.higher_is_better})
        options.append((family, found))
    return [(family, found) for family, found in options if found]


def _show_sample(inputs: Inputs, name: str, folder: Path, side_px: int) -> dict[str, Any]:
    sample, captions, row = inputs.samples["samples"][name], inputs.samples["captions"], inputs.per_image[int(name)]
    if row["key"] != sample["key"]:
        raise ValueError(f"line {int(name) + 2} of per_image.csv is {row['key']}, not {sample['key']}")
    title = sample["background"]
    if sample["cutout"]:
        title = f"{sample['kind'] or 'cut-out'} {sample['cutout']} in {title}"

    def show(map_name: str) -> dict[str, Any]:
        caption = captions[map_name].replace(", difference", " error")
        return make_tile(folder / sample["files"][map_name], caption, f"{caption}: {title}", side_px)

    columns = [option["column"] for _, options in list_score_options(inputs) for option in options]
    known = {column: read_number(row, column) for column in columns}
    return {
        "name": name,
        "title": title,
        "kind": sample["kind"],
        "properties": describe_scores(sample),
        "photo": show("image"),
        "tasks": [
            {
                "name": task,
                "truth": show(base),
                "prediction": show(f"{base}_prediction"),
                "difference": show(f"{base}_difference"),
            }
            for task, base in MAPS.items()
        ],
        "scores": json.dumps({column: value for column, value in known.items() if not math.isnan(value)}),
    }


def describe_scores(sample: Mapping[str, Any]) -> list[str]:
    """The first score of each task of a sample of index.json."""
    properties = []
    for family, scores in sample["scores"].items():
        key, value = next(iter(scores.items()))
        properties.append(f"{SCORES[family, key].title}: {words.UNKNOWN if value is None else words.format_score(value)}")
    return properties


def _show_photo(photo: Mapping[str, Any], folder: Path, side_px: int) -> dict[str, Any]:
    shown = {"image": "photo", "mask": "mask", "cutout": "cut out", "depth_colours": "depth"}
    tiles = [
        make_tile(folder / photo["files"][name], caption, f"{caption}: {photo['name']}", side_px)
        for name, caption in shown.items()
    ]
    return {"title": photo["name"], "properties": ["{} × {} px".format(*photo["photo_size_px"])], "tiles": tiles}


def _show_draws(entry: Mapping[str, Any], folder: Path, side_px: int) -> list[dict[str, Any]]:
    """Photo and mask of each draw."""
    draws = []
    for number, files in enumerate(entry["draws"]):
        caption = f"draw {number}" if number else "as it is"
        pictures = {name: make_tile(folder / file, caption, f"{name}, {caption}", side_px) for name, file in files.items()}
        draws.append({"caption": caption, **pictures})
    return draws


def make_tile(path: Path, caption: str, alt: str, side_px: int) -> dict[str, Any]:
    """An image as a data URI, reduced to a longest side of side_px if larger."""
    try:
        data = path.read_bytes()
        with Image.open(io.BytesIO(data)) as picture:
            picture.load()
            kind = picture.format.lower()
            size = picture.size
            if max(size) > side_px:
                picture.thumbnail((side_px, side_px), Image.Resampling.BOX)
                out, size = io.BytesIO(), picture.size
                picture.save(out, format=kind, **({"quality": JPEG_QUALITY} if kind == "jpeg" else {"optimize": True}))
                data = out.getvalue()
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file; run evaluate again") from error
    except (OSError, SyntaxError, ValueError) as error:
        raise UserError(f"{path}: cannot be read as an image ({error}); run evaluate again") from error
    uri = f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
    return {"caption": caption, "alt": alt, "src": uri, "width": size[0], "height": size[1]}
