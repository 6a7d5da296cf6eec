"""A bootstrap of images that depend on each other in two ways, by their background and by their cut-out.

Backgrounds are drawn with replacement, and cut-outs independently of them; an image weighs the product of how often its
background and its cut-out were drawn (the pigeonhole bootstrap; Owen 2007, "The pigeonhole bootstrap", Annals of Applied
Statistics 1(2)). That counts what is peculiar to single images up to three times, so the deviations of its draws are scaled to
the variance of two-way clustering (Cameron, Gelbach, Miller 2011, "Robust inference with multiway clustering", Journal of
Business & Economic Statistics 29(2)),

    V = V(backgrounds drawn) + V(cut-outs drawn) - V(images drawn),

each of the first two times G / (G - 1) for its G clusters; at least the larger of them. The percentiles are those of Hesterberg
2015, "What teachers should know about the bootstrap", The American Statistician 69(4): Phi(-t) and Phi(t) instead of 2.5 and
97.5 %, with t the 97.5 % quantile of Student's distribution. A plain percentile interval is too narrow with few clusters. Its
degrees of freedom are those of Satterthwaite 1946: G - 1, with the smaller G, for what backgrounds and cut-outs contribute, and
N - 1 for what single images do. With one way alone, V is that of its draws, with G - 1 degrees.

Shapes: N images, K columns, R draws.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import numpy as np
from scipy import special  # not scipy.stats, which takes half a second to import

from depthmask.intervals.clusters import Clusters
from depthmask.keyed_random import RESAMPLING, make_generator

CONFIDENCE = 0.95
NUM_DRAWS = 2000
DEFINED_DRAWS_MIN = 0.5  # fewer draws in which a score is defined say too little
CHUNK_WEIGHTS = 8_000_000  # held at once, of all draws and images
IMAGES, WHOLE = "images", "whole"  # schemes beside the ways: every image drawn on its own; all ways at once


class Interval(NamedTuple):
    """Both ends of the 95 % interval, in the score's unit."""

    low: float
    high: float


class Bootstrap:
    """Draws of the images of one test set: the same for every score, and a pure function of (clusters, seed)."""

    def __init__(self, clusters: Clusters, seed: int = 0, num_draws: int = NUM_DRAWS):
        self.clusters, self.seed, self.num_draws = clusters, seed, num_draws

    def find_intervals(self, values_NK: np.ndarray) -> list[Interval | None]:
        """The interval of each column's mean over images; NaN: undefined for that image; None: too little is known."""
        means, defined = self.draw_means(values_NK), ~np.isnan(values_NK)
        return [
            self.find_interval(values[known], {scheme: draws[:, column] for scheme, draws in means.items()}, known)
            for column, (values, known) in enumerate(zip(values_NK.T, defined.T, strict=True))
        ]

    def draw_means(self, values_NK: np.ndarray) -> dict[str, np.ndarray]:
        """The mean over images of each column in every draw, R x K, by scheme; NaN: undefined for that image, or in that draw."""
        defined, num_columns = ~np.isnan(values_NK), values_NK.shape[1]
        totals = self.add_up(np.concatenate([np.where(defined, values_NK, 0.0), defined], axis=1))
        return {scheme: divide(sums[:, :num_columns], sums[:, num_columns:]) for scheme, sums in totals.items()}

    def find_interval(
        self, values: np.ndarray, draws: Mapping[str, np.ndarray], defined_N: np.ndarray, point: float | None = None
    ) -> Interval | None:
        """The interval of a score of the whole set.

        values: of single images, between whose lowest and highest the interval stays; empty: no limits. draws: by scheme, R
        values of the score, NaN where undefined. defined: bool, the images that count. point: the score; None: the values' mean.
        """
        ways = self.clusters.ways
        nums = [len(np.unique(ids[defined_N])) for ids in ways.values()]
        if not nums or min(nums) < 2:
            return None
        known = {scheme: those[~np.isnan(those)] for scheme, those in draws.items()}
        if min(map(len, known.values())) < DEFINED_DRAWS_MIN * self.num_draws:
            return None
        clustered = [known[way].var() * num / (num - 1) for way, num in zip(ways, nums, strict=True)]
        variance, freedom = _combine(clustered, known[IMAGES].var() if len(ways) > 1 else None, min(nums), int(defined_N.sum()))
        whole, point = known[WHOLE], float(values.mean()) if point is None else point
        spread = whole.var()
        tail = special.ndtr(-special.stdtrit(freedom, (1 + CONFIDENCE) / 2))
        ends = point + np.quantile(whole - point, [tail, 1 - tail]) * (np.sqrt(variance / spread) if spread else 0.0)
        low, high = np.clip(ends, values.min(), values.max()) if len(values) else ends
        return Interval(float(low), float(high))

    def add_up(self, columns_NK: np.ndarray) -> dict[str, np.ndarray]:
        """The weighted sums of each column in every draw, R x K, by scheme: each way, WHOLE, and IMAGES if there are two ways."""
        ways, num_images = self.clusters.ways, self.clusters.num_images
        schemes = [WHOLE, *ways, *([IMAGES] if len(ways) > 1 else [])]
        totals = {scheme: np.empty((self.num_draws, columns_NK.shape[1])) for scheme in schemes}
        for start, stop, counts in self._draw(max(1, CHUNK_WEIGHTS // max(1, num_images))):
            weights = {way: counts[way][:, ids] for way, ids in ways.items()}
            whole = np.ones((stop - start, num_images))
            for each in weights.values():
                whole = whole * each
            for scheme, each in ({WHOLE: whole} | weights | {IMAGES: counts.get(IMAGES)}).items():
                if each is not None:
                    totals[scheme][start:stop] = each @ columns_NK
        return totals

    def _draw(self, chunk: int) -> Iterator[tuple[int, int, dict[str, np.ndarray]]]:
        """How often each cluster was drawn, some draws at a time; the draws do not depend on how many."""
        ways = {way: int(ids.max()) + 1 for way, ids in self.clusters.ways.items()}
        if len(ways) > 1:
            ways[IMAGES] = self.clusters.num_images
        draw: dict[str, Callable[[int], np.ndarray]] = {
            way: _make_drawer(self.seed, stream, num) for stream, (way, num) in enumerate(ways.items())
        }
        for start in range(0, self.num_draws, chunk):
            stop = min(start + chunk, self.num_draws)
            yield start, stop, {way: draw_some(stop - start) for way, draw_some in draw.items()}


def _combine(clustered: list[float], noise: float | None, num_clusters: int, num_images: int) -> tuple[float, float]:
    """The variance and its degrees of freedom. noise: the variance of images drawn on their own; None with one way."""
    if noise is None:
        return clustered[0], num_clusters - 1
    variance = max(*clustered, sum(clustered) - noise)
    between = max(0.0, variance - noise)
    uncertainty = between**2 / (num_clusters - 1) + noise**2 / (num_images - 1)
    return variance, max(num_clusters - 1, variance**2 / uncertainty if uncertainty else 0)


def divide(sums: np.ndarray, nums: np.ndarray) -> np.ndarray:
    """Quotients, NaN where the divisor is 0."""
    return np.divide(sums, nums, out=np.full(sums.shape, np.nan), where=nums != 0)


def _make_drawer(seed: int, stream: int, num: int) -> Callable[[int], np.ndarray]:
    random = make_generator(seed, RESAMPLING, stream=stream)
    return lambda num_draws: random.multinomial(num, np.full(num, 1 / num), size=num_draws).astype(np.float64)
