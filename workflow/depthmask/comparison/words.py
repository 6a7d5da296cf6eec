"""What a comparison says in words, the same in the terminal, in Markdown and on the page."""

from __future__ import annotations

from typing import NamedTuple

from depthmask.comparison.comparison import Comparison
from depthmask.comparison.differences import EQUAL, UNDECIDED, Difference
from depthmask.comparison.results import show_value
from depthmask.scores.labels import NOTHING, UNIT_SIGNS, describe_scene, format_score, format_signed

PARAMS_SHOWN = 30


class ScoreLine(NamedTuple):
    """A score as texts; better: higher or lower."""

    label: str
    a: str
    b: str
    change: str
    interval: str
    verdict: str
    better: str


class ImageLine(NamedTuple):
    """An image whose score changed."""

    score: str
    key: str
    shows: str
    a: str
    b: str
    change: str


def describe_score(one: Difference, unit: str) -> ScoreLine:
    """unit: metre, relative, or empty if unknown."""
    sign = UNIT_SIGNS.get(unit) if one.spec.in_depth_unit else ""
    interval = NOTHING if one.interval is None else f"{format_signed(one.interval.low)} to {format_signed(one.interval.high)}"
    known = one.num_images > 0
    texts = (format_score(one.a), format_score(one.b), format_signed(one.change)) if known else (NOTHING,) * 3
    return ScoreLine(f"{one.label}, {sign}" if sign else one.label, *texts, interval, one.verdict, one.spec.better)


def describe_main_scores(comparison: Comparison) -> list[ScoreLine]:
    """The main scores, in the order of the terminal's table."""
    return [describe_score(one, comparison.unit) for one in comparison.list_main()]


def describe_images(comparison: Comparison) -> list[ImageLine]:
    """The images that changed most, by primary score."""
    lines = []
    for column, indices in comparison.changed.items():
        one = comparison.get(column)
        for index in indices:
            row, (old, new) = comparison.pairs[index][1], one.values_N2[index]
            texts = format_score(old), format_score(new), format_signed(new - old)
            lines.append(ImageLine(one.label, row["key"], describe_scene(row), *texts))
    return lines


def describe_params(comparison: Comparison) -> list[tuple[str, str, str]]:
    """(key, in a, in b) of the params that differ, the first PARAMS_SHOWN of them."""
    return [(key, show_value(old), show_value(new)) for key, old, new in comparison.params[:PARAMS_SHOWN]]


def describe_rest_of_params(comparison: Comparison) -> str:
    """How many params more differ; that none do, or that they are unknown; or nothing."""
    if comparison.a.params is None or comparison.b.params is None:
        return "Which params differ is unknown: there is no params.yaml beside one of the results."
    if not comparison.params:
        return "No params differ."
    rest = len(comparison.params) - PARAMS_SHOWN
    return f"{rest} more differ; --json lists all." if rest > 0 else ""


def describe_method(comparison: Comparison) -> str:
    """What the intervals are."""
    num = comparison.clusters.num
    return (
        f"{len(comparison.pairs)} test images, paired; 95 % intervals of the difference, for other backgrounds and foregrounds"
        f" like these ({num['background']} and {num['cutout']} here). Another seed of the training is not in them."
        f' "{UNDECIDED.capitalize()}" means that the interval contains 0, "{EQUAL}" that every image has the same score.'
    )
