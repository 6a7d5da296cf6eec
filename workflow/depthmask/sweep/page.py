"""Writes a sweep's table as Markdown and as a self-contained page, with the same cells, and plots of score against value."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from depthmask.reporting.rendering import load_template
from depthmask.scores import SCORES
from depthmask.scores.labels import NOTHING, format_score
from depthmask.sweep.importance import TRIALS_SOUND
from depthmask.sweep.params import DimensionParams, SweepParams
from depthmask.sweep.planning import SweepPlan
from depthmask.sweep.space import find_place
from depthmask.sweep.table import Row, show_value
from depthmask.sweep.trial import DIVERGED, FINISHED, SCORE, Result

TITLES = {spec.column: spec.title for spec in SCORES.values()}
WIDTH, HEIGHT, MARGIN = 300, 180, 32  # of a plot, in px
HOW = {
    "grid": "every combination of the values",
    "random": "random points",
    "sobol": "points of a Sobol sequence, which cover the space evenly",
    "tpe": "Optuna's TPE, which looks near what was good so far; the first round by a Sobol sequence",
}


class Column(NamedTuple):
    """A displayed column."""

    heading: str
    is_number: bool
    show: Callable[[Row], str]


class Plot(NamedTuple):
    """Score against the values of a key: points as (x, y, trial, what it shows, outcome), in px; ticks as (x, label)."""

    key: str
    points: list[tuple[float, float, str, str, str]]
    ticks: list[tuple[float, str]]
    low: str
    high: str


def make_columns(params: SweepParams) -> list[Column]:
    """The displayed columns."""
    names = [SCORE, *params.optimise] if len(params.optimise) > 1 else [SCORE]
    headings = {SCORE: "mean ↑" if len(params.optimise) > 1 else f"{TITLES[params.optimise[0]]} ↑"}
    return [
        Column("", True, lambda row: NOTHING if row["rank"] is None else str(row["rank"])),
        Column("trial", False, lambda row: row["trial"]),
        *(Column(key, True, lambda row, key=key: row[key]) for key in params.space),
        *(Column(headings.get(name) or f"{TITLES[name]} ↑", True, _show_score(name)) for name in names),
        Column("steps", True, lambda row: f"{row['steps']:,}"),
        Column("", False, lambda row: "" if row["outcome"] == FINISHED else f"{row['outcome']}: {row['reason']}"),
    ]


def _show_score(name: str) -> Callable[[Row], str]:
    def show(row: Row) -> str:
        value, low, high = (row[f"{name}{part}"] for part in ("", "_low", "_high"))
        return format_score(value) if low is None or high is None else f"{value:.3f} ({low:.3f}–{high:.3f})"

    return show


def describe_conditions(plan: SweepPlan, rows: Sequence[Row]) -> list[str]:
    """The conditions under which the table was made, one sentence each."""
    params = plan.params
    scores = " and ".join(TITLES[column] for column in params.optimise)
    length = "its full length" if params.budget is None else f"{params.budget.amount:,} {params.budget.kind}, over all its phases"
    start = "params.yaml" if params.recipe is None else f"params.yaml with the recipe {params.recipe}"
    num_images = max((row["num_images"] for row in rows), default=0)
    sentences = [
        f"{plan.num_trials} trials from {start}, by {HOW[params.method]} (seed {params.seed}); each trained for {length}.",
        f"Sorted by {'the mean of ' if len(params.optimise) > 1 else ''}{scores} on the same {num_images} validation images of"
        f" {plan.shared.evaluate.image_size_px} px; the test part was not looked at.",
    ]
    if any(row[f"{SCORE}_low"] is not None for row in rows):
        sentences.append("In brackets: 95 % intervals over the images. Where they overlap much, the order says little.")
    sentences.append(
        "The first row was chosen as the best of many, so its score is a little too good. The test part says how good it is,"
        " once the recipe in reports/best.yaml has been trained."
    )
    if params.prune is not None:
        at = ", ".join(f"{fraction:.0%}" for fraction in params.prune.at)
        sentences.append(
            f"After {at} of its steps a trial was stopped if it was not among the best {params.prune.keep:.0%} of what the trials"
            " of earlier rounds had there; such a trial has no rank."
        )
    if any(row["outcome"] == DIVERGED for row in rows):
        sentences.append("A trial whose loss became infinite has diverged: its values are too large for this network.")
    return sentences


def describe_importance(importance: Sequence[Mapping[str, Any]], rows: Sequence[Row]) -> str:
    """What the shares mean, and how far to trust them."""
    if all(row["importance"] is None for row in importance):
        return "Too few trials were finished, or all have the same score, so nothing is known of the importance of a key."
    finished = sum(row["outcome"] == FINISHED for row in rows)
    hint = f" With {finished} finished trials this is a hint at best." if finished < TRIALS_SOUND else ""
    return f"How much each key decided whether a trial was among the best quarter (PED-ANOVA, shares of 1).{hint}"


def make_cells(rows: Sequence[Row], columns: Sequence[Column]) -> list[list[str]]:
    """The text of each row and column."""
    return [[column.show(row) for column in columns] for row in rows]


def build_markdown(rows: Sequence[Row], plan: SweepPlan, importance: Sequence[Mapping[str, Any]]) -> str:
    """The Markdown: the conditions, the table, the importance of each key."""
    columns = make_columns(plan.params)
    lines = ["# Sweep", "", *(f"- {sentence}" for sentence in describe_conditions(plan, rows)), ""]
    lines += [_join([column.heading for column in columns]), _join(["---:" if one.is_number else "---" for one in columns])]
    lines += [_join(cells) for cells in make_cells(rows, columns)]
    lines += ["", describe_importance(importance, rows), "", "| key | importance |", "| --- | ---: |"]
    lines += [_join([row["key"], NOTHING if row["importance"] is None else f"{row['importance']:.2f}"]) for row in importance]
    return "\n".join(lines) + "\n"


def _join(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', '&#124;') for cell in cells)} |"


def build_page(rows: Sequence[Row], plan: SweepPlan, importance: Sequence[Mapping[str, Any]], results: Sequence[Result]) -> str:
    """The HTML page."""
    columns = make_columns(plan.params)
    template = load_template("sweep.html.j2", Path(__file__).parent / "templates")
    return template.render(
        conditions=describe_conditions(plan, rows),
        columns=columns,
        rows=list(zip(rows, make_cells(rows, columns))),
        importance=importance,
        about_importance=describe_importance(importance, rows),
        plots=[make_plot(row["key"], plan.params.space[row["key"]], results) for row in importance],
        size=(WIDTH, HEIGHT, MARGIN),
    )


def make_plot(key: str, dimension: DimensionParams, results: Sequence[Result]) -> Plot:
    """The plot of a key; trials without a score are not in it."""
    shown = [result for result in results if result.score is not None]
    scores = [result.score for result in shown] or [0.0, 1.0]
    low, high = min(scores), max(scores)
    span = high - low or 1.0
    points = []
    for result in shown:
        x = MARGIN + _find_place(dimension, result.values[key]) * (WIDTH - 2 * MARGIN)
        y = HEIGHT - MARGIN - (result.score - low) / span * (HEIGHT - 2 * MARGIN)
        text = f"{result.name}: {show_value(result.values[key])}, {result.score:.3f}, {result.outcome}"
        points.append((round(x, 1), round(y, 1), result.name, text, result.outcome))
    ends = dimension.values if dimension.values is not None else [dimension.low, dimension.high]
    ticks = [(round(MARGIN + _find_place(dimension, end) * (WIDTH - 2 * MARGIN), 1), _shorten(show_value(end))) for end in ends]
    return Plot(key, points, ticks, f"{low:.3f}", f"{high:.3f}")


def _find_place(dimension: DimensionParams, value: Any) -> float:
    """Where a value is on its axis, 0..1: on a logarithmic one if the range is; listed values at equal distances."""
    if dimension.values is not None:
        return find_place(value, dimension.values) / (len(dimension.values) - 1)
    low, high = dimension.low, dimension.high
    if dimension.log:
        return math.log(value / low) / math.log(high / low)
    return (value - low) / (high - low)


def _shorten(text: str) -> str:
    return text if len(text) <= 12 else f"{text[:11]}…"
