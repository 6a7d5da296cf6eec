"""The rows of a sweep's table: finished trials by their score, then those that were stopped early, then those that diverged.

A row is a mapping of `list_columns`, ready to be written; unknown values are None.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from depthmask.sweep.params import SweepParams
from depthmask.sweep.trial import DIVERGED, FINISHED, SCORE, STOPPED, Result

ORDER = (FINISHED, STOPPED, DIVERGED)

Row = dict[str, Any]


def list_columns(params: SweepParams) -> list[str]:
    """The columns of sweep.csv: one for each searched key, and three for each score."""
    scores = [f"{name}{part}" for name in (SCORE, *params.optimise) for part in ("", "_low", "_high")]
    return ["rank", "trial", *params.space, "outcome", *scores, "steps", "planned_steps", "num_images", "reason"]


def make_rows(results: Sequence[Result], params: SweepParams) -> list[Row]:
    """Rows of `list_columns`, best first; only finished trials have a rank, and equal scores share one."""

    def place(result: Result) -> tuple:
        known = result.score is not None
        return ORDER.index(result.outcome), not known, -result.score if known else 0, result.name

    ordered = sorted(results, key=place)
    ranked = [result.score for result in ordered if result.has_rank]
    rows = []
    for result in ordered:
        row = {"rank": ranked.index(result.score) + 1 if result.has_rank else None, "trial": result.name}
        row |= {key: show_value(result.values[key]) for key in params.space} | {"outcome": result.outcome}
        for name, value in ((SCORE, result.score), *result.scores.items()):
            interval = result.intervals.get(name)
            row |= {name: value, f"{name}_low": interval and interval.low, f"{name}_high": interval and interval.high}
        row |= {"steps": result.steps, "planned_steps": result.planned_steps, "num_images": result.num_images}
        rows.append(row | {"reason": result.reason})
    return rows


def make_metrics(results: Sequence[Result]) -> dict[str, dict[str, float | None]]:
    """The scores of each trial by its name, for DVC's tables."""
    return {result.name: {SCORE: result.score, **result.scores} for result in results}


def show_value(value: Any) -> str:
    """A value as in a YAML file, on one line."""
    return value if isinstance(value, str) else json.dumps(value)


def find_best(results: Sequence[Result]) -> Result | None:
    """The finished trial with the highest score, the first of equal ones; None if none has a score."""
    ranked = [result for result in results if result.has_rank]
    return max(ranked, key=lambda result: result.score, default=None)
