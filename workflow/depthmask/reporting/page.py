"""One self-contained page: nothing on it is loaded from anywhere, and equal inputs give equal bytes."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from depthmask.errors import UserError
from depthmask.params import ReportParams
from depthmask.reporting import words
from depthmask.reporting.figures import Curves, draw_curves, join_histories
from depthmask.reporting.inputs import PARTS, TRAINING_STAGES, Inputs
from depthmask.reporting.rendering import load_template

PAGE_BYTES_MAX = 5_000_000
PICTURE_SIDES_PX = (256, 192, 128, 96, 64, 48)  # the largest with which the page stays under PAGE_BYTES_MAX is taken
JPEG_QUALITY = 85
SCORE_GROUPS = (  # prefix and suffix of the keys, name, title
    ("", "", "plain", "Mean over pictures"),
    ("", words.ALIGNED, "aligned", "Mean over pictures, after scale and shift were fitted to the truth"),
    (words.FOREGROUND, "", "in the foreground", "Mean over pictures, inside the true foreground"),
    ("", words.POOLED, "pooled", "All pictures pooled as if they were one"),
)
SKIPPED_SHOWN = 10  # samples that were left out, by name; the record has them all
TERM_PREFIXES = ("train_mask_", "train_depth_")


def build_page(inputs: Inputs, reports: Path, params: ReportParams) -> str:
    """The page's HTML. `reports`: the folder that `inputs` were read from, for the pictures that its index files name.

    Raises:
        UserError: a picture is missing or broken, or a history holds no numbers.
    """
    source = find_source(inputs)
    content = {
        "title": params.title,
        "words": words,
        "test": inputs.metrics["test"],
        "cards": make_cards(inputs.metrics["test"]),
        "summary": summarise(inputs),
        "tables": [
            make_score_table(inputs.metrics["test"], family, words.UNIT_SIGNS.get(inputs.depth_unit, ""))
            for family in words.SCORES
            if family in inputs.metrics["test"]
        ],
        "figures": make_figures(inputs, reports),
        "counts": inputs.counts,
        "cutouts_known": inputs.cutouts_known,
        "roles": list(dict.fromkeys(role for part in PARTS for role in inputs.counts[part])),
        "channels": inputs.statistics["channels"],
        "skipped": source.get("skipped", []),
        "num_skipped_shown": SKIPPED_SHOWN,
        "warnings": source.get("warnings", []),
        "params": collect_params(inputs.runs),
        "runs": [
            run | {"extra": {"images_per_second": None, "peak_memory_mib": None} | run.get("extra", {})} for run in inputs.runs
        ],
        "total_seconds": sum(run["seconds"] for run in inputs.runs),
        "versions": merge_facts(inputs.runs, "versions"),
        "hardware": merge_facts(inputs.runs, "hardware"),
        "commits": sorted({run["commit"] or "" for run in inputs.runs}),
        "dirty": any(run["dirty"] for run in inputs.runs),
        "legend": inputs.samples["legend"],
        "photos_skipped": inputs.photos["skipped"],
    }
    template = load_template("report.html.j2")
    for side_px in PICTURE_SIDES_PX:
        page = template.render(content, **make_galleries(inputs, reports, params.num_worst, side_px))
        if len(page.encode()) <= PAGE_BYTES_MAX:
            break
    return page


def show_value(value: Any) -> str:
    """A param or a fact as text: as in params.yaml where possible."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, (list, tuple, dict)):
        return json.dumps(value, ensure_ascii=False)
    return f"{value:g}" if isinstance(value, float) else str(value)


def summarise(inputs: Inputs) -> dict[str, Any]:
    """What the sentence at the top says, as far as it is known."""
    model = next((run["extra"]["model"] for run in inputs.runs if "model" in run.get("extra", {})), {})
    return {
        "model": model.get("name"),
        "background_input": model.get("background_input"),
        "num_parameters": model.get("num_parameters"),
        "source": find_source(inputs).get("name"),
        "training_seconds": sum(run["seconds"] for run in inputs.runs if run["stage"] in TRAINING_STAGES),
    }


