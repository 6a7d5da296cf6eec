"""The 95 % confidence interval of every score of a test set, of the network's and of the baselines'."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from depthmask.evaluation.score import NETWORK, TestScores
from depthmask.intervals.bootstrap import CONFIDENCE, NUM_DRAWS, Bootstrap, Interval, divide
from depthmask.intervals.clusters import Clusters, find_clusters
from depthmask.metrics import score_family
from depthmask.metrics.reduce import Statistics
from depthmask.scores import BY_SOURCE, HIGH, LOW, POOLED, SCORES, Prominence, list_scores
from depthmask.scores.labels import choose_key
from depthmask.scores.rounding import round_score

Intervals = dict[str, Interval | None]  # by key of a family, as in metrics.json


@dataclass(frozen=True)
class TestIntervals:
    """clusters: of the images. found: by NETWORK or baseline, family and key; None where the score is undefined, or its interval.

    by_source: of the images of each of several sources.
    """

    clusters: Clusters
    found: dict[str, dict[str, Intervals]]
    by_source: dict[str, TestIntervals]


def find_score_intervals(scores: TestScores, depth_max: float, seed: int) -> TestIntervals:
    """Resample backgrounds and cut-outs, the same ones for every score; see `intervals.bootstrap`."""
    clusters = find_clusters(scores.identity)
    parts = [
        _Part(who, family, sums, depth_max) for who, families in scores.sums.items() for family, sums in families.items() if sums
    ]
    bootstrap, found = Bootstrap(clusters, seed), {}
    totals = bootstrap.add_up(np.concatenate([part.columns_NK for part in parts], axis=1))
    start = 0
    for part in parts:
        stop = start + part.columns_NK.shape[1]
        own = {scheme: sums[:, start:stop] for scheme, sums in totals.items()}
        skipped = {key for family, key in scores.not_scored if family == part.family}
        intervals = part.find_intervals(bootstrap, own)
        found.setdefault(part.who, {})[part.family] = {key: None if key in skipped else it for key, it in intervals.items()}
        start = stop
    by_source = {name: find_score_intervals(source, depth_max, seed) for name, source in scores.by_source.items()}
    return TestIntervals(clusters, found, by_source)


class _Part:
    """One family's scores of the network or of a baseline, as columns that can be added up."""

    def __init__(self, who: str, family: str, sums: Statistics, depth_max: float):
        self.who, self.family, self.depth_max = who, family, depth_max
        self.values = {key: values.numpy() for key, values in score_family(family, sums, depth_max).items()}
        self.pooled = [
            spec.name for spec in SCORES.values() if spec.family == family and spec.pooled and spec.name in self.values
        ]
        self.sums = {name: values.double().numpy() for name, values in sums.items()} if self.pooled else {}
        defined = {key: ~np.isnan(values) for key, values in self.values.items()}
        means = [np.where(defined[key], values, 0.0) for key, values in self.values.items()]
        self.columns_NK = np.stack([*means, *defined.values(), *self.sums.values()], axis=1)

    def find_intervals(self, bootstrap: Bootstrap, totals: Mapping[str, np.ndarray]) -> Intervals:
        """totals: by scheme, R x K sums of `columns_NK`."""
        num, found = len(self.values), {}
        means = {scheme: divide(sums[:, :num], sums[:, num : 2 * num]) for scheme, sums in totals.items()}
        for column, (key, values) in enumerate(self.values.items()):
            known = ~np.isnan(values)
            draws = {scheme: those[:, column] for scheme, those in means.items()}
            found[key] = bootstrap.find_interval(values[known], draws, known)
        if self.pooled:
            pooled = {scheme: self._pool(sums[:, 2 * num :]) for scheme, sums in totals.items()}
            whole = self._pool(np.array([[values.sum() for values in self.sums.values()]]))
        for key in self.pooled:
            known, point = ~np.isnan(self.values[key]), float(whole[key][0])
            draws = {scheme: those[key] for scheme, those in pooled.items()}
            found[f"{key}{POOLED}"] = bootstrap.find_interval(self.values[key][known], draws, known, point)
        return found

    def _pool(self, sums_RK: np.ndarray) -> dict[str, np.ndarray]:
        """Scores of the summed statistics of each draw."""
        named = {name: torch.from_numpy(np.ascontiguousarray(sums_RK[:, k])) for k, name in enumerate(self.sums)}
        scores = score_family(self.family, named, self.depth_max)
        return {key: scores[key].numpy() for key in self.pooled}


def add_intervals(metrics: dict[str, Any], intervals: TestIntervals) -> dict[str, Any]:
    """metrics.json's content with the ends of the main scores' intervals beside them, as `iou_low` and `iou_high`.

    Of the main scores alone, because DVC's tables have a line or a column for each key; intervals.json has all.
    """
    return {"test": _add(metrics["test"], intervals)}


def _add(test: dict[str, Any], intervals: TestIntervals) -> dict[str, Any]:
    added = dict(test)
    for family in intervals.found.get(NETWORK, {}):
        added[family] = _insert(test[family], family, intervals.found[NETWORK][family])
    if "baselines" in test:
        families = {who: next(iter(found.items())) for who, found in intervals.found.items() if who != NETWORK}
        added["baselines"] = {who: _insert(values, *families[who]) for who, values in test["baselines"].items()}
    if BY_SOURCE in test:
        added[BY_SOURCE] = {name: _add(source, intervals.by_source[name]) for name, source in test[BY_SOURCE].items()}
    return added


def _insert(values: Mapping[str, float | None], family: str, intervals: Intervals) -> dict[str, float | None]:
    main = {choose_key({family: values}, spec) for spec in list_scores(family, at_least=Prominence.TABLE)}
    added: dict[str, float | None] = {}
    for key, value in values.items():
        added[key] = value
        if key in main and value is not None:
            found = intervals[key]
            added |= {
                f"{key}{LOW}": None if found is None else round_score(found.low),
                f"{key}{HIGH}": None if found is None else round_score(found.high),
            }
    return added


def make_intervals(intervals: TestIntervals) -> dict[str, Any]:
    """The content of intervals.json: both ends for every score, named as in metrics.json and baselines.json; null without."""
    return {"confidence": CONFIDENCE, "num_draws": NUM_DRAWS, "test": _list(intervals)}


def _list(intervals: TestIntervals) -> dict[str, Any]:
    def list_family(found: Intervals) -> dict[str, list[float | None] | None]:
        return {key: None if it is None else [round_score(it.low), round_score(it.high)] for key, it in found.items()}

    own = {family: list_family(found) for family, found in intervals.found.get(NETWORK, {}).items()}
    baselines = {who: list_family(next(iter(families.values()))) for who, families in intervals.found.items() if who != NETWORK}
    sources = {name: _list(source) for name, source in intervals.by_source.items()}
    listed = {"num_clusters": intervals.clusters.num, **own, "baselines": baselines}
    return listed | ({BY_SOURCE: sources} if sources else {})
