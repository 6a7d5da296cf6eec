"""Intervals of a trial's scores, from the images' own; see `depthmask.intervals`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from depthmask.intervals.bootstrap import Bootstrap, Interval
from depthmask.intervals.clusters import find_clusters
from depthmask.scores.rounding import round_score
from depthmask.sweep.trial import SCORE

BOUNDS = np.array([0.0, 1.0])  # of the scores that a sweep optimises


def measure_intervals(
    rows: Sequence[Mapping[str, Any]], columns: Sequence[str], score: float | None, seed: int
) -> dict[str, dict[str, float | None]]:
    """The 95 % interval of the mean over images of each column, and of the mean of the columns (SCORE), which is `score`.

    rows: as in per_image.csv. Null where too little is known.
    """
    values_NK = np.array([[_read(row[column]) for column in columns] for row in rows], dtype=np.float64)
    bootstrap = Bootstrap(find_clusters(rows), seed)
    found = dict(zip(columns, bootstrap.find_intervals(values_NK), strict=True))
    found[SCORE] = None
    if score is not None:
        draws = {scheme: means.mean(axis=1) for scheme, means in bootstrap.draw_means(values_NK).items()}
        found[SCORE] = bootstrap.find_interval(BOUNDS, draws, ~np.isnan(values_NK).all(axis=1), point=score)
    return {name: _round(interval) for name, interval in found.items()}


def _read(value: Any) -> float:
    return np.nan if value in ("", None) else float(value)


def _round(interval: Interval | None) -> dict[str, float | None]:
    return (
        dict.fromkeys(("low", "high"))
        if interval is None
        else {end: round_score(value) for end, value in interval._asdict().items()}
    )
