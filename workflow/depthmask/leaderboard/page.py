"""Writes the leaderboard as Markdown and as a self-contained page, with the same cells.

Rows are those of `table.make_rows`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from depthmask.leaderboard.params import LeaderboardParams
from depthmask.leaderboard.results import Results
from depthmask.leaderboard.table import RANKED, Row
from depthmask.reporting.rendering import load_template
from depthmask.scores import HIGH, LOW
from depthmask.scores.labels import NOTHING, describe_coverage, format_score, make_heading


class Column(NamedTuple):
    """A displayed column. better: which value is marked as best, `higher` or `lower`; None: none."""

    heading: str
    is_number: bool
    show: Callable[[Row], str]
    score: str | None = None
    better: str | None = None


def make_columns(unit: str) -> list[Column]:
    """The displayed columns; unit: of depth, metre or relative."""
    scores = []
    for column, spec in RANKED.items():
        heading = f"{make_heading(spec, unit)} {'↑' if spec.higher_is_better else '↓'}"
        scores.append(Column(heading, True, _show_score(column), column, spec.better))
    return [
        Column("", True, lambda row: _show(row["rank"])),
        Column("recipe", False, _show_name),
        Column("network", False, lambda row: row["network"] or NOTHING),
        Column("initial weights", False, lambda row: row["weights"] or NOTHING),
        *scores,
        Column("parameters", True, lambda row: _show(row["num_parameters"])),
        Column("trained at, px", True, lambda row: _show_series(row["sizes_px"])),
        Column("batch", True, lambda row: _show_series(row["batch_sizes"])),
        Column("steps", True, lambda row: _show(row["steps"])),
        Column("samples", True, lambda row: _show(row["samples"])),
        Column("training, s *", True, lambda row: _show_measured(row["seconds"])),
        Column("images/s *", True, lambda row: _show_measured(row["images_per_second"])),
        Column("an image, ms *", True, lambda row: _show_measured(row["inference_ms"])),
        Column("memory, MiB *", True, lambda row: _show(row["peak_memory_mib"])),
    ]


def describe_conditions(params: LeaderboardParams, results: Results) -> list[str]:
    """The conditions under which the table was made, one sentence each."""
    budget, size_px = params.budget, params.evaluate.image_size_px
    caps = [f"batches of at most {params.batch_size_max}"] if params.batch_size_max else []
    caps += [f"images of at most {params.image_size_max_px} px"] if params.image_size_max_px else []
    interval = "the 95 % interval for other backgrounds and foregrounds like these is in brackets"
    spread = "seeds: the lowest and the highest" if len(params.seeds) > 1 else "one seed, whose chance is not in it"
    sentences = [
        f"Every recipe was trained on the same data ({results.source['name']}), the same split and the same seeds"
        f" ({', '.join(map(str, params.seeds))}), with the same budget of {budget.amount:,} {budget.kind}"
        + (f", {' and '.join(caps)}." if caps else "."),
        "A recipe's phases share the budget in the proportions of the recipe; sizes and batches are listed in training order.",
        f"All were scored on the same {results.source['num_images']} test images of {size_px} px, predicted at the size"
        f" that the recipe was last trained at and scored at {size_px} px: {interval}; {spread}.",
        f"Sorted by {describe_order(params.sort_by)}. A recipe's rank counts the recipes that are better beyond doubt: the 95 %"
        " interval of the difference, image by image, excludes 0, and all of their seeds are better. The best value of a column"
        " is bold. Rows without a rank are baselines.",
        f"* measured: training while other jobs may have been running, a single image of {size_px} px on"
        f" {results.times['device']}, compute.threads: {results.times['threads']}; these columns vary from run to run.",
    ]
    if budget.kind == "seconds":
        sentences.append(
            "Seconds were converted to steps at a speed measured before training, so another machine or run may take a different"
            " number of steps and get different scores."
        )
    scored = [score["test"] for scores in results.scores.values() for score in scores]
    for line in dict.fromkeys(line for test in scored for line in describe_coverage(test, RANKED.values())):
        sentences.append(f"{line}.")
    for name, reason in results.missing.items():
        sentences.append(
            f"{name} is skipped: {reason}. Then run dvc repro --force --single-item plan@{name}, and rerun everything."
        )
    return sentences


def describe_order(sort_by: str) -> str:
    """The score that the table is sorted by, and which direction is better."""
    return f"{RANKED[sort_by].title}, {RANKED[sort_by].better} is better"


def mark_best(rows: Sequence[Row], column: Column) -> list[bool]:
    """Which rows have the column's best value; none if fewer than two are known."""
    values = [row[column.score] if column.score else None for row in rows]
    known = [value for value in values if value is not None]
    if len(known) < 2:
        return [False] * len(rows)
    best = (max if column.better == "higher" else min)(known)
    return [value == best for value in values]


