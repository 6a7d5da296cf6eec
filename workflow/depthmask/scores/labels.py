"""Labels of scores and baselines, and formatting of numbers and times."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from depthmask.scores import (
    ALIGNED,
    ALIGNED_DISPARITY,
    HIGH,
    LOW,
    NOT_SCORED,
    NUM_MODELS,
    NUM_SCORED,
    NUM_VIEWS,
    PREFIXES,
    SUFFIXES,
    ScoreSpec,
    split_key,
)

UNKNOWN = "unknown"
NOTHING = "\N{EN DASH}"  # in place of a score that there is none of
BASELINES = {
    "mask_all_foreground": "all foreground",
    "mask_empty": "empty mask",
    "mask_mean": "mean mask",
    "depth_mean": "mean depth",
    "depth_row_mean": "mean depth of each row",
}
UNIT_SIGNS = {"metre": "m", "relative": ""}


def describe_column(column: str) -> tuple[str, ScoreSpec] | None:
    """The label and score of a column of per_image.csv; None if it is not a score."""
    family, _, key = column.partition("_")
    found = split_key(family, key)
    if found is None:
        return None
    spec, variant = found
    return ", ".join(filter(None, (spec.label, PREFIXES[variant.prefix], SUFFIXES[variant.suffix]))), spec


def choose_key(test: Mapping[str, Any], spec: ScoreSpec) -> str:
    """The key under which a score is shown: where it could only be computed after alignment, that of the aligned one.

    So it is on data sets whose depth has another scale than the model's.
    """
    scores = test[spec.family]
    aligned = (f"{spec.name}{suffix}" for suffix in (ALIGNED, ALIGNED_DISPARITY))
    return spec.name if scores.get(spec.name) is not None else next((k for k in aligned if scores.get(k) is not None), spec.name)


def make_heading(spec: ScoreSpec, unit: str, key: str = "") -> str:
    """The title of a score, with its unit if it is in that of depth; unit: metre, relative, or empty if unknown.

    key: from `choose_key`.
    """
    suffix = key.removeprefix(spec.name)
    title = f"{spec.title}, {SUFFIXES[suffix]}" if suffix else spec.title
    sign = UNIT_SIGNS.get(unit) if spec.in_depth_unit else ""
    return f"{title}, {sign}" if sign else title


def format_score(value: float | None) -> str:
    """Three decimals, or a dash."""
    return NOTHING if value is None else f"{value:.3f}"


def format_interval(low: float | None, high: float | None) -> str:
    """`0.842 to 0.921`, or nothing if it is unknown."""
    return "" if low is None or high is None else f"{format_score(low)} to {format_score(high)}"


def describe_interval(scores: Mapping[str, Any], name: str) -> str:
    """The interval of a score of metrics.json or baselines.json, which files of older versions lack."""
    return format_interval(scores.get(f"{name}{LOW}"), scores.get(f"{name}{HIGH}"))


def describe_scene(image: Mapping[str, Any]) -> str:
    """`021 in 013`: what a row of per_image.csv, or a sample of index.json, shows; an unknown cut-out is left out."""
    return " in ".join(filter(None, (image["cutout"], image["background"])))


def find_reason(test: Mapping[str, Any], spec: ScoreSpec) -> str | None:
    """Why the test set has no such score; None if it has. test: the content of metrics.json."""
    if test[spec.family].get(spec.name) is not None:
        return None
    return _find(test, NOT_SCORED, spec) or UNKNOWN


def _find(test: Mapping[str, Any], key: str, spec: ScoreSpec) -> Any:
    known = test.get(key)  # a card of a model file from elsewhere may have anything else there
    return known.get(f"{spec.family}.{spec.name}") if isinstance(known, Mapping) else None


def describe_coverage(test: Mapping[str, Any], specs: Iterable[ScoreSpec]) -> list[str]:
    """A line for each reason why some of these scores are missing, and for each number of images if it is not all of them."""
    lines: dict[tuple[str, str], list[str]] = {}
    for spec in specs:
        reason, num = find_reason(test, spec), _find(test, NUM_SCORED, spec)
        if reason is not None:
            lines.setdefault(("not scored", reason), []).append(spec.title)
        elif num is not None:
            lines.setdefault(("mean", f"over {num:g} of {test.get('num_images')} images"), []).append(spec.title)
    return [
        f"{', '.join(titles)}: {what if what == 'mean' else f'{NOTHING} {what},'} {why}" for (what, why), titles in lines.items()
    ]


def describe_average(averaged: Mapping[str, Any]) -> str:
    """What averaged scores are of, in a few words; averaged: from metrics.json."""
    models = f"{averaged[NUM_MODELS]} models" if averaged[NUM_MODELS] > 1 else "the network"
    return f"{models} and mirror images" if averaged[NUM_VIEWS] > 1 else models


def format_change(value: float, old: float) -> str:
    """+0.012, −0.003, or no change at three decimals."""
    change = format_signed(value - old)
    return "no change" if change == format_score(0.0) else change


def format_signed(value: float) -> str:
    """+0.012 or −0.003, three decimals; a change that rounds to nothing has no sign."""
    text = f"{value:+.3f}"
    return format_score(0.0) if float(text) == 0 else text.replace("-", "\N{MINUS SIGN}")


def format_bytes(number: int) -> str:
    """812 B, 4.3 kB, 5.6 MB."""
    for power, unit in ((9, "GB"), (6, "MB"), (3, "kB")):
        if number >= 10**power:
            return f"{number / 10**power:.1f} {unit}"
    return f"{number} B"


def format_moment(started: str) -> str:
    """Format an ISO time without seconds: 2025-01-31 17:05 UTC."""
    return datetime.fromisoformat(started).astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")


def find_best_baseline(baselines: dict[str, dict[str, Any]], spec: ScoreSpec, key: str | None = None) -> tuple[str, float] | None:
    """Name and score of the best baseline; None if no baseline has the score. key: from `choose_key`."""
    key = key or spec.name
    known = {
        name: scores[key]
        for name, scores in baselines.items()
        if name.startswith(f"{spec.family}_") and scores.get(key) is not None
    }
    if not known:
        return None
    best = (max if spec.higher_is_better else min)(known, key=known.__getitem__)
    return best, known[best]


def is_better(value: float, other: float, spec: ScoreSpec) -> bool:
    """Whether a score is better than another; equal ones are not."""
    return value > other if spec.higher_is_better else value < other
