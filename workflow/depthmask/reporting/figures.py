"""Charts as SVG with colours from the page, to fit light and dark themes.

matplotlib draws them. The page shows the values under the pointer: they are the rows of the table below each chart, and a chart
records the horizontal position of each row.
"""

from __future__ import annotations

import html
import io
import math
import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import matplotlib

matplotlib.use("Agg")
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from depthmask.reporting.score_groups import Histogram

# placeholders replaced by the page's CSS variables
_COLOURS = {"#010203": "var(--ink-soft)", "#040506": "var(--line)"}
_COLOURS |= {f"#0a0b0{number}": f"var(--series-{number})" for number in range(1, 7)}
_INK, _LINE, *_SERIES = _COLOURS
_STYLE = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 10,
    "text.color": _INK,
    "axes.labelcolor": _INK,
    "axes.edgecolor": _LINE,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "grid.color": _LINE,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
}
_SIZE_INCHES = (5.2, 3.1)
_SIZE_WITH_RATE_INCHES = (5.2, 3.7)
_SIZE_SMALL_INCHES = (5.2, 2.3)


RATE = "learning_rate"


class Chart(NamedTuple):
    """rows: (position, cells), with the position 0..1 across the image. top, bottom: of the plot area, 0..1."""

    title: str
    svg: str
    header: list[str]
    rows: list[tuple[float, list[str]]]
    top: float
    bottom: float


class Span(NamedTuple):
    """A phase on the common axis of steps: from `start` to `end`."""

    label: str
    start: int
    end: int


class Curves(NamedTuple):
    """The histories of all stages, concatenated. columns: name to values, NaN where a stage has none."""

    steps: list[int]
    columns: dict[str, list[float]]
    spans: list[Span]


def join_histories(histories: Mapping[str, Sequence[Mapping[str, str]]], labels: Mapping[tuple[str, str], str]) -> Curves:
    """Append the rows of each stage's history.csv to those of the stage before.

    labels: names of (stage, phase) in the figures; default: the stage's name.

    Raises:
        ValueError, KeyError: a row has no step or phase, or a value that is not a number.
    """
    names = list(dict.fromkeys(name for rows in histories.values() for row in rows for name in row))
    columns: dict[str, list[float]] = {name: [] for name in names if name not in ("phase", "epoch", "step")}
    steps: list[int] = []
    spans: list[Span] = []
    before, last = 0, None
    for stage, rows in histories.items():
        for row in rows:
            step = before + int(row["step"])
            label = labels.get((stage, row["phase"]), stage)
            if (stage, row["phase"]) != last:
                spans.append(Span(label, steps[-1] if steps else 0, step))
            last = (stage, row["phase"])
            spans[-1] = spans[-1]._replace(end=step)
            steps.append(step)
            for name, values in columns.items():
                values.append(float(row.get(name) or math.nan))
        before = steps[-1] if steps else 0
    return Curves(steps, columns, spans)


def draw_curves(
    title: str,
    curves: Curves,
    series: Mapping[str, str],
    y_label: str,
    *,
    log: bool = False,
    low: float | None = None,
    with_rate: bool = False,
) -> Chart:
    """Plot columns (name to label) over steps, with phases marked; optionally the learning rate in a panel below.

    title: unique on the page, because ids are made from it. low: lower limit of y; None: from the data.
    """
    shown = dict(series) | ({RATE: "learning rate"} if with_rate else {})
    description = f"{title}, over {curves.spans[-1].end} optimiser steps; the table below has the values"
    with matplotlib.rc_context({**_STYLE, "svg.hashsalt": title}):
        figure = Figure(figsize=_SIZE_WITH_RATE_INCHES if with_rate else _SIZE_INCHES, layout="constrained")
        panels = figure.subplots(2 if with_rate else 1, 1, sharex=True, squeeze=False, **_share_height(with_rate))[:, 0]
        for colour, (name, label) in zip(_SERIES * len(series), series.items(), strict=False):
            _draw_line(panels[0], curves, name, color=colour, label=label, marker="o", markersize=2.8)
        if log:
            panels[0].set_yscale("log")
            panels[0].yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            panels[0].yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            panels[0].yaxis.set_minor_formatter(NullFormatter())
        elif low is not None:
            panels[0].set_ylim(bottom=low)
        panels[0].set_ylabel(y_label)
        if with_rate:
            _draw_line(panels[1], curves, RATE, color=_INK, linewidth=1.3)
            panels[1].set_ylim(bottom=0)
            panels[1].yaxis.set_major_locator(MaxNLocator(3))
            panels[1].set_ylabel("rate")
        for axes in panels:
            axes.grid(axis="y")
            axes.set_axisbelow(True)
            axes.margins(x=0.02)
        _mark_phases(panels, curves.spans)
        panels[-1].set_xlabel("optimiser step")
        if len(series) > 1 and panels[0].lines:
            figure.legend(loc="outside lower center", ncols=3, fontsize=9)
        svg = _to_svg(figure, description)
        rows = []
        for number, step in enumerate(curves.steps):
            values = [_show(curves.columns[name][number]) for name in shown]
            rows.append((_find_place(panels[0], step), [_name_phase(curves, step), f"{step:,}", *values]))
        return Chart(title, svg, ["phase", "step", *shown.values()], rows, *_find_ends(panels))


