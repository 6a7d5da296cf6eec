"""Training curves as SVG that takes its colours from the page, so that it fits a light and a dark theme."""

from __future__ import annotations

import html
import io
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import matplotlib

matplotlib.use("Agg")
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

# placeholders that become the page's CSS variables
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


class Span(NamedTuple):
    """A phase on the common axis of steps: from `start` to `end`."""

    label: str
    start: int
    end: int


class Curves(NamedTuple):
    """The histories of all stages, one after the other. columns: name to values, NaN where a stage has none."""

    steps: list[int]
    columns: dict[str, list[float]]
    spans: list[Span]


def join_histories(histories: Mapping[str, Sequence[Mapping[str, str]]], labels: Mapping[tuple[str, str], str]) -> Curves:
    """Put the rows of each stage's history.csv behind those of the stage before.

    labels: what a (stage, phase) is called in the figures; the stage's name where it has none.

    Raises:
        ValueError, KeyError: a row has no step or phase, or a value that is no number.
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
    curves: Curves, series: Mapping[str, str], y_label: str, description: str, *, log: bool = False, low: float | None = None
) -> str:
    """An inline SVG of some columns (name to label) over the steps, with the phases marked.

    description: for those who do not see it; unlike that of any other figure of the page, since ids are made from it.
    low: where y begins; where the data say, if None.
    """
    with matplotlib.rc_context({**_STYLE, "svg.hashsalt": description}):
        figure = Figure(figsize=_SIZE_INCHES, layout="constrained")
        axes = figure.add_subplot()
        for colour, (name, label) in zip(_SERIES * len(series), series.items(), strict=False):
            values = curves.columns.get(name, [])
            known = [(step, value) for step, value in zip(curves.steps, values, strict=False) if math.isfinite(value)]
            if known:
                axes.plot(*zip(*known, strict=True), label=label, color=colour, marker="o", markersize=2.8)
        if log:
            axes.set_yscale("log")
            axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            axes.yaxis.set_minor_formatter(NullFormatter())
        elif low is not None:
            axes.set_ylim(bottom=low)
        axes.grid(axis="y")
        axes.set_axisbelow(True)
        axes.set_xlabel("optimiser step")
        axes.set_ylabel(y_label)
        axes.margins(x=0.02)
        _mark_phases(axes, curves.spans)
        if len(series) > 1 and axes.lines:
            figure.legend(loc="outside lower center", ncols=3, fontsize=9)
        return _to_svg(figure, description)


def _mark_phases(axes: Any, spans: Sequence[Span]) -> None:
    """A dashed line where a phase begins, and its name above."""
    for span in spans:
        if span.start:
            axes.axvline(span.start, color=_INK, linewidth=0.8, linestyle=(0, (3, 3)), zorder=0)
        axes.text(
            (span.start + span.end) / 2,
            1.02,
            span.label,
            transform=axes.get_xaxis_transform(),
            ha="center",
            va="bottom",
            fontsize=9,
        )


def _to_svg(figure: Figure, description: str) -> str:
    """The bare element: no XML header, date, fixed size or colours, and ids that depend on the content alone."""
    text = io.StringIO()
    figure.savefig(text, format="svg", transparent=True, metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    svg = text.getvalue()
    view_box = re.search(r'viewBox="[^"]*"', svg)[0]
    body = svg[svg.index("<defs>") : svg.rindex("</svg>")]
    body = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", body, flags=re.DOTALL)  # would hold for the whole page
    body = re.sub(r'<g id="[^"]*"', "<g", body)
    body = re.sub(r" font-family: [^;]*;", "", body).replace("xlink:href", "href")
    for placeholder, variable in _COLOURS.items():
        body = body.replace(placeholder, variable)
    return f'<svg {view_box} role="img" aria-label="{html.escape(description)}">{body.strip()}</svg>'
