"""Which test images depend on each other: those of one background, and those of one cut-out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from depthmask.scores import GROUP, SOURCE

ROLES = ("background", "cutout")


@dataclass(frozen=True)
class Clusters:
    """N images, each in one cluster of every way. ways: by name (background, cutout), int N of 0.. the number of its clusters.

    num: how many clusters there are by role, also of a role that is no way.
    """

    num_images: int
    ways: dict[str, np.ndarray]
    num: dict[str, int]


def find_clusters(rows: Sequence[Mapping[str, Any]]) -> Clusters:
    """The clusters of test images, from their rows of per_image.csv: backgrounds and cut-outs, or the groups that were split.

    A role is no way if all images share its cluster, since one says nothing of others, or if the other role's clusters
    contain its own: resampling those resamples these too. An unknown cut-out is a cluster of its own.
    """
    numbers = {role: _number([_name(row, role, place) for place, row in enumerate(rows)]) for role in ROLES}
    num = {role: int(ids.max()) + 1 if len(ids) else 0 for role, ids in numbers.items()}
    ways = {role: ids for role, ids in numbers.items() if num[role] > 1}
    if len(ways) == 2 and _is_within(ways["cutout"], ways["background"]):
        del ways["cutout"]
    elif len(ways) == 2 and _is_within(ways["background"], ways["cutout"]):
        del ways["background"]
    return Clusters(len(rows), ways, num)


def _name(row: Mapping[str, Any], role: str, place: int) -> tuple:
    name = row.get(f"{role}{GROUP}") or row.get(role) or ("unknown", place)
    return row.get(SOURCE) or "", name


def _number(names: Sequence[tuple]) -> np.ndarray:
    numbers = {name: number for number, name in enumerate(dict.fromkeys(names))}
    return np.array([numbers[name] for name in names], dtype=np.int64)


def _is_within(fine: np.ndarray, coarse: np.ndarray) -> bool:
    """Whether each cluster of `fine` lies in one of `coarse`."""
    return len(np.unique(np.stack([fine, coarse]), axis=1)[0]) == len(np.unique(fine))
