"""The rows of the tables: each score over all runs with its spread and the parts of its variance, and each run."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from depthmask.cross_validation.results import Results
from depthmask.cross_validation.variance import FOLD, PARTS, PICTURE, Design
from depthmask.intervals.bootstrap import Bootstrap, divide
from depthmask.scores import BY_SOURCE, HIGH, LOW, Prominence, list_scores
from depthmask.scores.labels import describe_column
from depthmask.scores.rounding import round_score

SHOWN = {spec.column: spec for spec in list_scores(at_least=Prominence.TABLE)}
SPREADS = ("run", "seed", "fold")
COLUMNS = (
    "score",
    "better",  # higher | lower
    "mean",  # over all images, each the mean of its seeds
    *("low", "high"),  # ends of its 95 % interval
    *(f"{spread}_{end}" for spread in SPREADS for end in ("min", "max")),  # of the means of single runs, of seeds, of folds
    *(f"sd_{part}" for part in PARTS),  # square roots of the parts of the variance
    "sd_one_run",
    "set_to_zero",  # parts whose estimate was negative
    "num_images",
    "note",
)
RUN_COLUMNS = ("fold", "seed", "num_images", *SHOWN)

Row = dict[str, Any]
Baselines = dict[str, dict[str, float | None]]  # by name, then score


def make_rows(results: Results, seed: int) -> list[Row]:
    """A row of COLUMNS for each score, in the order of the per-image rows; what is unknown is None. seed: of the intervals.

    The pictures of all folds are one test set, where each background and cut-out group appears once; intervals resample groups.
    """
    designs: dict[bytes, Design] = {}
    pictures = {name: average_pictures(values, results.levels[PICTURE]) for name, values in results.columns.items()}
    rows = [_make_row(name, values, pictures[name], results, designs) for name, values in results.columns.items()]
    pictures_NK = np.stack(list(pictures.values()), axis=1)
    for row, interval in zip(rows, Bootstrap(results.clusters, seed).find_intervals(pictures_NK), strict=True):
        if row["mean"] is not None and interval is not None:
            row["low"], row["high"] = round_score(interval.low), round_score(interval.high)
    return rows


def make_run_rows(results: Results) -> list[Row]:
    """A row of RUN_COLUMNS for each training run."""
    rows = []
    for run in results.runs:
        test = run.scores["test"]
        row: Row = {"fold": run.fold, "seed": run.seed, "num_images": test["num_images"]}
        means = {column: test[spec.family].get(spec.name) for column, spec in SHOWN.items()}
        rows.append(row | means)
    return rows


def average_baselines(results: Results) -> Baselines:
    """The scores of each baseline over all images of all folds; of SHOWN, those that it has."""
    means: Baselines = {}
    for name in (key for key in results.baselines[0] if key != BY_SOURCE):
        means[name] = {}
        for spec in SHOWN.values():
            if name.startswith(f"{spec.family}_"):
                values = [fold[name].get(spec.name) for fold in results.baselines]
                mean = None if None in values else round_score(float(np.average(values, weights=results.num_images)))
                means[name][spec.name] = mean
    return means


def make_metrics(rows: Sequence[Row]) -> dict[str, Any]:
    """The main scores for DVC's tables, nested by task."""
    metrics: dict[str, dict[str, Any]] = {}
    by_name = {row["score"]: row for row in rows}
    for column, spec in SHOWN.items():
        row = by_name.get(column)
        if row is not None:
            values = {spec.name: row["mean"], f"{spec.name}{LOW}": row["low"], f"{spec.name}{HIGH}": row["high"]}
            values[f"{spec.name}_sd_one_run"] = row["sd_one_run"]
            metrics.setdefault(spec.family, {}).update(values)
    return {"cross_validation": metrics}


def _make_row(name: str, values: np.ndarray, pictures: np.ndarray, results: Results, designs: dict[bytes, Design]) -> Row:
    """pictures: from `average_pictures`. designs: made so far; columns with values in the same rows share one."""
    known = np.isfinite(values)
    spec = describe_column(name)[1]
    row: Row = dict.fromkeys(COLUMNS) | {"score": name, "better": spec.better, "num_images": 0, "set_to_zero": ""}
    if name in results.not_scored or not known.any():
        return row | {"note": results.not_scored.get(name, "undefined for every image")}
    if known.tobytes() not in designs:
        designs[known.tobytes()] = Design({effect: numbers[known] for effect, numbers in results.levels.items()})
    parts = designs[known.tobytes()].estimate(values[known])
    row |= {"mean": round_score(float(np.nanmean(pictures))), "num_images": int(np.isfinite(pictures).sum())}
    groupings = {"run": results.levels["seed"], "seed": results.seeds, "fold": results.levels[FOLD]}
    for spread, groups in groupings.items():
        means = [float(values[known & (groups == group)].mean()) for group in np.unique(groups[known])]
        row |= {f"{spread}_min": round_score(min(means)), f"{spread}_max": round_score(max(means))}
    for part, variance in parts.variances.items():
        row[f"sd_{part}"] = _take_root(variance)
    return row | {"sd_one_run": _take_root(parts.one_run), "set_to_zero": " ".join(parts.negative)}


def average_pictures(values: np.ndarray, pictures: np.ndarray) -> np.ndarray:
    """The mean of each picture's scores over the seeds that have one, in the order of the pictures' numbers; NaN without any."""
    known = np.isfinite(values)
    num = int(pictures.max()) + 1
    return divide(np.bincount(pictures[known], values[known], num), np.bincount(pictures[known], minlength=num))


def _take_root(variance: float | None) -> float | None:
    return None if variance is None else round_score(math.sqrt(variance))


def find_rows(rows: Sequence[Row]) -> Mapping[str, Row]:
    """The rows of the scores that are shown to people, in their order."""
    by_name = {row["score"]: row for row in rows}
    return {column: by_name[column] for column in SHOWN if column in by_name}
