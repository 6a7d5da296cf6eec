"""Prints the table of scores."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

from depthmask.base.terminal import make_console, make_table
from depthmask.scores import AVERAGED, BY_SOURCE, LOW, Prominence, list_scores
from depthmask.scores.labels import (
    BASELINES,
    choose_key,
    describe_average,
    describe_coverage,
    describe_interval,
    find_best_baseline,
    format_score,
    make_heading,
)


def print_scores(metrics: dict[str, Any], unit: str, console: Console | None = None, title: str = "test set") -> None:
    """Print the main scores of metrics.json with their 95 % intervals, each beside the best baseline. title: what was scored.

    unit: metre, relative, or empty if unknown, for scores in depth units. Below the table: why a score is missing, and how many
    images a mean is over, if not all.
    """
    console, test = console or make_console(stderr=False), metrics["test"]
    specs = list_scores(at_least=Prominence.TABLE)
    is_wide = console.width >= 60  # else there is no room for the names of the baselines
    with_intervals = console.width >= 80 and any(key.endswith(LOW) for spec in specs for key in test[spec.family])
    table = make_table(f"{title}, {test['num_images']} images, mean over images")
    table.add_column("score")
    table.add_column("network", justify="right", style="value")
    if with_intervals:
        table.add_column("95 % interval", style="aside")
    table.add_column("best baseline", justify="right")
    if is_wide:
        table.add_column("")
    with_directions = is_wide and (not with_intervals or console.width >= 92)
    if with_directions:
        table.add_column("better", style="aside")
    for spec in specs:
        key = choose_key(test, spec)
        name, best = find_best_baseline(test["baselines"], spec, key) or ("", None)
        own, between = format_score(test[spec.family].get(key)), describe_interval(test[spec.family], key)
        scores = own, *([between] if with_intervals else []), "" if best is None else format_score(best)
        beside = [BASELINES.get(name, name)] if is_wide else []
        table.add_row(make_heading(spec, unit, key), *scores, *beside, *([spec.better] if with_directions else []))
    console.print(table)
    for line in describe_coverage(test, specs):
        console.print(line, style="aside", soft_wrap=True)
    if AVERAGED in metrics:
        console.print(make_average_table(test, metrics[AVERAGED], unit))
    if BY_SOURCE in test:
        console.print(make_source_table(test[BY_SOURCE], unit))


def make_average_table(test: Mapping[str, Any], averaged: Mapping[str, Any], unit: str) -> Table:
    """The main scores of averaged predictions beside those of the network alone."""
    table = make_table(f"mean prediction of {describe_average(averaged)}")
    for heading in ("score", "network", "averaged", "95 % interval"):
        numbers = {} if heading == "score" else {"justify": "right", "style": "value" if heading == "averaged" else None}
        table.add_column(heading, **numbers)
    for spec in list_scores(at_least=Prominence.TABLE):
        key = choose_key(test, spec)
        values = [format_score(scores[spec.family].get(key)) for scores in (test, averaged)]
        table.add_row(make_heading(spec, unit, key), *values, describe_interval(averaged[spec.family], key))
    return table


def make_source_table(by_source: Mapping[str, Any], unit: str) -> Table:
    """The main scores of each source's test images."""
    table = make_table("by source")
    table.add_column("score")
    for name, scores in by_source.items():
        table.add_column(f"{name}, {scores['num_images']} images", justify="right", style="value")
    for spec in list_scores(at_least=Prominence.TABLE):
        values = [format_score(scores[spec.family].get(spec.name)) for scores in by_source.values()]
        table.add_row(make_heading(spec, unit), *values)
    return table
