"""Splits a source into training, validation and test parts that share no background or cut-out, nor a copy or flip of one."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeVar

import cv2
import numpy as np

from depthmask.base.errors import UserError
from depthmask.base.files import write_csv
from depthmask.keyed_random import SPLIT, make_generator
from depthmask.loading.split_files import COLUMNS, PARTS
from depthmask.params import SplitParams
from depthmask.params.patterns import limit_matching
from depthmask.sources.assets import AssetsSource

THUMBNAIL_PX = 12
ROUNDING_LEVELS = 0.1  # far above that of a mean in float32
SAME_LEVELS = 2.0  # mean difference of two thumbnails, of 255, below which two images count as copies

Key = TypeVar("Key", str, int)


def write_parts(folder: Path, rows: dict[str, list[dict]]) -> None:
    """Write one CSV file per part, with its rows of COLUMNS."""
    for part in PARTS:
        write_csv(folder / f"{part}.csv", COLUMNS, rows[part])


class Pictures(NamedTuple):
    """Pictures by which copies are found; read: the picture of a key, uint8 H x W x C."""

    keys: Sequence[str]
    read: Callable[[str], np.ndarray]


@dataclass(frozen=True)
class Role:
    """Items of a source that are split by groups.

    what: background or cutout. pattern: names with the same match stay together, as do items with copies among their pictures.
    kinds: of keys, if the source knows them. shown: the word for `what` in messages, if it is another.
    """

    what: str
    keys: Sequence[str]
    pattern: str | None
    pictures: Sequence[Pictures] = ()
    kinds: Mapping[str, str] | None = None
    shown: str | None = None

    def group(self) -> dict[str, list[str]]:
        """{group: keys}; a group is named after its first key."""
        copies = [pair for keys, read in self.pictures for pair in find_copies(keys, read)]
        return group_keys(self.keys, self.pattern, copies)


class Assigned(NamedTuple):
    """groups: {group: its keys}. parts: {part: its groups}."""

    groups: dict[str, list[str]]
    parts: dict[str, list[str]]


Assign = Callable[[Role, SplitParams], Assigned]
ChooseParts = Callable[..., dict[str, list[str]]]  # arguments and result as those of `assign_groups`


def list_roles(source: AssetsSource, params: SplitParams) -> list[Role]:
    """Backgrounds and cut-outs, which are split separately."""

    def read_background(key: str) -> np.ndarray:
        return source.read_background(key).image

    def read_cutout(key: str) -> np.ndarray:
        return source.read_cutout(key).rgba

    return [
        Role(
            *("background", source.backgrounds, params.background_group),
            [Pictures(source.backgrounds, read_background)],
            source.background_kinds,
        ),
        Role("cutout", source.cutouts, params.cutout_group, [Pictures(source.cutouts, read_cutout)], source.cutout_kinds),
    ]


def assign_alone(role: Role, params: SplitParams, seed: int, choose_parts: ChooseParts | None = None) -> Assigned:
    """Assign the groups of a source that is not mixed with others. choose_parts: instead of `assign_groups`, of a fold."""
    groups = role.group()
    return Assigned(groups, (choose_parts or assign_groups)(groups, params, seed, role.what, role.kinds, shown=role.shown))


def split_source(source: AssetsSource, params: SplitParams, seed: int, assign: Assign | None = None) -> dict[str, list[dict]]:
    """Rows of COLUMNS for each part.

    Backgrounds and cut-outs are split separately, by groups: names with the same match of the group pattern, and images
    that are copies or flips of each other, stay together. Pre-composited samples are split by `split_packed`.
    assign: of a source among several, from `split.mixture`.
    """
    assign = assign or partial(assign_alone, seed=seed)
    rows: dict[str, list[dict]] = {part: [] for part in PARTS}
    for role in list_roles(source, params):
        groups, parts = assign(role, params)
        for part, names in parts.items():
            rows[part] += [{"role": role.what, "key": key, "group": group} for group in names for key in groups[group]]
    return {part: sorted(listed, key=lambda row: (row["role"], row["key"])) for part, listed in rows.items()}


def group_keys(keys: Sequence[str], pattern: str | None, copies: Iterable[tuple[str, str]] = ()) -> dict[str, list[str]]:
    """Group keys that must stay together, by name and as pairs of copies; a group is named after its first key."""
    parent = {key: key for key in keys}

    def find(key: str) -> str:
        while parent[key] != key:
            key = parent[key]
        return key

    def join(one: str, other: str) -> None:
        first, second = sorted((find(one), find(other)))
        parent[second] = first

    if pattern is not None:
        by_match = defaultdict(list)
        with limit_matching(pattern):
            for key in keys:
                match = re.search(pattern, key)
                by_match[(match.groups() or match[0]) if match else ("no match", key)].append(key)
        for same in by_match.values():
            for key in same[1:]:
                join(same[0], key)
    for one, other in copies:
        join(one, other)
    groups = defaultdict(list)
    for key in keys:
        groups[find(key)].append(key)
    return dict(groups)


def find_copies(keys: Sequence[Key], read: Callable[[Key], np.ndarray]) -> list[tuple[Key, Key]]:
    """Pairs of images that are the same, or horizontal flips of each other, up to size and compression."""
    return match_thumbnails(keys, [shrink_picture(read(key)) for key in keys])


def match_thumbnails(keys: Sequence[Key], shrunk: Sequence[np.ndarray]) -> list[tuple[Key, Key]]:
    """The pairs of `find_copies`; shrunk: of each key, from `shrink_picture`."""
    if len(keys) < 2:
        return []
    thumbnails = np.stack(shrunk)  # N x P x P x C
    flat, flipped = (t.reshape(len(keys), -1) for t in (thumbnails, thumbnails[:, :, ::-1]))
    means = flat.mean(axis=1)  # a flip's too; they differ by no more than the images do on average, so most pairs need no look
    pairs = []
    for i, key in enumerate(keys[:-1]):
        near = i + 1 + np.flatnonzero(np.abs(means[i + 1 :] - means[i]) < SAME_LEVELS + ROUNDING_LEVELS)
        same = np.abs(flat[near] - flat[i]).mean(axis=1) < SAME_LEVELS
        mirrored = np.abs(flat[near] - flipped[i]).mean(axis=1) < SAME_LEVELS
        pairs += [(key, keys[int(j)]) for j in near[same | mirrored]]
    return pairs


def shrink_picture(image: np.ndarray) -> np.ndarray:
    """A float32 thumbnail P x P x C; colours under zero alpha do not count."""
    image = image.astype(np.float32)
    if image.shape[2] == 4:
        image[..., :3] *= image[..., 3:] / 255
    return cv2.resize(image, (THUMBNAIL_PX, THUMBNAIL_PX), interpolation=cv2.INTER_AREA)


def assign_groups(
    groups: dict[str, list[str]],
    params: SplitParams,
    seed: int,
    what: str,
    kinds: Mapping[str, str] | None = None,
    *,
    shown: str | None = None,
    stream: int = 0,
    fixed: Mapping[str, Sequence[str]] | None = None,
) -> dict[str, list[str]]:
    """Assign groups to parts, as close to the wanted shares of keys as whole groups allow.

    kinds: of keys, if the source knows them; each part then gets its share of each kind. shown: the word for `what` in messages.
    stream: of random numbers, one for each of several sources. fixed: the groups whose part is known; they count towards its
    share.

    Raises:
        UserError: a part would be empty.
    """
    parts: dict[str, list[str]] = {part: list((fixed or {}).get(part, ())) for part in PARTS}
    known = {name for listed in parts.values() for name in listed}
    filled = {part: sum(len(groups[name]) for name in listed) for part, listed in parts.items()}
    order = order_groups(groups, known, seed, what, kinds, stream)
    used, taken = take_fraction(order, groups, params.fraction, sum(filled.values()))
    wanted = {"test": params.test * taken, "validation": params.validation * taken}
    for part, number in wanted.items():
        parts[part] += take_share(used, groups, filled[part], number)
    parts["train"] += used
    shown = shown or what
    elsewhere = f", {len(known)} groups with copies in another source, which decides their part" if known else ""
    for part, listed in parts.items():
        if not listed:
            raise UserError(
                f"split: {len(groups)} independent {shown} groups ({taken} {shown}s used{elsewhere}) leave none for {part};"
                f" add {shown}s, or"
                f" change split.fraction, split.validation, split.test or split.{what}_group"
            )
    return parts


def order_groups(
    groups: Mapping[str, Sequence[str]],
    known: Collection[str],
    seed: int,
    what: str,
    kinds: Mapping[str, str] | None = None,
    stream: int = 0,
) -> list[str]:
    """The groups that are not among the known ones in random order, in which any stretch contains each kind in proportion."""
    names = sorted(groups.keys() - set(known))
    index = ("background", "cutout").index(what)
    shuffled = [names[i] for i in make_generator(seed, SPLIT, index=index, stream=stream).permutation(len(names))]
    return _interleave(shuffled, {name: (kinds or {}).get(groups[name][0]) for name in names})


def take_fraction(
    order: Sequence[str], groups: Mapping[str, Sequence[str]], fraction: float, taken: int
) -> tuple[list[str], int]:
    """The first groups in this order that hold a fraction of all keys, and how many keys are used; taken: keys used already."""
    num_used = max(1, round(fraction * sum(map(len, groups.values()))))
    used = []
    for name in order:
        if taken < num_used:
            used.append(name)
            taken += len(groups[name])
    return used, taken


def take_share(order: list[str], groups: Mapping[str, Sequence[str]], filled: int, wanted: float) -> list[str]:
    """Take groups off the front until a part with `filled` keys has as close to the wanted number as whole groups allow.

    An empty part gets at least one group, if there is any.
    """
    share = []
    while order and (filled == 0 or filled + len(groups[order[0]]) / 2 <= wanted):
        filled += len(groups[order[0]])
        share.append(order.pop(0))
    return share


def _interleave(names: Sequence[str], kinds: dict[str, str | None]) -> list[str]:
    """Reorder so that any stretch contains each kind in proportion: sort by relative position within the kind."""
    of_kind = Counter(kinds.values())
    seen: Counter = Counter()
    places = []
    for name in names:
        places.append((seen[kinds[name]] + 0.5) / of_kind[kinds[name]])
        seen[kinds[name]] += 1
    return [name for _, name in sorted(zip(places, names, strict=True), key=lambda pair: pair[0])]
