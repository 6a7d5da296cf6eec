"""Builds one self-contained page that depends on results only: equal results give equal bytes, whenever and wherever made.

What differs from run to run is in a small file beside it (`runs_file.py`), the only thing the page loads.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from depthmask.base.errors import UserError
from depthmask.base.files import write_text
from depthmask.comparison.pairing import NOT_SET
from depthmask.comparison.results import flatten
from depthmask.params import ReportParams
from depthmask.pictures import colours
from depthmask.point_clouds import viewer
from depthmask.reporting.context import Context
from depthmask.reporting.figures import Chart, Curves, draw_curves, draw_histogram, join_histories
from depthmask.reporting.gallery import SHOWN, make_galleries
from depthmask.reporting.inputs import PARTS, TRAINING_STAGES, Inputs
from depthmask.reporting.other_sets import make_others
from depthmask.reporting.rendering import load_template, read_script
from depthmask.reporting.runs_file import build_runs, choose_runs_path
from depthmask.reporting.scene import make_scene
from depthmask.reporting.score_groups import count_kinds, group_scores, make_content_histograms, make_score_histograms
from depthmask.scores import (
    ALIGNED,
    ALIGNED_DISPARITY,
    AVERAGED,
    CAPPED,
    CAPPED_EIGEN,
    EIGEN,
    FAMILIES,
    FOREGROUND,
    HIGH,
    LOW,
    MEDIAN_SCALED,
    POOLED,
    PREFIXES,
    SUFFIXES,
    Prominence,
    ScoreSpec,
    list_scores,
)
from depthmask.scores import labels as words

PAGE_BYTES_MAX = 5_000_000
PICTURE_SIDES_PX = (256, 192, 128, 96, 64, 48)  # the largest that keeps the page under PAGE_BYTES_MAX is used
SCORE_GROUPS = (  # prefix and suffix of the keys, name, title
    ("", "", "plain", "Mean over images"),
    ("", MEDIAN_SCALED, "median-scaled", "Mean over images, after scaling to the truth's median"),
    ("", ALIGNED, "aligned", "Mean over images, after scale and shift were fitted to the truth"),
    ("", ALIGNED_DISPARITY, "aligned in disparity", "Mean over images, after scale and shift of 1 / depth were fitted"),
    (FOREGROUND, "", "in the foreground", "Mean over images, inside the true foreground"),
    *(
        (prefix, suffix, name, f"Mean over images, {name}")
        for prefix in (CAPPED, EIGEN, CAPPED_EIGEN)
        for suffix in SUFFIXES
        for name in [", ".join(filter(None, (PREFIXES[prefix], SUFFIXES[suffix])))]
    ),
    ("", POOLED, "pooled", "All images pooled as if they were one"),
)
SKIPPED_SHOWN = 10  # skipped samples listed on the page; the record has all
TERM_PREFIXES = ("train_mask_", "train_depth_")
PAGE = Path("index.html")


class Page(NamedTuple):
    """A page and the file beside it. html: depends on results and params only; runs: what differs from run to run."""

    html: str
    runs: str


def build_page(inputs: Inputs, reports: Path, params: ReportParams, context: Context | None = None, path: Path = PAGE) -> Page:
    """The page and its file of runs.

    reports: the folder that `inputs` were read from, for the images named in its index files. path: of the page; the name
    of the runs file beside it is derived from it.

    Raises:
        UserError: an image is missing or broken, or a history contains no numbers.
    """
    context, test = context or Context(), inputs.metrics["test"]
    scene = make_scene(inputs, reports)
    script = "\n".join([read_script(), *([] if scene is None else [viewer.read_script()])])
    intervals = inputs.intervals["test"]
    cards = make_cards(test, intervals, context)
    runs_name = choose_runs_path(path).name
    content = {
        "title": params.title,
        "colours": colours,
        "script": script,
        "script_hash": viewer.hash_script(script),
        "scene": scene,
        "scene_style": "" if scene is None else viewer.read_style(),
        "runs_name": runs_name,
        "runs_address": f"./{quote(runs_name)}",  # with ./, because a name with a colon would be a URL
        "test": test,
        "hashes": context.hashes,
        "cards": cards,
        "num_first": len(inputs.samples["groups"].get(SHOWN, [])),
        **describe_scores(inputs),
        **describe_data(inputs),
        **describe_params(inputs, context),
        "figures": make_figures(inputs, reports),
        "photos_skipped": inputs.photos["skipped"],
    }
    template = load_template("report.html.j2")
    for side_px in PICTURE_SIDES_PX:
        galleries = make_galleries(inputs, reports, params.num_worst, side_px)
        galleries["others"] = make_others(inputs, reports, side_px)
        page = template.render(content, page_id="", **galleries)
        if len(page.encode()) <= PAGE_BYTES_MAX:
            break
    # no text in the page can predict this, so only the two intended scripts pass the page's content security policy
    page_id = hashlib.sha256(page.encode()).hexdigest()
    runs = build_runs(inputs, context, page_id, cards, merge_fields(inputs.runs, "hardware"), show_value)
    return Page(template.render(content, page_id=page_id, **galleries), runs)


def write_page(page: Page, path: Path) -> None:
    """Write the page and the runs file beside it."""
    write_text(choose_runs_path(path), page.runs)
    write_text(path, page.html)


def describe_scores(inputs: Inputs) -> dict[str, Any]:
    """Tables of all scores, histograms of single-picture scores, and scores by image content."""
    unit, test, intervals = words.UNIT_SIGNS.get(inputs.depth_unit, ""), inputs.metrics["test"], inputs.intervals["test"]
    histograms, averaged = make_score_histograms(inputs.per_image), inputs.metrics.get(AVERAGED)
    return {
        "tables": [make_score_table(test, intervals, family, unit, averaged) for family in FAMILIES if family in test],
        "num_clusters": intervals.get("num_clusters") or {},
        "headlines": list_scores(at_least=Prominence.HEADLINE),
        "histograms": [draw_histogram(f"{label} of single images", label, histogram) for label, histogram in histograms],
        "score_groups": group_scores(inputs.per_image, unit),
    }


def describe_data(inputs: Inputs) -> dict[str, Any]:
    """The data section: the split, what its images show, what was skipped, and warnings."""
    source, unit = find_source(inputs), words.UNIT_SIGNS.get(inputs.depth_unit, "")
    contents = make_content_histograms(inputs.per_image, unit)
    return {
        "summary": summarise(inputs),
        "counts": inputs.counts,
        "cutouts_known": inputs.cutouts_known,
        "roles": list(dict.fromkeys(role for part in PARTS for role in inputs.counts[part])),
        "channels": inputs.statistics["channels"],
        "test_kinds": count_kinds(inputs.per_image),
        "contents": [draw_histogram(f"Test images by {label}", label, histogram) for label, histogram in contents],
        "skipped": source.get("skipped", []),
        "num_skipped_shown": SKIPPED_SHOWN,
        "warnings": source.get("warnings", []),
    }


def describe_params(inputs: Inputs, context: Context) -> dict[str, Any]:
    """Params, differences from the default recipe, versions."""
    params = collect_params(inputs.runs)
    return {
        "params": params,
        "differing": find_differing(params, context.defaults),
        "default_sections": list(context.defaults),
        "seeds": sorted({run["params"]["seed"] for run in inputs.runs if "seed" in run["params"]}),
        "versions": merge_fields(inputs.runs, "versions"),
    }


def show_value(value: Any) -> str:
    """A param or property as text, as in params.yaml where possible."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, (list, tuple, dict)):
        return json.dumps(value, ensure_ascii=False)
    return f"{value:g}" if isinstance(value, float) else str(value)


