"""The table of scores in the terminal."""

from __future__ import annotations

from typing import Any

from rich.console import Console

from depthmask.base.terminal import make_console, make_table
from depthmask.reporting.labels import BASELINES, HEADLINES, SCORES, UNIT_SIGNS, find_best_baseline, format_score


def print_scores(metrics: dict[str, Any], unit: str, console: Console | None = None) -> None:
    """The headline scores of metrics.json and, beside each, the best answer that needs no network.

    `unit`: metre, relative or empty if unknown, for scores in the unit of depth.
    """
    console, test = console or make_console(stderr=False), metrics["test"]
    is_wide = console.width >= 60  # else what the answers are called is left out
    table = make_table(f"test set, {test['num_images']} pictures, mean over pictures")
    table.add_column("score")
    table.add_column("network", justify="right", style="value")
    table.add_column("best without a network", justify="right")
    if is_wide:
        table.add_column("")
        table.add_column("better", style="aside")
    for family, key in (*HEADLINES, ("depth", "rmse")):
        words = SCORES[family][key]
        name, best = find_best_baseline(test["baselines"], family, key) or ("", None)
        sign = f", {UNIT_SIGNS[unit]}" if words.in_unit and UNIT_SIGNS.get(unit) else ""
        scores = format_score(test[family].get(key)), "" if best is None else format_score(best)
        beside = (BASELINES.get(name, name), "higher" if words.higher else "lower") if is_wide else ()
        table.add_row(f"{family} {words.label}{sign}", *scores, *beside)
    console.print(table)
