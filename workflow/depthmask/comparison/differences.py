"""The difference of each score between two evaluations, paired by image, with its interval and a verdict."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from depthmask.comparison.results import Row
from depthmask.intervals.bootstrap import Bootstrap, Interval
from depthmask.intervals.clusters import Clusters, find_clusters
from depthmask.scores import ScoreSpec
from depthmask.scores.labels import describe_column

BETTER, WORSE, UNDECIDED, EQUAL = "better", "worse", "cannot tell", "equal"


@dataclass(frozen=True)
class Difference:
    """A score of two evaluations, each a mean over the images where both are defined, num_images of them.

    interval: of b - a. verdict: on b: BETTER or WORSE if the interval excludes 0, EQUAL if every image has the same score.
    values: N x 2, NaN where undefined.
    """

    column: str
    label: str
    spec: ScoreSpec
    a: float
    b: float
    interval: Interval | None
    verdict: str
    num_images: int
    values_N2: np.ndarray

    @property
    def change(self) -> float:
        return self.b - self.a


def find_differences(pairs: Sequence[tuple[Row, Row]], seed: int = 0) -> tuple[list[Difference], Clusters]:
    """The differences of all scores that both evaluations have, in the order of per_image.csv, and the images' clusters."""
    clusters = find_clusters([row for _, row in pairs])
    columns = [column for column in pairs[0][1] if column in pairs[0][0] and describe_column(column) is not None]
    values_KN2 = np.array([[[_read(row, column) for row in pair] for pair in pairs] for column in columns])
    values_KN2[np.isnan(values_KN2).any(axis=2)] = np.nan  # an image that only one is scored on cannot be paired
    found = Bootstrap(clusters, seed).find_intervals((values_KN2[..., 1] - values_KN2[..., 0]).T)
    described = zip(columns, values_KN2, found, strict=True)
    return [_compare(column, values, interval) for column, values, interval in described], clusters


def find_most_changed(difference: Difference, number: int) -> list[int]:
    """The indices of the images whose score changed most, by the size of the change."""
    changes = np.abs(difference.values_N2[:, 1] - difference.values_N2[:, 0])
    order = np.argsort(-np.nan_to_num(changes, nan=-1.0), kind="stable")
    return [int(index) for index in order[:number] if changes[index] > 0]


def _read(row: Row, column: str) -> float:
    return float(row.get(column) or "nan")


def _compare(column: str, values_N2: np.ndarray, interval: Interval | None) -> Difference:
    label, spec = describe_column(column)
    known = values_N2[~np.isnan(values_N2[:, 0])]
    a, b = (math.fsum(values) / len(known) if len(known) else math.nan for values in known.T)
    verdict = _judge(known, interval, spec)
    return Difference(column, f"{spec.family} {label}", spec, a, b, interval, verdict, len(known), values_N2)


def _judge(known_N2: np.ndarray, interval: Interval | None, spec: ScoreSpec) -> str:
    if len(known_N2) and np.array_equal(known_N2[:, 0], known_N2[:, 1]):
        return EQUAL
    if interval is None or interval.low <= 0 <= interval.high:
        return UNDECIDED
    return BETTER if (interval.low > 0) == spec.higher_is_better else WORSE
