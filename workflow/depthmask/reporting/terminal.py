"""The final table of scores in the terminal."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table

from depthmask.reporting.words import BASELINES, HEADLINES, SCORES, UNIT_SIGNS, find_best_baseline, format_score


def print_scores(metrics: dict[str, Any], unit: str, console: Console | None = None) -> None:
    """The headline scores of metrics.json and, beside each, the best answer that needs no network.

    `unit`: metre, relative or empty if unknown, for scores in the unit of depth.
    """
    test = metrics["test"]
    table = Table(title=f"test set, {test['num_images']} pictures, mean over pictures")
    table.add_column("score")
    table.add_column("", style="dim")
    table.add_column("network", justify="right", style="bold")
    table.add_column("best without a network", justify="right")
    for family, key in (*HEADLINES, ("depth", "rmse")):
        words = SCORES[family][key]
        best = find_best_baseline(test["baselines"], family, key)
        beside = f"{format_score(best[1])}  {BASELINES.get(best[0], best[0])}" if best else ""
        sign = f", {UNIT_SIGNS[unit]}" if words.in_unit and UNIT_SIGNS.get(unit) else ""
        direction = "higher is better" if words.higher else "lower is better"
        table.add_row(f"{family} {words.label}{sign}", direction, format_score(test[family].get(key)), beside)
    (console or Console()).print(table)