def make_cells(rows: Sequence[Row], columns: Sequence[Column]) -> list[list[tuple[str, bool]]]:
    """For each row and column: the text, and whether it is the best value."""
    marks = [mark_best(rows, column) for column in columns]
    return [[(column.show(row), marks[c][r]) for c, column in enumerate(columns)] for r, row in enumerate(rows)]


def build_markdown(rows: Sequence[Row], params: LeaderboardParams, results: Results) -> str:
    """The Markdown: the conditions, then the table."""
    columns = make_columns(results.source["depth_unit"])
    lines = ["# Leaderboard", "", *(f"- {sentence}" for sentence in describe_conditions(params, results)), ""]
    lines.append(_join([column.heading for column in columns]))
    lines.append(_join(["---:" if column.is_number else "---" for column in columns]))
    for cells in make_cells(rows, columns):
        lines.append(_join([f"**{text}**" if is_best else text for text, is_best in cells]))
    return "\n".join(lines) + "\n"


def build_page(rows: Sequence[Row], params: LeaderboardParams, results: Results, titles: Mapping[str, str]) -> str:
    """The HTML page; titles: of the recipes, by name."""
    columns = make_columns(results.source["depth_unit"])
    template = load_template("leaderboard.html.j2", Path(__file__).parent / "templates")
    runs = [run for listed in results.runs.values() for run in listed]
    return template.render(
        conditions=describe_conditions(params, results),
        columns=columns,
        rows=[(row, cells) for row, cells in zip(rows, make_cells(rows, columns))],
        plans=results.plans,
        titles=titles,
        hardware=list(runs[0]["hardware"].items()) if runs else [],
        versions=list(runs[0]["versions"].items()) if runs else [],
        commits=sorted({run["commit"] or "unknown" for run in runs}),
        dirty=any(run["dirty"] for run in runs),
    )


def _join(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _show_name(row: Row) -> str:
    return f"{row['name']} ({row['note']})" if row["note"] else row["name"]


def _show_score(score: str) -> Callable[[Row], str]:
    def show(row: Row) -> str:
        mean, low, high, least, most = (row[f"{score}{part}"] for part in ("", LOW, HIGH, "_min", "_max"))
        if mean is None:
            return NOTHING
        interval = "" if low is None else f" ({format_score(low)}–{format_score(high)})"
        several = row["num_seeds"] is not None and row["num_seeds"] > 1
        return f"{format_score(mean)}{interval}" + (f", seeds {format_score(least)}–{format_score(most)}" if several else "")

    return show


def _show_series(numbers: str | None) -> str:
    """Values of successive phases, with equal ones grouped: `64 ×4, 112 ×2`."""
    if numbers is None:
        return NOTHING
    groups = [(number, len(list(alike))) for number, alike in groupby(numbers.split())]
    return ", ".join(number if count == 1 else f"{number} ×{count}" for number, count in groups)


def _show_measured(value: float | None) -> str:
    """One decimal if the number is small; more would be noise."""
    return NOTHING if value is None else f"{value:,.{1 if value < 100 else 0}f}"


def _show(value: int | None) -> str:
    """A whole number with thousands separators."""
    return NOTHING if value is None else f"{value:,}"
