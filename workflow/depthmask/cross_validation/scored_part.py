"""The test part of a fold: its backgrounds and cut-outs, and how many samples it takes to see each of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from depthmask.base.files import iterate_csv
from depthmask.loading.split_files import read_weights

KINDS = ("background", "cutout")


@dataclass(frozen=True)
class ScoredPart:
    """names: of backgrounds and of cut-outs, as in per-image rows. num_needed: samples to see each once."""

    names: dict[str, frozenset[str]]
    num_needed: int


def read_scored_part(split: Path) -> ScoredPart:
    """Read the test part of a fold's split.

    Test samples are shared out equally among several sources, so the source with the most pictures decides for all.
    """
    sources = list(read_weights(split)) or [""]
    names: dict[str, set[str]] = {kind: set() for kind in KINDS}
    most = 0
    for source in sources:
        found = _read_source(split / source / "test.csv")
        most = max(most, *map(len, found.values()))
        prefix = f"{source}/" if source else ""
        for kind, own in found.items():
            names[kind] |= {f"{prefix}{name}" for name in own}
    return ScoredPart({kind: frozenset(own) for kind, own in names.items()}, most * len(sources))


def _read_source(path: Path) -> dict[str, set[str]]:
    """A row is a background or a cut-out; or a sample of both."""
    names: dict[str, set[str]] = {kind: set() for kind in KINDS}
    for row in iterate_csv(path):
        if row["role"] in KINDS:
            names[row["role"]].add(row["key"])
        else:
            for kind in KINDS:
                names[kind] |= {row[kind]} - {""}
    return names
