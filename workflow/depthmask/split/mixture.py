"""Splits several sources so that none has in its training part what another has in its test part.

Each source is split by its own groups and gets its own shares. Groups of different sources that hold copies or flips of the same
picture are one group. The sources are split in their order, so that a further source leaves the parts of those before it as
they were, unless it shows that two of their groups belong together.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from depthmask.base.errors import UserError
from depthmask.compose.fitting import fit_picture
from depthmask.params import SplitParams
from depthmask.sources.assets import AssetsSource
from depthmask.sources.packed import PackedSource
from depthmask.split.assets import Assign, Assigned, ChooseParts, Role, assign_groups, find_copies, list_roles
from depthmask.split.packed import list_packed_roles, name_cutouts

COMPARED_PX = 64  # side to which pictures of different sources are brought before they are compared

Item = tuple[str, str]  # (source, key)


@dataclass(frozen=True)
class MixedGroups:
    """The groups of all sources, and the parts that those split so far have given them.

    groups: {what: {source: {group: keys}}}; a group has the same name in every source that has a part of it.
    choose_parts: `assign_groups`, or what assigns a fold's.
    """

    groups: dict[str, dict[str, dict[str, list[str]]]]
    seed: int
    names: list[str]
    choose_parts: ChooseParts = assign_groups
    parts: dict[str, dict[str, str]] = field(default_factory=lambda: defaultdict(dict))

    def assign_for(self, source: str) -> Assign:
        """What assigns the groups of a source; to be called in the order of the sources."""
        return partial(self._assign, source)

    def _assign(self, source: str, role: Role, params: SplitParams) -> Assigned:
        groups, known = self.groups[role.what][source], self.parts[role.what]
        fixed: dict[str, list[str]] = defaultdict(list)
        for group in sorted(groups):
            if group in known:
                fixed[known[group]].append(group)
        stream = self.names.index(source)
        try:
            parts = self.choose_parts(
                groups, params, self.seed, role.what, role.kinds, shown=role.shown, stream=stream, fixed=fixed
            )
        except UserError as error:
            raise UserError(f"{source}: {error}") from error
        known |= {group: part for part, listed in parts.items() for group in listed}
        return Assigned(groups, parts)


def group_sources(
    sources: Mapping[str, AssetsSource | PackedSource],
    params: Mapping[str, SplitParams],
    seed: int,
    fit: str,
    choose_parts: ChooseParts | None = None,
) -> MixedGroups:
    """Find the groups of all sources; params: of each, with its own group patterns. fit: how photos are made square.

    choose_parts: instead of `assign_groups`, of a fold.
    """
    found = {name: _list_roles(source, params[name]) for name, source in sources.items()}
    groups = {}
    for what in ("background", "cutout"):
        roles = {name: role for name, roles in found.items() for role in roles if role.what == what}
        groups[what] = join_groups(roles, fit)
    return MixedGroups(groups, seed, list(sources), choose_parts or assign_groups)


def join_groups(roles: Mapping[str, Role], fit: str) -> dict[str, dict[str, list[str]]]:
    """{source: {group: keys}}: the groups of each source, joined where they hold copies; named after their first item."""
    within = {name: role.group() for name, role in roles.items()}
    pictures = [(name, key, read) for name, role in roles.items() for keys, read in role.pictures for key in keys]
    items = [(name, key) for name, key, _ in pictures]
    owner = {(name, key): (name, group) for name, groups in within.items() for group, keys in groups.items() for key in keys}
    parent = {one: one for one in owner.values()}
    rank = {one: number for number, one in enumerate(parent)}  # by source, then as in it

    def find(one: Item) -> Item:
        while parent[one] != one:
            one = parent[one]
        return one

    def read_square(number: int) -> np.ndarray:
        """Packed backgrounds are square already; cut-outs are compared whole."""
        name, key, read = pictures[number]
        picture = read(key)
        return fit_picture(picture, COMPARED_PX, fit) if roles[name].what == "background" else picture

    for pair in find_copies(range(len(items)), read_square):
        one, other = (items[number] for number in pair)
        if one[0] != other[0]:
            earlier, later = sorted((find(owner[one]), find(owner[other])), key=rank.__getitem__)
            parent[later] = earlier
    joined: dict[str, dict[str, list[str]]] = {name: defaultdict(list) for name in roles}
    for name, groups in within.items():
        for group, keys in groups.items():
            joined[name]["/".join(find((name, group)))] += keys
    return {name: dict(groups) for name, groups in joined.items()}


def _list_roles(source: AssetsSource | PackedSource, params: SplitParams) -> list[Role]:
    if isinstance(source, PackedSource):
        return list_packed_roles(source, name_cutouts(source.read_index(), params.cutout_group), params)
    return list_roles(source, params)
