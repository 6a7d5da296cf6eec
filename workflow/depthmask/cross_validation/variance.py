"""The parts of the variance of per-picture scores, by a random-effects model and the method of moments.

A score is taken to be

    score = mean + fold + run + background + cut-out + picture + rest

with independent effects of zero mean: of the fold (what is trained on), of the run (a training of a fold from one seed), of the
background, of the cut-out, of the picture itself (this cut-out at this place before this background), and of a picture in one
run, which is what is left. Each background and cut-out is in one fold and in several pictures: without parts of their own they
would be counted as the fold's.

The variances of the effects are estimated by the analysis of variance for unbalanced data (C. R. Henderson, Estimation of
variance and covariance components, Biometrics 9, 1953, method 1). For a grouping G of the N scores, such as by fold, let

    T(G) = sum over its groups of (sum of the scores in the group)^2 / number of scores in the group.

Its expectation is linear in the variances: N mean^2 + sum over effects of variance * k(G, effect), with

    k(G, effect) = sum over groups g of sum over levels l of n(g, l)^2 / n(g),

where n(g, l) counts the scores of group g that have level l of the effect. One equation for each effect and one for the mean are
solved for the variances. Each estimate is unbiased, whatever the distribution of the effects and the sizes of the groups. With
equally many scores everywhere it is that of the textbook's analysis of variance. An estimate can be negative, when the part is
small beside its own error; it is then reported as 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

SEED, FOLD, BACKGROUND, CUTOUT, PICTURE, REST = "seed", "fold", "background", "cutout", "picture", "rest"
PARTS = (SEED, FOLD, BACKGROUND, CUTOUT, PICTURE, REST)
EFFECTS = (FOLD, SEED, PICTURE, BACKGROUND, CUTOUT)  # what cannot be told from one before is counted as that
LEFT_OUT_FIRST = (CUTOUT, BACKGROUND, PICTURE, SEED, FOLD)  # where the equations have no single solution
ROUNDING = 1e-9  # of the mean square: a negative estimate nearer to 0 is none


@dataclass(frozen=True)
class VarianceParts:
    """variances: by part, at least 0; None for a part that these data cannot tell from another. negative: estimates set to 0.

    one_run: variance of the mean score of one training on one fold, around the mean over all that might be trained and tested;
    None if nothing could be estimated.
    """

    variances: dict[str, float | None]
    negative: tuple[str, ...] = ()
    one_run: float | None = None


class Design:
    """Which scores have which level of each effect: what the estimates depend on besides the scores themselves.

    levels: of each effect that is known, N whole numbers; those of `fold` and `seed` are required. Two scores have the same level
    of `seed` if they are of the same run.
    """

    def __init__(self, levels: Mapping[str, np.ndarray]):
        numbers = {name: np.unique(levels[name], return_inverse=True)[1] for name in EFFECTS if name in levels}
        self._runs = numbers[SEED]
        self._num_scores = len(self._runs)
        self._effects = self._choose_effects(numbers)
        self._equations = self._make_equations(self._effects)
        # with one seed, nothing but the picture is left
        self._name_of_rest = REST if PICTURE in self._effects else PICTURE

    def estimate(self, scores: np.ndarray) -> VarianceParts:
        """The variance of each part. scores: N finite values."""
        unknown: dict[str, float | None] = dict.fromkeys(PARTS)
        if self._num_scores < 2 or not self._effects:
            return VarianceParts(unknown)
        found = self.solve(scores)
        least = -ROUNDING * float(scores.var())
        negative = tuple(name for name in PARTS if found.get(name, 0.0) < least)
        known = {name: max(0.0, value) for name, value in found.items()}
        return VarianceParts(unknown | known, negative, self._predict_one_run(known))

    def solve(self, scores: np.ndarray) -> dict[str, float]:
        """The unbiased estimates of the variances that can be told apart, some of which may be negative."""
        centred = scores.astype(np.float64) - scores.mean()  # changes no variance, and keeps digits
        sums = np.array([_sum_squares(centred, numbers) for numbers in self._list_groupings(self._effects)])
        solved = np.linalg.solve(self._equations, sums[1:] - sums[0]).tolist()
        return dict(zip([*self._effects, self._name_of_rest], solved, strict=True))

    def _predict_one_run(self, variances: Mapping[str, float]) -> float:
        """The mean over the runs of the variance that a run's mean score has by the model."""
        num_each = np.bincount(self._runs)
        total = 0.0
        for name, numbers in [*self._effects.items(), (self._name_of_rest, np.arange(self._num_scores))]:
            total += variances[name] * float((_count_squares(self._runs, numbers) / num_each**2).mean())
        return total

    def _choose_effects(self, numbers: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The effects that can be told from each other, from the mean and from the rest."""
        chosen: dict[str, np.ndarray] = {}
        for name, own in numbers.items():
            is_new = not any(_is_same_partition(own, other) for other in chosen.values())
            if 1 < own.max(initial=0) + 1 < self._num_scores and is_new:
                chosen[name] = own
        while chosen:
            equations = self._make_equations(chosen) / self._num_scores
            if np.linalg.matrix_rank(equations) == len(equations):
                break
            chosen.pop(next(name for name in LEFT_OUT_FIRST if name in chosen))
        return chosen

    def _make_equations(self, effects: Mapping[str, np.ndarray]) -> np.ndarray:
        """k(G, effect) of each grouping and effect, less those of all scores as one group: so the mean's term is gone."""
        groupings = self._list_groupings(effects)
        counts = [
            [float((_count_squares(groups, levels) / np.bincount(groups)).sum()) for levels in groupings[1:]]
            for groups in groupings
        ]
        return np.array(counts[1:]) - np.array(counts[0])

    def _list_groupings(self, effects: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """All scores as one group, by each effect, and each score alone."""
        return [np.zeros(self._num_scores, np.int64), *effects.values(), np.arange(self._num_scores)]


def _sum_squares(scores: np.ndarray, groups: np.ndarray) -> float:
    """T of a grouping."""
    return float((np.bincount(groups, scores) ** 2 / np.bincount(groups)).sum())


def _count_squares(groups: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """For each group the sum over levels of the squared number of scores in both."""
    cells, counts = np.unique(groups * (int(levels.max()) + 1) + levels, return_counts=True)
    return np.bincount(cells // (int(levels.max()) + 1), counts.astype(np.float64) ** 2)


def _is_same_partition(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether two numberings put the same scores together."""
    num_pairs = len(np.unique(one * (int(other.max()) + 1) + other))
    return num_pairs == one.max() + 1 == other.max() + 1