def draw_histogram(title: str, label: str, histogram: Histogram) -> Chart:
    """Bars, with the median as a line; label: of the axis. title: as in `draw_curves`."""
    edges, counts = histogram.edges, histogram.counts
    with matplotlib.rc_context({**_STYLE, "svg.hashsalt": title}):
        figure = Figure(figsize=_SIZE_SMALL_INCHES, layout="constrained")
        axes = figure.add_subplot()
        axes.stairs(counts, edges, fill=True, color=_SERIES[0], linewidth=0)
        axes.axvline(histogram.median, color=_INK, linewidth=1.2, linestyle=(0, (3, 3)))
        axes.text(
            histogram.median,
            1.02,
            f"median {_show(histogram.median)}",
            transform=axes.get_xaxis_transform(),
            ha="center",
            fontsize=9,
        )
        axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
        axes.grid(axis="y")
        axes.set_axisbelow(True)
        axes.set_xlim(edges[0], edges[-1])
        axes.set_ylabel("images")
        svg = _to_svg(figure, f"{title}: {sum(counts)} images, median {_show(histogram.median)}; the table below has the values")
        rows = [
            (_find_place(axes, (low + high) / 2), [f"{_show(low)} to {_show(high)}", str(count)])
            for (low, high), count in zip(pairwise(edges), counts, strict=True)
        ]
        return Chart(title, svg, [label, "images"], rows, *_find_ends([axes]))


def _share_height(with_rate: bool) -> dict[str, Any]:
    return {"gridspec_kw": {"height_ratios": [4, 1]}} if with_rate else {}


def _draw_line(axes: Any, curves: Curves, name: str, **options: Any) -> None:
    values = curves.columns.get(name, [])
    known = [(step, value) for step, value in zip(curves.steps, values, strict=False) if math.isfinite(value)]
    if known:
        axes.plot(*zip(*known, strict=True), **options)


def _mark_phases(panels: Sequence[Any], spans: Sequence[Span]) -> None:
    """A dashed line where a phase starts, with its name above."""
    for span in spans:
        for axes in panels:
            if span.start:
                axes.axvline(span.start, color=_INK, linewidth=0.8, linestyle=(0, (3, 3)), zorder=0)
        place = {"transform": panels[0].get_xaxis_transform(), "ha": "center", "va": "bottom", "fontsize": 9}
        panels[0].text((span.start + span.end) / 2, 1.02, span.label, **place)


def _name_phase(curves: Curves, step: int) -> str:
    return next((span.label for span in curves.spans if span.start < step <= span.end), curves.spans[-1].label)


def _find_place(axes: Any, x: float) -> float:
    """The position of x, 0 at the left edge of the image to 1 at the right, after drawing."""
    return round(float(axes.transData.transform((x, axes.get_ylim()[1]))[0] / axes.figure.bbox.width), 4)


def _find_ends(panels: Sequence[Any]) -> tuple[float, float]:
    return round(1 - panels[0].get_position().y1, 4), round(1 - panels[-1].get_position().y0, 4)


def _show(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.3g}"


def _to_svg(figure: Figure, description: str) -> str:
    """The plain svg element: no XML header, date, fixed size or colours, and ids that depend only on the content."""
    text = io.StringIO()
    figure.savefig(text, format="svg", transparent=True, metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    svg = text.getvalue()
    view_box = re.search(r'viewBox="[^"]*"', svg)[0]
    body = svg[svg.index("<defs>") : svg.rindex("</svg>")]
    body = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", body, flags=re.DOTALL)  # would apply to the whole page
    body = re.sub(r'<g id="[^"]*"', "<g", body)
    body = re.sub(r" font-family: [^;]*;", "", body).replace("xlink:href", "href")
    for placeholder, variable in _COLOURS.items():
        body = body.replace(placeholder, variable)
    return f'<svg {view_box} role="img" aria-label="{html.escape(description)}">{body.strip()}</svg>'