def find_source(inputs: Inputs) -> dict[str, Any]:
    """What a run has recorded of the source of the data; empty where none has."""
    return next((run["extra"]["source"] for run in inputs.runs if "source" in run.get("extra", {})), {})


def make_cards(test: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The headline scores, each with the best answer that needs no network."""
    cards = []
    for family, key in words.HEADLINES:
        value, best = test[family].get(key), words.find_best_baseline(test["baselines"], family, key)
        cards.append(
            {
                "label": f"{family} {words.SCORES[family][key].label}",
                "words": words.SCORES[family][key],
                "value": value,
                "baseline": best and {"name": words.BASELINES.get(best[0], best[0]), "value": best[1]},
                "ahead": None if value is None or best is None else words.is_better(value, best[1], family, key),
            }
        )
    return cards


def make_score_table(test: Mapping[str, Any], family: str, unit: str) -> dict[str, Any]:
    """All scores of a task: columns for the network and each baseline, rows in groups; the best of a row is marked."""
    baselines = {name: scores for name, scores in test["baselines"].items() if name.startswith(f"{family}_")}
    columns = {"the network": test[family], **{words.BASELINES.get(name, name): scores for name, scores in baselines.items()}}
    groups = []
    for prefix, suffix, name, title in SCORE_GROUPS:
        rows = []
        for key, described in words.SCORES[family].items():
            values = [scores.get(f"{prefix}{key}{suffix}") for scores in columns.values()]
            if f"{prefix}{key}{suffix}" in test[family]:
                known = [value for value in values if value is not None]
                best = (max if described.higher else min)(known) if len(known) > 1 else None
                sign = f" ({unit})" if described.in_unit and unit else ""
                rows.append({"words": described, "label": described.label + sign, "values": values, "best": best})
        if rows:
            groups.append({"name": name, "title": title, "rows": rows})
    return {"family": family, "columns": list(columns), "groups": groups}


def make_figures(inputs: Inputs, reports: Path) -> list[dict[str, Any]]:
    """Training curves of all stages on one axis, as {"title", "svg"}."""
    labels = {}
    for run in inputs.runs:
        phase = run["params"].get(run["stage"])
        if isinstance(phase, dict) and "image_size_px" in phase:
            for number, changes in enumerate([{}, *phase.get("more_phases", [])], start=1):
                labels[run["stage"], str(number)] = f"{run['stage']} {changes.get('image_size_px', phase['image_size_px'])} px"
    try:
        curves = join_histories(inputs.histories, labels)
    except (KeyError, TypeError, ValueError) as error:
        files = " or ".join(str(reports / stage / "history.csv") for stage in TRAINING_STAGES)
        raise UserError(f"{files}: a row that is no history ({error}); train again") from error
    last = curves.spans[-1].end
    loss = {"train_loss": "training", "validation_loss": "validation"}
    scores = {"validation_mask_iou": "mask IoU", "validation_depth_delta1": "depth δ < 1.25"}
    terms = {name: name.removeprefix("train_").replace("_", " ") for name in curves.columns if name.startswith(TERM_PREFIXES)}
    wanted = [
        ("Loss", loss, "weighted sum", {"log": True}),
        ("Scores on the validation set", scores, "score", {"low": 0.0}),
        ("Terms of the training loss", terms, "before weighting", {"log": True}),
        ("Learning rate", {"learning_rate": "learning rate"}, "rate", {"low": 0.0}),
    ]
    return [
        {"title": title, "svg": draw_curves(curves, series, y_label, f"{title}, over {last} optimiser steps", **options)}
        for title, series, y_label, options in wanted
        if _has_values(curves, series)
    ]


def _has_values(curves: Curves, series: Mapping[str, str]) -> bool:
    return any(value == value for name in series for value in curves.columns.get(name, []))


def collect_params(runs: list[dict[str, Any]]) -> dict[str, list[tuple[str, str]]]:
    """Every params section that a run has recorded, its keys flat; a section that two runs had differently stands twice."""
    found: dict[str, Any] = {}
    for run in runs:
        for section, values in run["params"].items():
            same = section not in found or found[section] == values
            found[section if same else f"{section} (of {run['stage']})"] = values
    return {section: list(_flatten(values)) for section, values in found.items()}


def _flatten(values: Any, prefix: str = ""):
    if isinstance(values, dict) and values:
        for key, value in values.items():
            yield from _flatten(value, f"{prefix}.{key}" if prefix else key)
    else:
        yield prefix, show_value(values)


def merge_facts(runs: list[dict[str, Any]], field: str) -> list[tuple[str, str]]:
    """Versions or hardware: one value where all runs agree, else each run's own."""
    keys = list(dict.fromkeys(key for run in runs for key in (run[field] or {})))
    facts = []
    for key in keys:
        by_stage = {run["stage"]: show_value(run[field][key]) for run in runs if key in (run[field] or {})}
        same = len(set(by_stage.values())) == 1
        facts.append((key, next(iter(by_stage.values())) if same else "; ".join(f"{s}: {v}" for s, v in by_stage.items())))
    return facts


def make_galleries(inputs: Inputs, reports: Path, num_worst: int, side_px: int) -> dict[str, list[dict[str, Any]]]:
    """`shown`, `worst_mask`, `worst_depth` and `photos`: lists of {"title", "facts", "tiles"}; see `_make_tile`."""
    groups = inputs.samples["groups"]
    wanted = {"shown": None, "worst_mask": num_worst, "worst_depth": num_worst}
    try:
        galleries = {
            group: [_show_sample(inputs.samples, name, reports / "samples", side_px) for name in groups[group][:number]]
            for group, number in wanted.items()
        }
        photos = [_show_photo(photo, reports / "photos", side_px) for photo in inputs.photos["photos"]]
    except KeyError as error:
        raise UserError(f"{reports}/samples/index.json or photos/index.json: lacks {error}; run evaluate again") from error
    return galleries | {"photos": photos}


def _show_sample(index: Mapping[str, Any], name: str, folder: Path, side_px: int) -> dict[str, Any]:
    sample, captions = index["samples"][name], index["captions"]
    what = sample["background"]
    if sample["cutout"]:
        what = f"{sample['kind'] or 'cut-out'} {sample['cutout']} in {what}"
    headline = {family: next(iter(scores.items())) for family, scores in sample["scores"].items()}
    facts = [
        f"{family} {words.SCORES[family][key].label}: {words.format_score(value)}" for family, (key, value) in headline.items()
    ]
    tiles = [
        _make_tile(folder / file, captions[map_name], f"{captions[map_name]}: {what}", side_px)
        for map_name, file in sample["files"].items()
    ]
    return {"title": what, "facts": facts, "tiles": tiles}


def _show_photo(photo: Mapping[str, Any], folder: Path, side_px: int) -> dict[str, Any]:
    shown = {"image": "photo", "mask": "mask", "cutout": "cut out", "depth_colours": "depth"}
    tiles = [
        _make_tile(folder / photo["files"][name], caption, f"{caption}: {photo['name']}", side_px)
        for name, caption in shown.items()
    ]
    return {"title": photo["name"], "facts": ["{} × {} px".format(*photo["photo_size_px"])], "tiles": tiles}


def _make_tile(path: Path, caption: str, alt: str, side_px: int) -> dict[str, Any]:
    """A picture as a data URI, its longest side at most side_px; as it is where it is small enough."""
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
        raise UserError(f"{path}: cannot be read as a picture ({error}); run evaluate again") from error
    uri = f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
    return {"caption": caption, "alt": alt, "src": uri, "width": size[0], "height": size[1]}
