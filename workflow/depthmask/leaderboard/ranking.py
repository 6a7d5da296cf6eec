"""Which recipes can be told apart: by their scores on the same test images, and over their seeds.

A recipe is better than another if the 95 % interval of the difference, paired by image, excludes 0, and its worst seed is better
than the other's best. The interval knows how much the test images decide, the seeds how much chance in training does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import permutations

import numpy as np

from depthmask.base.errors import UserError
from depthmask.intervals.bootstrap import Bootstrap, Interval, divide
from depthmask.intervals.clusters import find_clusters
from depthmask.leaderboard.results import Results
from depthmask.scores import ScoreSpec

Rows = Sequence[Mapping[str, str]]


class Ranking:
    """The test images of all recipes that were trained, and intervals over them. specs: scores by column.

    Raises:
        UserError: the recipes were scored on different test images.
    """

    def __init__(self, results: Results, specs: Mapping[str, ScoreSpec], seed: int):
        self.specs = specs
        images = {name: rows for name, rows in results.images.items() if rows}
        self.bootstrap = None
        if images:
            first = next(iter(images.values()))[0]
            _require_same_images(images, first)
            self.bootstrap = Bootstrap(find_clusters(first), seed)
        values = {name: [self._read(rows) for rows in seeds] for name, seeds in images.items()}
        # by recipe: N x scores, the mean of its seeds; seeds x scores
        self.values = {name: np.mean(seeds, axis=0) for name, seeds in values.items()}
        self.means = {name: np.array([_mean(values_NK) for values_NK in seeds]) for name, seeds in values.items()}

    def find_intervals(self) -> dict[str, dict[str, Interval | None]]:
        """By recipe, the interval of each score, the mean over its seeds."""
        if not self.values:
            return {}
        found = iter(self.bootstrap.find_intervals(np.concatenate(list(self.values.values()), axis=1)))
        return {name: {column: next(found) for column in self.specs} for name in self.values}

    def rank(self, column: str) -> dict[str, int]:
        """By recipe: 1 and the number of recipes that are better; those that cannot be told apart from the same share a rank."""
        num_better = Counter(worse for _, worse in self._list_better(column))
        return {name: 1 + num_better[name] for name in self.values}

    def _list_better(self, column: str) -> list[tuple[str, str]]:
        """(better, worse): the pairs of recipes that differ in a score by more than the images and the seeds explain."""
        place, sign = list(self.specs).index(column), 1 if self.specs[column].higher_is_better else -1
        means = {name: sign * seeds[:, place] for name, seeds in self.means.items()}
        # never if one of them is undefined
        apart = [(one, other) for one, other in permutations(means, 2) if means[one].min() > means[other].max()]
        if not apart:
            return []
        differences = [sign * (self.values[one][:, place] - self.values[other][:, place]) for one, other in apart]
        intervals = self.bootstrap.find_intervals(np.stack(differences, axis=1))
        return [pair for pair, interval in zip(apart, intervals, strict=True) if interval is not None and interval.low > 0]

    def _read(self, rows: Rows) -> np.ndarray:
        return np.array([[float(row.get(column) or "nan") for column in self.specs] for row in rows])


def _mean(values_NK: np.ndarray) -> np.ndarray:
    """Means over the images where a score is defined; NaN without any."""
    defined = ~np.isnan(values_NK)
    return divide(np.where(defined, values_NK, 0.0).sum(axis=0), defined.sum(axis=0))


def _require_same_images(images: Mapping[str, Sequence[Rows]], first: Rows) -> None:
    wanted = [(row["key"], row["background"], row["cutout"]) for row in first]
    for name, seeds in images.items():
        for rows in seeds:
            if [(row["key"], row["background"], row["cutout"]) for row in rows] != wanted:
                raise UserError(f"recipe {name}: was scored on other test images than the first; rerun make leaderboard")
