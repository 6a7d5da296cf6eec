"""Splits packed composites by row number: hundreds of thousands in seconds."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import partial
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
from depthmask.split.assets import Assign, Pictures, Role, assign_alone


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


def list_packed_roles(source: PackedSource, index: CompositeIndex, params: SplitParams) -> list[Role]:
    """Backgrounds, and cut-outs if the composites say which they have; index: from `name_cutouts`."""
    shown, kinds = ("photo", _sort_photos(source, index)) if source.has_photos else (None, None)
    pictures = _list_pictures(source, index)
    roles = [Role("background", index.background_names, params.background_group, pictures, kinds, shown)]
    return roles + ([Role("cutout", index.cutout_names, params.cutout_group)] if index.cutout_names else [])


def split_packed(
    source: PackedSource, params: SplitParams, seed: int, assign: Assign | None = None, stream: int = 0
) -> PackedSplit:
    """A composite belongs to a part if its background and its cut-out both do.

    Composites whose background and cut-out are in different parts are dropped. Backgrounds and cut-outs are split separately,
    by groups, as in `split_source`. Photos are their own backgrounds: each part gets its share of those with a mask, with depth,
    with both and with a clean background. If the layout does not identify the cut-out, the group pattern finds it in the key.
    assign, stream: of a source among several, see `split_source` and `assign_groups`.

    Raises:
        UserError: a part would be empty, or the pattern finds nothing.
    """
    assign = assign or partial(assign_alone, seed=seed)
    index = name_cutouts(source.read_index(), params.cutout_group)
    whole = params.model_copy(update={"fraction": 1.0})  # the fraction is of composites, not of backgrounds and cut-outs
    backgrounds, *cutouts = list_packed_roles(source, index, params)
    role_of_rows = backgrounds.shown or "composite"
    groups, assigned = assign(backgrounds, whole)
    part_of_background = _number_parts(assigned, groups, index.background_names)
    parts = part_of_background[index.backgrounds]
    is_used = np.ones(len(parts), bool)
    for role in cutouts:
        by_cutout, cutouts_assigned = assign(role, whole)
        part_of_cutout = _number_parts(cutouts_assigned, by_cutout, index.cutout_names)
        is_used = (index.cutouts < 0) | (part_of_cutout[index.cutouts] == parts)
    rows = {}
    for number, part in enumerate(PARTS):
        listed = np.flatnonzero(is_used & (parts == number)).astype(np.int32)
        draws = make_generator(seed, SPLIT, index=2, epoch=number, stream=stream).random(len(listed))
        rows[part] = listed[draws < params.fraction]
        if not len(rows[part]):
            raise UserError(
                f"split: no composite has both background and cut-out in {part}; change split.validation or split.test"
            )
    return PackedSplit(rows, index, {name: group for group, names in groups.items() for name in names}, role_of_rows)


def _list_pictures(source: PackedSource, index: CompositeIndex) -> list[Pictures]:
    """By which copies of backgrounds are found: photos themselves, and clean backgrounds."""
    numbers = {name: number for number, name in enumerate(index.background_names)}
    pictures = [Pictures(list(numbers), lambda name: source.read_picture(numbers[name]))] if source.has_photos else []
    if source.has_backgrounds:
        with_clean = set(index.backgrounds[source.choose_rows_with_clean(np.arange(len(index.backgrounds)))].tolist())
        names = [name for name, number in numbers.items() if number in with_clean]
        pictures.append(Pictures(names, lambda name: source.read_clean(numbers[name])))
    return pictures


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


def name_cutouts(index: CompositeIndex, pattern: str | None) -> CompositeIndex:
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
