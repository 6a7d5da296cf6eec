"""Scores of the test images by content, and histograms of single scores, from the rows of per_image.csv."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from depthmask.scores import SOURCE, Prominence, list_scores

NUM_GROUPS = 5  # of about equal size, for sorted images
NUM_BINS = 20
THIRDS = (("upper", "middle", "lower"), ("left", "centre", "right"))

Row = Mapping[str, str]


class Group(NamedTuple):
    """means: of the headline scores, None if undefined. bars: each as a fraction (0..1) of the largest in the table."""

    label: str
    num_images: int
    means: list[float | None]
    bars: list[float]


class Histogram(NamedTuple):
    """edges: one more than counts. median: None if there are no values."""

    edges: list[float]
    counts: list[int]
    median: float | None


def read_number(row: Row, column: str) -> float:
    """The number in a column; NaN if empty or missing."""
    return float(row.get(column) or math.nan)


def group_scores(rows: Sequence[Row], unit: str) -> list[tuple[str, list[Group]]]:
    """(title, groups) by source if there are several, kind of cut-out, size, place and depth of the foreground, and scene."""
    tables = [
        ("Source", _group_by(rows, lambda row: row.get(SOURCE) or None)),
        ("Kind of cut-out", _group_by(rows, lambda row: row["kind"] or None)),
        ("Size of the foreground, fraction of the image", _group_by_size(rows, "mask_fraction", "%", 100)),
        ("Place of the foreground", _group_by(rows, name_place, [f"{a} {b}" for a in THIRDS[0] for b in THIRDS[1]])),
        ("Depth of the foreground", _group_by_size(rows, "foreground_depth", unit)),
        ("Depth of the scene, its 95th percentile", _group_by_size(rows, "scene_far", unit)),
    ]
    return [(title, _draw_bars(groups)) for title, groups in tables if groups]


def name_place(row: Row) -> str | None:
    """The cell of a 3 x 3 grid that contains the foreground's centre; None without foreground."""
    x, y = (read_number(row, f"foreground_{axis}") for axis in "xy")
    if math.isnan(x) or math.isnan(y):
        return None
    down, across = (min(2, int(3 * part)) for part in (y, x))
    return f"{THIRDS[0][down]} {THIRDS[1][across]}"


def _group_by(rows: Sequence[Row], name: Callable[[Row], str | None], order: Iterable[str] | None = None) -> list[Group]:
    named: dict[str, list[Row]] = {}
    for row in rows:
        label = name(row)
        if label is not None:
            named.setdefault(label, []).append(row)
    labels = [label for label in order if label in named] if order is not None else sorted(named)
    return [_score(label, named[label]) for label in labels]


def _group_by_size(rows: Sequence[Row], column: str, unit: str, scale: float = 1) -> list[Group]:
    """NUM_GROUPS groups of about equal size, from lowest to highest; equal values stay together."""
    known = [row for row in rows if not math.isnan(read_number(row, column))]
    if not known:
        return []
    values = np.array([read_number(row, column) for row in known])
    edges = np.unique(np.quantile(values, np.linspace(0, 1, NUM_GROUPS + 1)))
    places = np.clip(np.searchsorted(edges, values, side="right") - 1, 0, max(0, len(edges) - 2))
    groups = []
    for number in sorted(set(places.tolist())):
        members = [row for row, place in zip(known, places, strict=True) if place == number]
        low, high = (f"{scale * edges[place]:.2g}" for place in (number, min(number + 1, len(edges) - 1)))
        label = low if low == high else f"{low} to {high}"
        groups.append(_score(f"{label}\N{NO-BREAK SPACE}{unit}" if unit else label, members))
    return groups


def _score(label: str, rows: Sequence[Row]) -> Group:
    means = []
    for spec in list_scores(at_least=Prominence.HEADLINE):
        values = [value for row in rows if not math.isnan(value := read_number(row, spec.column))]
        means.append(sum(values) / len(values) if values else None)
    return Group(label, len(rows), means, [])


def _draw_bars(groups: list[Group]) -> list[Group]:
    largest = [max((mean or 0 for mean in means), default=0) or 1 for means in zip(*(group.means for group in groups))]
    return [group._replace(bars=[(mean or 0) / most for mean, most in zip(group.means, largest)]) for group in groups]


def make_histogram(values: Iterable[float], low: float | None = None, high: float | None = None) -> Histogram:
    """NUM_BINS equal bins from `low` to `high` (default: range of the values); NaN is ignored."""
    known = np.array([value for value in values if not math.isnan(value)])
    if not known.size:
        return Histogram([], [], None)
    low, high = float(known.min()) if low is None else low, float(known.max()) if high is None else high
    counts, edges = np.histogram(known, NUM_BINS, (low, high if high > low else low + 1))
    return Histogram(edges.tolist(), counts.tolist(), float(np.median(known)))


def make_score_histograms(rows: Sequence[Row]) -> list[tuple[str, Histogram]]:
    """(label, histogram) for each headline score; those where higher is better end at 1."""
    histograms = []
    for spec in list_scores(at_least=Prominence.HEADLINE):
        values = [read_number(row, spec.column) for row in rows]
        known = [value for value in values if not math.isnan(value)]
        if known:
            low = math.floor(min(known) * 10) / 10 if spec.higher_is_better else 0.0
            histograms.append((spec.title, make_histogram(values, low, 1.0 if spec.higher_is_better else None)))
    return histograms


def make_content_histograms(rows: Sequence[Row], unit: str) -> list[tuple[str, Histogram]]:
    """What the test images show, as (axis label, histogram)."""
    sign = f", {unit}" if unit else ""
    columns = {
        "mask_fraction": "size of the foreground, fraction of the image",
        "foreground_depth": f"depth of the foreground{sign}",
    }
    made = [(label, make_histogram((read_number(row, column) for row in rows), 0.0)) for column, label in columns.items()]
    return [(label, histogram) for label, histogram in made if histogram.counts]


def count_kinds(rows: Sequence[Row]) -> list[tuple[str, Any]]:
    """How many test images have each kind of cut-out, if kinds are known."""
    kinds = [row["kind"] for row in rows if row["kind"]]
    return [(kind, kinds.count(kind)) for kind in sorted(set(kinds))]
