"""A whole comparison: scores, params and images that changed, ready to be printed or written."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from depthmask.base.errors import UserError
from depthmask.comparison.differences import WORSE, Difference, find_differences, find_most_changed
from depthmask.comparison.pairing import list_changed_params, pair_images
from depthmask.comparison.results import Results, Row
from depthmask.intervals.bootstrap import CONFIDENCE
from depthmask.intervals.clusters import Clusters
from depthmask.scores import Prominence, list_scores
from depthmask.scores.rounding import round_score

NUM_CHANGED = 5  # images listed for each primary score


@dataclass(frozen=True)
class Comparison:
    """differences: of all scores. changed: of each primary score, the indices of the images that changed most."""

    a: Results
    b: Results
    pairs: list[tuple[Row, Row]]
    clusters: Clusters
    differences: list[Difference]
    params: list[tuple[str, Any, Any]]
    changed: dict[str, list[int]]

    @property
    def unit(self) -> str:
        """Of depth, as in `Results`: that of both, or of the only one whose unit is known."""
        return self.b.unit or self.a.unit

    def list_main(self) -> list[Difference]:
        """The scores that the terminal's table shows, in its order."""
        named = {one.column: one for one in self.differences}
        return [named[spec.column] for spec in list_scores(at_least=Prominence.TABLE) if spec.column in named]

    def get(self, column: str) -> Difference:
        """The difference of a score by its column of per_image.csv.

        Raises:
            UserError: there is no such score.
        """
        for one in self.differences:
            if one.column == column:
                return one
        names = ", ".join(one.column for one in self.list_main())
        raise UserError(f"{column}: is not a score of both; allowed: a column of per_image.csv, such as {names}")


def compare(a: Results, b: Results, seed: int = 0) -> Comparison:
    """Pair the images and compare every score.

    Raises:
        UserError: the test sets differ.
    """
    pairs = pair_images(a, b)
    differences, clusters = find_differences(pairs, seed)
    primary = {spec.column for spec in list_scores(at_least=Prominence.PRIMARY)}
    changed = {one.column: find_most_changed(one, NUM_CHANGED) for one in differences if one.column in primary}
    return Comparison(a, b, pairs, clusters, differences, list_changed_params(a, b), changed)


def find_worse(comparison: Comparison, columns: Sequence[str]) -> list[Difference]:
    """Those of the named scores that are worse in b; raises UserError as `Comparison.get` does."""
    return [one for one in map(comparison.get, columns) if one.verdict == WORSE]


def make_json(comparison: Comparison) -> dict[str, Any]:
    """All of it for other programs: numbers rounded as in metrics.json, null where undefined."""

    def describe(results: Results) -> dict[str, Any]:
        return {"name": results.name, "commit": results.commit}

    return {
        "a": describe(comparison.a),
        "b": describe(comparison.b),
        "confidence": CONFIDENCE,
        "num_images": len(comparison.pairs),
        "num_clusters": comparison.clusters.num,
        "scores": {one.column: _describe_difference(one) for one in comparison.differences},
        "params": [{"key": key, "a": old, "b": new} for key, old, new in comparison.params],
        "changed_most": {
            column: [_describe_image(comparison, column, index) for index in indices]
            for column, indices in comparison.changed.items()
        },
    }


def _describe_difference(one: Difference) -> dict[str, Any]:
    interval = one.interval
    return {
        "a": _round(one.a),
        "b": _round(one.b),
        "difference": _round(one.change),
        "low": None if interval is None else _round(interval.low),
        "high": None if interval is None else _round(interval.high),
        "verdict": one.verdict,
        "better": one.spec.better,
        "num_images": one.num_images,
    }


def _describe_image(comparison: Comparison, column: str, index: int) -> dict[str, Any]:
    row = comparison.pairs[index][1]
    old, new = comparison.get(column).values_N2[index]
    identity = {key: row[key] for key in ("source", "key", "background", "cutout") if row.get(key)}
    return identity | {"a": _round(old), "b": _round(new)}


def _round(value: float) -> float | None:
    return None if math.isnan(value) else round_score(float(value))