def summarise(inputs: Inputs) -> dict[str, Any]:
    """The content of the sentence at the top, as far as known."""
    model = next((run["extra"]["model"] for run in inputs.runs if "model" in run.get("extra", {})), {})
    return {
        "model": model.get("name"),
        "background_input": model.get("background_input"),
        "num_parameters": model.get("num_parameters"),
        "source": find_source(inputs).get("name"),
    }


def find_source(inputs: Inputs) -> dict[str, Any]:
    """The source of the data as recorded by a run; empty if none has."""
    return next((run["extra"]["source"] for run in inputs.runs if "source" in run.get("extra", {})), {})


def make_cards(test: Mapping[str, Any], intervals: Mapping[str, Any], context: Context) -> list[dict[str, Any]]:
    """The headline scores, each with its interval, its change, the leaderboard's best, and the best baseline."""
    cards = []
    for spec in list_scores(at_least=Prominence.HEADLINE):
        value, best = test[spec.family].get(spec.name), words.find_best_baseline(test["baselines"], spec)
        leader = context.leaderboard.get(spec.column)
        cards.append(
            {
                "name": f"{spec.family}.{spec.name}",
                "spec": spec,
                "value": value,
                "interval": _find_interval(intervals.get(spec.family), spec.name),
                "reason": words.find_reason(test, spec),
                "change": _add_interval(
                    compare(value, context.changes.old.get(f"test.{spec.family}.{spec.name}"), spec),
                    context.changes.paired.get(spec.column),
                ),
                "leader": leader and {"name": leader[0], **(compare(value, leader[1], spec) or {})},
                "baseline": best and {"name": words.BASELINES.get(best[0], best[0]), "value": best[1]},
                "ahead": None if value is None or best is None else words.is_better(value, best[1], spec),
            }
        )
    return cards


