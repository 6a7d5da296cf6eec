"""Intervals of a trial's scores; the one place of a sweep that knows how they are made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

SCORE = "score"  # the name of the mean of all columns


def measure_intervals(rows: Sequence[Mapping[str, Any]], columns: Sequence[str], seed: int) -> dict[str, dict[str, float | None]]:
    """The interval of the mean over images of each column, and of the mean of the columns (SCORE)."""
    return {name: {"low": None, "high": None} for name in (*columns, SCORE)}
