"""Which recipes can be told apart: by their scores on the same test images, and over their seeds.

A recipe is better than another if the 95 % interval of the difference, paired by image, excludes 0, and its worst seed is better
than the other's best. The interval knows how much the test images decide, the seeds how much chance in training does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from depthmask.base.errors import UserError
from depthmask.intervals.bootstrap import Bootstrap, Interval
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
        self.images = {name: rows for name, rows in results.images.items() if rows}
        self.bootstrap = None
        if self.images:
            first = next(iter(self.images.values()))[0]
            _require_same_images(self.images, first)
            self.bootstrap = Bootstrap(find_clusters(first), seed)
        # by recipe: N x scores, the mean of its seeds; seeds x scores
        self.values = {name: np.mean([self._read(rows) for rows in seeds], axis=0) for name, seeds in self.images.items()}
        self.means = {name: np.array([_mean(self._read(rows)) for rows in seeds]) for name, seeds in self.images.items()}

    def find_intervals(self, name: str) -> dict[str, Interval | None]:
        """The interval of each score of a recipe, the mean over its seeds."""
        if name not in self.values:
            return dict.fromkeys(self.specs)
        return dict(zip(self.specs, self.bootstrap.find_intervals(self.values[name]), strict=True))

    def rank(self, column: str) -> dict[str, int]:
        """By recipe: 1 and the number of recipes that are better; those that cannot be told apart from the same share a rank."""
        return {name: 1 + sum(self.is_better(other, name, column) for other in self.values) for name in self.values}

    def is_better(self, name: str, other: str, column: str) -> bool:
        """Whether a recipe is better than another by a score, beyond what the images and the seeds explain."""
        place, sign = list(self.specs).index(column), 1 if self.specs[column].higher_is_better else -1
        own, theirs = (sign * self.means[one][:, place] for one in (name, other))
        if not own.min() > theirs.max():  # false if one of them is undefined
            return False
        difference = sign * (self.values[name][:, place] - self.values[other][:, place])
        (interval,) = self.bootstrap.find_intervals(difference[:, None])
        return interval is not None and interval.low > 0

    def _read(self, rows: Rows) -> np.ndarray:
        return np.array([[float(row.get(column) or "nan") for column in self.specs] for row in rows])


def _mean(values_NK: np.ndarray) -> np.ndarray:
    """Means over the images where a score is defined; NaN without any."""
    defined = ~np.isnan(values_NK)
    num = defined.sum(axis=0)
    return np.where(num > 0, np.where(defined, values_NK, 0.0).sum(axis=0) / np.maximum(num, 1), np.nan)


def _require_same_images(images: Mapping[str, Sequence[Rows]], first: Rows) -> None:
    wanted = [(row["key"], row["background"], row["cutout"]) for row in first]
    for name, seeds in images.items():
        for rows in seeds:
            if [(row["key"], row["background"], row["cutout"]) for row in rows] != wanted:
                raise UserError(f"recipe {name}: was scored on other test images than the first; rerun make leaderboard")
