"""Compares the pictures of another data set with each other, for its groups, and with those that the model was trained on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from depthmask.base.files import iterate_csv
from depthmask.compose.fitting import fit_picture
from depthmask.params import SplitParams
from depthmask.params.other_sets import OtherSetParams
from depthmask.sources import Source, open_source
from depthmask.sources.folders import Data, MixedFolders
from depthmask.sources.packed import PackedSource
from depthmask.split.assets import Role, group_keys, list_roles, match_thumbnails, shrink_picture
from depthmask.split.packed import list_packed_roles, name_cutouts

COMPARED_PX = 64  # side to which pictures of different sources are brought before they are compared
COMPARED_MAX = 20_000  # pictures; beyond, comparing each with each takes minutes
TRAINED_ON = ("train", "validation")
ROLES = ("background", "cutout")

Groups = dict[tuple[str | None, str, str], str]  # by source (None: the only one), role and key, as in the split's files


class Matches(NamedTuple):
    """groups: the group of each background and cut-out of the set. shared: by role, those of its keys that training has seen.

    is_compared: whether pictures were compared; they are not where there are more than COMPARED_MAX.
    """

    groups: Groups
    shared: dict[str, list[str]]
    is_compared: bool


def match_pictures(source: Source, declared: OtherSetParams, data: Data, split: Path, params: SplitParams, fit: str) -> Matches:
    """Group the items of a set, and find copies and flips among them of pictures that training or validation has.

    data, split: what the model was trained on. params: of the split; its patterns are not for this set. fit: how photos are made
    square before they are compared.
    """
    patterns = {f"{role}_group": getattr(declared, f"{role}_group") for role in ROLES}
    own = _list_roles(source, params.model_copy(update=patterns))
    trained = list(_list_trained(data, split, params))
    is_compared = (
        sum(len(keys) for role in own for keys, _ in role.pictures) + sum(len(keys) for *_, keys in trained) <= COMPARED_MAX
    )
    groups, shared = {}, {}
    for role in own:
        pairs: list[tuple[str, str]] = []
        if is_compared:
            seen = [(one, keys) for what, one, keys in trained if what == role.what]
            pairs, shared[role.what] = _compare(role, seen, fit)
        for group, keys in group_keys(role.keys, role.pattern, pairs).items():
            groups |= {(None, role.what, key): group for key in keys}
    return Matches(groups, {what: keys for what, keys in shared.items() if keys}, is_compared)


def _list_roles(source: Source, params: SplitParams) -> list[Role]:
    if isinstance(source, PackedSource):
        return list_packed_roles(source, name_cutouts(source.read_index(), params.cutout_group), params)
    return list_roles(source, params)


def _list_trained(data: Data, split: Path, params: SplitParams) -> Iterator[tuple[str, Role, set[str]]]:
    """(background or cutout, the items of a source, those that are in the training or the validation part)."""
    plain = params.model_copy(update={"background_group": None, "cutout_group": None})  # only pictures count here
    folders = {split / name: path for name, path in data.folders.items()} if isinstance(data, MixedFolders) else {split: data}
    for lists, folder in folders.items():
        used = _read_used(lists)
        for role in _list_roles(open_source(folder), plain):
            yield role.what, role, used[role.what]


def _read_used(folder: Path) -> Mapping[str, set[str]]:
    """The backgrounds and cut-outs of the parts that the model has seen."""
    used: dict[str, set[str]] = {role: set() for role in ROLES}
    for part in TRAINED_ON:
        for row in iterate_csv(folder / f"{part}.csv"):
            if row["role"] in ROLES:
                used[row["role"]].add(row["key"])
            else:
                used["background"].add(row["background"])
    return used


def _compare(role: Role, trained: list[tuple[Role, set[str]]], fit: str) -> tuple[list[tuple[str, str]], list[str]]:
    """Pairs of copies within a set's items of a role, and those of its items of which there is a copy among the trained ones."""
    names = [(True, key) for keys, _ in role.pictures for key in keys]
    shrunk = [_shrink(read(key), role.what, fit) for keys, read in role.pictures for key in keys]
    for one, used in trained:
        for keys, read in one.pictures:
            kept = [key for key in keys if key in used]
            names += [(False, key) for key in kept]
            shrunk += [_shrink(read(key), role.what, fit) for key in kept]
    within, shared = [], set()
    for one, other in match_thumbnails(range(len(names)), shrunk):
        (is_own, key), (is_own_too, other_key) = names[one], names[other]
        if is_own and is_own_too:
            within.append((key, other_key))
        elif is_own:  # the set's own come first
            shared.add(key)
    return within, sorted(shared)


def _shrink(picture: np.ndarray, what: str, fit: str) -> np.ndarray:
    """Packed backgrounds are square already; cut-outs are compared whole."""
    return shrink_picture(fit_picture(picture, COMPARED_PX, fit) if what == "background" else picture)
