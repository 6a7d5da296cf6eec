"""The test part of a fold: the groups that its pictures belong to, and how many samples it takes to see each of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from depthmask.base.files import iterate_csv
from depthmask.loading.split_files import read_weights

KINDS = ("background", "cutout")


@dataclass(frozen=True)
class ScoredPart:
    """groups: {background or cutout: {name: its group}}, with names as in per-image rows. num_needed: to see each name once."""

    groups: dict[str, dict[str, str]]
    num_needed: int


def read_scored_part(split: Path) -> ScoredPart:
    """Read the test part of a fold's split.

    Test samples are shared out equally among several sources, so the source with the most pictures decides for all.
    """
    sources = list(read_weights(split)) or [""]
    groups: dict[str, dict[str, str]] = {kind: {} for kind in KINDS}
    most = 0
    for source in sources:
        found = _read_source(split / source / "test.csv")
        most = max(most, *(len(named) for named in found.values()))
        prefix = f"{source}/" if source else ""
        for kind, named in found.items():
            groups[kind] |= {f"{prefix}{name}": group for name, group in named.items()}
    return ScoredPart(groups, most * len(sources))


def _read_source(path: Path) -> dict[str, dict[str, str]]:
    """A row is a background or a cut-out; or a sample of both, whose group is its background's."""
    groups: dict[str, dict[str, str]] = {kind: {} for kind in KINDS}
    for row in iterate_csv(path):
        if row["role"] in KINDS:
            groups[row["role"]][row["key"]] = row["group"]
            continue
        groups["background"][row["background"]] = row["group"]
        if row["cutout"]:
            groups["cutout"][row["cutout"]] = row["cutout"]
    return groups
