"""Reads the files of a split, written by the split stage: what each part is made of.

Several sources have a folder each, and sources.json says which and how much each weighs; PART.csv beside it is for people.
For backgrounds and cut-outs, PART.csv lists the keys; for packed composites, PART.npy has the rows, and PART.csv is for people.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from depthmask.base.errors import UserError
from depthmask.base.files import iterate_csv, read_csv, read_json
from depthmask.sources.packed import PackedSource

PARTS = ("train", "validation", "test")
Groups = Mapping[tuple[str | None, str, str], str]  # of a source (None: the only one), role and key
COLUMNS = ("role", "key", "group", "background", "cutout")  # of PART.csv
MIXTURE = "sources.json"  # {"weights": {source: its weight}}; only of several sources
STORE_RECORD = "store.json"  # identifies the store that the row numbers refer to


@dataclass(frozen=True)
class Part:
    """The keys of the assets in one part."""

    backgrounds: list[str]
    cutouts: list[str]


def read_weights(split: Path) -> dict[str, float]:
    """The weight of each source by its name, the first first; empty if there is only one."""
    path = split / MIXTURE
    return read_json(path)["weights"] if path.is_file() else {}


def read_part(split: Path, part: str) -> Part:
    """The backgrounds and cut-outs of a part.

    Raises:
        UserError: the split stage has not run.
    """
    path = split / f"{part}.csv"
    if not path.is_file():
        raise UserError(f"{path}: no such file; run the split stage first")
    rows = read_csv(path)
    keys = {role: [row["key"] for row in rows if row["role"] == role] for role in ("background", "cutout")}
    return Part(keys["background"], keys["cutout"])


def read_groups(split: Path, part: str) -> dict[tuple[str | None, str, str], str]:
    """The group of each background and cut-out of a part, as the split stage kept them together; see `Groups`.

    Cut-outs of packed composites are their own groups: their names are what `split.cutout_group` found.
    """
    groups = {}
    for row in iterate_csv(split / f"{part}.csv"):
        source = row.get("source")
        if row["role"] in ("background", "cutout"):
            groups[source, row["role"], row["key"]] = row["group"]
        else:
            groups[source, "background", row["background"]] = row["group"]
    return groups


def read_rows(split: Path, part: str, source: PackedSource) -> np.ndarray:
    """The rows of a part of packed composites, int32, memory-mapped.

    Raises:
        UserError: the split stage has not run, or has split another store.
    """
    path = split / f"{part}.npy"
    if not path.is_file():
        raise UserError(f"{path}: no such file; run the split stage first")
    if read_json(split / STORE_RECORD)["store"] != source.identity:
        raise UserError(f"{split}: split of another store than {source.root}; run the split stage again")
    return np.load(path, mmap_mode="r")


def count_rows(split: Path, part: str) -> int | None:
    """How many packed composites a part has; None if composites are made during training."""
    path = split / f"{part}.npy"
    return len(np.load(path, mmap_mode="r")) if path.is_file() else None
