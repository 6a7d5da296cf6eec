"""Splits packed composites by row number: hundreds of thousands in seconds."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import repeat
from pathlib import Path

import numpy as np

from depthmask.base.errors import UserError
from depthmask.base.files import replace_file, write_json
from depthmask.keyed_random import SPLIT, make_generator
from depthmask.loading.split_files import COLUMNS, PARTS, STORE_RECORD
from depthmask.params import SplitParams
from depthmask.params.patterns import limit_matching
from depthmask.sources.packed import CompositeIndex, PackedSource
from depthmask.split.assets import assign_groups, find_copies, group_keys


@dataclass(frozen=True)
class PackedSplit:
    """rows: of each part, int32, increasing. index: with cut-outs inferred from names. groups: {background: its group}.

    role: what a row is, composite or photo.
    """

    rows: dict[str, np.ndarray]
    index: CompositeIndex
    groups: dict[str, str]
    role: str = "composite"

    @property
    def knows_cutouts(self) -> bool:
        return bool((self.index.cutouts >= 0).any())


def split_packed(source: PackedSource, params: SplitParams, seed: int) -> PackedSplit:
    """A composite belongs to a part if its background and its cut-out both do.

    Composites whose background and cut-out are in different parts are dropped. Backgrounds and cut-outs are split separately,
    by groups, as in `split_source`. Photos are their own backgrounds: each part gets its share of those with a mask, with depth,
    with both and with a clean background. If the layout does not identify the cut-out, the group pattern finds it in the key.

    Raises:
        UserError: a part would be empty, or the pattern finds nothing.
    """
    index = _name_cutouts(source.read_index(), params.cutout_group)
    whole = params.model_copy(update={"fraction": 1.0})  # the fraction is of composites, not of backgrounds and cut-outs
    groups = group_keys(index.background_names, params.background_group, None, _find_copies(source, index))
    kinds, role = (_sort_photos(source, index), "photo") if source.has_photos else (None, "composite")
    assigned = assign_groups(groups, whole, seed, "background", kinds, role if source.has_photos else None)
    part_of_background = _number_parts(assigned, groups, index.background_names)
    parts = part_of_background[index.backgrounds]
    is_used = np.ones(len(parts), bool)
    if index.cutout_names:
        by_cutout = group_keys(index.cutout_names, params.cutout_group, None)
        part_of_cutout = _number_parts(assign_groups(by_cutout, whole, seed, "cutout"), by_cutout, index.cutout_names)
        is_used = (index.cutouts < 0) | (part_of_cutout[index.cutouts] == parts)
    rows = {}
    for number, part in enumerate(PARTS):
        listed = np.flatnonzero(is_used & (parts == number)).astype(np.int32)
        rows[part] = listed[make_generator(seed, SPLIT, index=2, epoch=number).random(len(listed)) < params.fraction]
        if not len(rows[part]):
            raise UserError(
                f"split: no composite has both background and cut-out in {part}; change split.validation or split.test"
            )
    return PackedSplit(rows, index, {name: group for group, names in groups.items() for name in names}, role)


def _find_copies(source: PackedSource, index: CompositeIndex) -> list[tuple[str, str]]:
    """Pairs of backgrounds that are copies, by their clean backgrounds and, of photos, by the photos themselves."""
    numbers = {name: number for number, name in enumerate(index.background_names)}
    pairs = find_copies(list(numbers), lambda name: source.read_picture(numbers[name])) if source.has_photos else []
    if source.has_backgrounds:
        with_clean = set(index.backgrounds[source.choose_rows_with_clean(np.arange(len(index.backgrounds)))].tolist())
        names = [name for name, number in numbers.items() if number in with_clean]
        pairs = [*pairs, *find_copies(names, lambda name: source.read_clean(numbers[name]))]
    return pairs


def _sort_photos(source: PackedSource, index: CompositeIndex) -> dict[str, str]:
    """What is known of each photo, by its background's name."""
    known = np.zeros((len(index.background_names), 3), bool)
    known[index.backgrounds, :2] = source.known
    if source.has_backgrounds:
        every = np.arange(len(index.backgrounds))
        known[index.backgrounds[source.choose_rows_with_clean(every)], 2] = True
    return {name: str(kinds) for name, kinds in zip(index.background_names, known.tolist(), strict=True)}


def write_packed(folder: Path, split: PackedSplit, store: str) -> None:
    """Write each part as PART.npy, read by training, and as PART.csv, for people; store: identity of the packed source."""
    index = split.index
    names = np.array(index.background_names, object)
    groups = np.array([split.groups[name] for name in index.background_names], object)
    cutouts = np.array([*index.cutout_names, ""], object)  # -1 is the last
    for part, rows in split.rows.items():
        np.save(folder / f"{part}.npy", rows)
        keys = [key.decode() for key in index.keys[rows].tolist()]
        backgrounds = index.backgrounds[rows]
        columns = (groups[backgrounds], names[backgrounds], cutouts[index.cutouts[rows]])
        group, background, cutout = (column.tolist() for column in columns)
        with replace_file(folder / f"{part}.csv") as temporary, temporary.open("w", newline="", encoding="utf-8") as out:
            writer = csv.writer(out, lineterminator="\n")
            writer.writerow(COLUMNS)
            writer.writerows(zip(repeat(split.role), keys, group, background, cutout))
    write_json(folder / STORE_RECORD, {"store": store})


def _number_parts(parts: dict[str, list[str]], groups: dict[str, list[str]], names: Iterable[str]) -> np.ndarray:
    """The index in PARTS of each name's part, int8; -1: none."""
    numbers = {name: PARTS.index(part) for part, listed in parts.items() for group in listed for name in groups[group]}
    return np.array([numbers.get(name, -1) for name in names], np.int8)


def _name_cutouts(index: CompositeIndex, pattern: str | None) -> CompositeIndex:
    """The index unchanged if the layout identifies the cut-outs, else with what the pattern finds in the keys."""
    if pattern is None or index.cutout_names:
        return index
    found = []
    with limit_matching(pattern):
        for key in (encoded.decode() for encoded in index.keys.tolist()):
            match = re.search(pattern, key)
            if match is None:
                raise UserError(
                    f"split.cutout_group: {pattern} finds no cut-out in the name {key}; correct it, or set it to null"
                )
            found.append("_".join(group or "" for group in match.groups()) or match[0])
    names = sorted(set(found))
    places = {name: place for place, name in enumerate(names)}
    return replace(index, cutouts=np.array([places[name] for name in found], np.int32), cutout_names=names)