def compare(value: float | None, other: float | None, spec: ScoreSpec) -> dict[str, Any] | None:
    """{"other", "text", "verdict": better, worse or equal}; equal: equal as displayed."""
    if value is None or other is None:
        return None
    text = words.format_change(value, other)
    verdict = "equal" if text == "no change" else "better" if words.is_better(value, other, spec) else "worse"
    return {"other": other, "text": text, "verdict": verdict}


def _add_interval(change: dict[str, Any] | None, paired: tuple[str, str] | None) -> dict[str, Any] | None:
    """The change with the interval and the verdict of paired images, if there are any."""
    if change is None or paired is None or change["verdict"] == "equal":
        return change
    interval, verdict = paired
    return change | {"text": f"{change['text']} ({interval})", "verdict": verdict}


def make_score_table(
    test: Mapping[str, Any], intervals: Mapping[str, Any], family: str, unit: str, averaged: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """All scores of a task: columns for the network and each baseline, rows in groups, with the best of each row.

    averaged: scores of a mean of predictions, in a column of its own.
    """
    means = {} if averaged is None else {f"mean of {words.describe_average(averaged)}": averaged.get(family, {})}
    beside = intervals.get("baselines") or {}
    baselines = {name: scores for name, scores in test["baselines"].items() if name.startswith(f"{family}_")}
    columns = {"the network": test[family], **means}
    columns |= {words.BASELINES.get(name, name): scores for name, scores in baselines.items()}
    known_intervals = [intervals.get(family), *map(find_intervals, means.values()), *(beside.get(name) for name in baselines)]
    groups = []
    for prefix, suffix, name, title in SCORE_GROUPS:
        rows = []
        for spec in list_scores(family):
            key = f"{prefix}{spec.name}{suffix}"
            values = [scores.get(key) for scores in columns.values()]
            if key in test[family]:
                known = [value for value in values if value is not None]
                best = (max if spec.higher_is_better else min)(known) if len(known) > 1 else None
                sign = f" ({unit})" if spec.in_depth_unit and unit else ""
                between = [_find_interval(found, key) for found in known_intervals]
                cells = list(zip(values, between, strict=True))
                rows.append({"spec": spec, "label": spec.label + sign, "cells": cells, "best": best})
        if rows:
            groups.append({"name": name, "title": title, "rows": rows})
    notes = words.describe_coverage(test, list_scores(family))
    return {"family": family, "columns": list(columns), "groups": groups, "notes": notes}


def _find_interval(found: Mapping[str, Any] | None, key: str) -> str:
    """The interval of a score in a family of intervals.json, as text; empty if it has none."""
    return words.format_interval(*((found or {}).get(key) or (None, None)))


def find_intervals(scores: Mapping[str, Any]) -> dict[str, list[float]]:
    """The intervals of the main scores of a family of metrics.json, whose ends are beside them."""
    ends = {
        key.removesuffix(LOW): [scores[key], scores.get(f"{key.removesuffix(LOW)}{HIGH}")] for key in scores if key.endswith(LOW)
    }
    return {key: pair for key, pair in ends.items() if None not in pair}


def make_figures(inputs: Inputs, reports: Path) -> list[Chart]:
    """Training curves of all stages on one axis."""
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
        raise UserError(f"{files}: not a valid history ({error}); train again") from error
    loss = {"train_loss": "training", "validation_loss": "validation"}
    scores = {f"validation_{spec.column}": spec.title for spec in list_scores(at_least=Prominence.PRIMARY)}
    terms = {name: name.removeprefix("train_").replace("_", " ") for name in curves.columns if name.startswith(TERM_PREFIXES)}
    wanted = [
        ("Loss and learning rate", loss, "weighted sum", {"log": True, "with_rate": True}),
        ("Scores on the validation set", scores, "score", {"low": 0.0}),
        ("Terms of the training loss", terms, "before weighting", {"log": True}),
    ]
    charts = []
    for title, series, y_label, options in wanted:
        known = {name: label for name, label in series.items() if _has_values(curves, name)}
        if known:
            charts.append(draw_curves(title, curves, known, y_label, **options))
    return charts


def _has_values(curves: Curves, name: str) -> bool:
    return any(value == value for value in curves.columns.get(name, []))


def collect_params(runs: list[dict[str, Any]]) -> dict[str, list[tuple[str, str]]]:
    """Every params section recorded by a run, with flattened keys; a section may be recorded by several runs.

    Sections are merged where runs agree; where they differ, the section appears once per run.
    """
    found: dict[str, Any] = {}
    for run in runs:
        for section, values in run["params"].items():
            known = found.get(section, values)
            if isinstance(known, dict) and isinstance(values, dict) and _agree(known, values):
                found[section] = known | values
            else:
                found[section if known == values else f"{section} (of {run['stage']})"] = values
    return {section: _show_values(values) for section, values in found.items()}


def _agree(known: Mapping[str, Any], values: Mapping[str, Any]) -> bool:
    return all(known[key] == values[key] for key in known.keys() & values.keys())


def find_differing(params: Mapping[str, list[tuple[str, str]]], defaults: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """(key, value, default) of what differs from the default recipe; phases and lists are compared as a whole."""
    found = []
    for section, values in defaults.items():
        default, now = dict(_show_values(values)), dict(params.get(section, []))
        for key in dict.fromkeys([*default, *now]) if now else []:
            if default.get(key, NOT_SET) != now.get(key, NOT_SET):
                found.append((f"{section}.{key}", now.get(key, NOT_SET), default.get(key, NOT_SET)))
    return found


def _show_values(values: Any) -> list[tuple[str, str]]:
    return [(key, show_value(value)) for key, value in flatten(values)]


def merge_fields(runs: list[dict[str, Any]], field: str) -> list[tuple[str, str]]:
    """Versions or hardware: one value if all runs agree, else one per run."""
    keys = list(dict.fromkeys(key for run in runs for key in (run[field] or {})))
    rows = []
    for key in keys:
        by_stage = {run["stage"]: show_value(run[field][key]) for run in runs if key in (run[field] or {})}
        same = len(set(by_stage.values())) == 1
        rows.append((key, next(iter(by_stage.values())) if same else "; ".join(f"{s}: {v}" for s, v in by_stage.items())))
    return rows
