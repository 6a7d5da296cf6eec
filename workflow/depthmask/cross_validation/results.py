"""Reads the scores of all runs; a missing file, or one that does not fit the others, is one line that names it.

N rows: every image of every run.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from depthmask.base.errors import UserError
from depthmask.base.files import read_stage_csv, read_stage_json
from depthmask.cross_validation.scored_part import KINDS, read_scored_part
from depthmask.cross_validation.training import name_run
from depthmask.cross_validation.variance import BACKGROUND, CUTOUT, FOLD, PICTURE, SEED
from depthmask.intervals.clusters import Clusters, find_clusters
from depthmask.scores import NOT_SCORED
from depthmask.scores.labels import describe_column

Values = dict[str, Any]


@dataclass(frozen=True)
class Run:
    """One training run. scores: the content of its metrics."""

    fold: int
    seed: int
    scores: Values


@dataclass(frozen=True)
class Results:
    """runs: by fold, then seed. seeds: of each row. levels: by effect (of variance.EFFECTS, if known) the level of each row.

    clusters: of the pictures of all folds, which are numbered in the order of their first rows. columns: of each score in
    per-image rows N values, NaN where undefined. not_scored: why a column has no mean. baselines: of each fold, by name.
    num_images: of each fold. tested, scored: how many backgrounds and cut-outs are in the test parts, and in scored images.
    """

    runs: list[Run]
    clusters: Clusters
    seeds: np.ndarray
    levels: dict[str, np.ndarray]
    columns: dict[str, np.ndarray]
    not_scored: dict[str, str]
    baselines: list[Values]
    num_images: list[int]
    source: Values
    tested: dict[str, int]
    scored: dict[str, int]


def read_results(reports: Path, splits: Path, folds: Sequence[int], seeds: Sequence[int]) -> Results:
    """Read the results of these folds and seeds; other files in the folders are ignored.

    Raises:
        UserError: a file is missing, cannot be read, or is of other images than the others of its fold.
    """
    runs: list[Run] = []
    rows: list[dict[str, str]] = []
    pictures: list[dict[str, str]] = []  # the rows of each fold's first seed
    places: list[tuple[int, int]] = []  # of each row: fold, and number of the run
    for fold in folds:
        first: list[dict[str, str]] | None = None
        for seed in seeds:
            path = reports / "score" / f"{name_run(fold, seed)}.csv"
            listed = _read_rows(path)
            if first is not None and list(map(_identify, listed)) != list(map(_identify, first)):
                raise UserError(f"{path}: is of other images than the other seeds of its fold; run its stage score again")
            pictures += listed if first is None else []
            first = first or listed
            places += [(fold, len(runs))] * len(listed)
            rows += listed
            runs.append(Run(fold, seed, read_stage_json(path.with_suffix(".json"))))
    beside = [read_stage_json(reports / "baselines" / f"fold{fold}.json") for fold in folds]
    names = [column for column in rows[0] if describe_column(column) is not None]
    fold_of_row, run_of_row = np.array(places).T
    parts = [read_scored_part(splits / f"fold{fold}") for fold in folds]
    return Results(
        runs=runs,
        clusters=find_clusters(pictures),
        seeds=np.array([runs[number].seed for number in run_of_row]),
        levels=_number_levels(rows, fold_of_row, run_of_row),
        columns={name: np.array([float(row[name] or math.nan) for row in rows]) for name in names},
        not_scored=_join_reasons(runs),
        baselines=[one["test"] for one in beside],
        num_images=[one["num_images"] for one in beside],
        source=beside[0]["source"],
        tested={kind: sum(len(part.names[kind]) for part in parts) for kind in KINDS},
        scored={kind: len({row[kind] for row in rows} - {""}) for kind in KINDS},
    )


def _read_rows(path: Path) -> list[dict[str, str]]:
    rows = read_stage_csv(path)
    if not rows or "background_group" not in rows[0]:
        raise UserError(f"{path}: has no rows of per-image scores; run the stage that makes it again")
    return rows


def _identify(row: dict[str, str]) -> tuple[str, ...]:
    return row["key"], row["background"], row["cutout"]


def _number_levels(rows: Sequence[dict[str, str]], folds: np.ndarray, runs: np.ndarray) -> dict[str, np.ndarray]:
    """The level of each effect of each row; of cut-outs only if they are known. An image is known by its fold and key."""
    named = {
        PICTURE: [(int(fold), *_identify(row)) for fold, row in zip(folds, rows, strict=True)],
        BACKGROUND: [row["background_group"] for row in rows],
        CUTOUT: [row["cutout_group"] for row in rows],
    }
    if not all(named[CUTOUT]):
        del named[CUTOUT]
    levels = {FOLD: folds, SEED: runs}
    for effect, names in named.items():
        numbers = {name: number for number, name in enumerate(dict.fromkeys(names))}
        levels[effect] = np.array([numbers[name] for name in names])
    return levels


def _join_reasons(runs: Sequence[Run]) -> dict[str, str]:
    """Why a score cannot be given, by column: if it cannot for one run, the runs cannot be compared by it."""
    reasons: dict[str, str] = {}
    for run in runs:
        for key, reason in run.scores["test"].get(NOT_SCORED, {}).items():
            reasons.setdefault(key.replace(".", "_", 1), reason)
    return reasons
