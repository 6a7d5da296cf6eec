"""The page's section of other data sets: the main scores of each beside baselines and the model's own test set, and samples."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from depthmask.base.errors import UserError
from depthmask.reporting.gallery import SHOWN, describe_scores, make_tile
from depthmask.reporting.inputs import OTHER, Inputs, OtherResults
from depthmask.scores import Prominence, list_scores
from depthmask.scores import labels as words

NUM_SHOWN, NUM_WORST = 4, 2  # samples on the page: the first, and the worst by mask and by depth
CAPTIONS = {
    "image": "photo",
    "mask": "mask, truth",
    "mask_prediction": "mask, predicted",
    "depth": "depth, truth",
    "depth_prediction": "depth, predicted",
}


def make_others(inputs: Inputs, reports: Path, side_px: int) -> list[dict[str, Any]]:
    """{"name", "num_images", "origin", "rows", "notes", "warnings", "samples"} of each set, with images of at most side_px.

    Raises:
        UserError: an image is missing or broken, or an index file lacks what it should have.
    """
    return [_describe(name, found, inputs, reports / OTHER / name, side_px) for name, found in inputs.others.items()]


def _describe(name: str, found: OtherResults, inputs: Inputs, folder: Path, side_px: int) -> dict[str, Any]:
    test, source = found.metrics["test"], found.run.get("extra", {}).get("source", {})
    specs, own = list_scores(at_least=Prominence.TABLE), inputs.metrics["test"]
    has_same_unit = found.depth_unit == inputs.depth_unit
    try:
        samples = [_show(found.samples["samples"][one], folder / "samples", side_px) for one in _choose(found.samples)]
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise UserError(
            f"{folder / 'samples/index.json'}: lacks {error}; run the stage that makes it again: evaluate_other@{name}"
        ) from error
    return {
        "name": name,
        "num_images": test["num_images"],
        "origin": _list_origin(source),
        "rows": [
            _make_row(test, own if has_same_unit or not spec.in_depth_unit else {}, spec, found.depth_unit) for spec in specs
        ],
        "notes": [*words.describe_coverage(test, specs), *source.get("notes", [])],
        "warnings": source.get("warnings", []),
        "samples": samples,
    }


def _list_origin(source: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What the set is, as (name, value), as far as known."""
    depth = source.get("depth", {})
    known = {
        "layout": source.get("source"),
        "from": source.get("path"),
        "depth": f"{depth['unit']}, up to {depth['max']:g}" if {"unit", "max"} <= depth.keys() else None,
        "licence": source.get("licence"),
        "please cite": source.get("citation"),
    }
    return [(name, value) for name, value in known.items() if value]


def _make_row(test: Mapping[str, Any], own: Mapping[str, Any], spec: Any, unit: str) -> dict[str, Any]:
    """A main score: the network's with its interval, the best baseline's, and what the network has on its own test set.

    own: scores of the latter; empty where they are in another unit.
    """
    key = words.choose_key(test, spec)
    values, best = test[spec.family], words.find_best_baseline(test["baselines"], spec, key)
    value = values.get(key)
    return {
        "spec": spec,
        "label": words.make_heading(spec, unit, key),
        "value": value,
        "interval": words.describe_interval(values, key),
        "reason": words.find_reason(test, spec) if value is None else None,
        "baseline": best and {"name": words.BASELINES.get(best[0], best[0]), "value": best[1]},
        "ahead": None if value is None or best is None else words.is_better(value, best[1], spec),
        "own": own.get(spec.family, {}).get(key),
    }


def _choose(index: Mapping[str, Any]) -> list[str]:
    groups = index["groups"]
    chosen = groups.get(SHOWN, [])[:NUM_SHOWN]
    for group, names in groups.items():
        chosen = chosen + (names[:NUM_WORST] if group.startswith("worst_") else [])
    return list(dict.fromkeys(chosen))


def _show(sample: Mapping[str, Any], folder: Path, side_px: int) -> dict[str, Any]:
    title = words.describe_scene(sample)
    tiles = [
        make_tile(folder / sample["files"][name], caption, f"{caption}: {title}", side_px) for name, caption in CAPTIONS.items()
    ]
    return {"title": title, "properties": describe_scores(sample), "tiles": tiles}
