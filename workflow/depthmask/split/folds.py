"""The folds of a cross-validation: every group of backgrounds, and of cut-outs, is in the test part of exactly one.

A fold's split is a function of (seed, number of folds, fold). Its test part is the fold's own groups. Its validation part comes
from the others, beginning with those of the next fold, so that it differs from fold to fold; all the rest is trained on.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from depthmask.base.errors import UserError
from depthmask.keyed_random import SPLIT, make_generator
from depthmask.loading.split_files import PARTS
from depthmask.params import SplitParams
from depthmask.split.assets import order_groups, take_fraction, take_share
from depthmask.split.packed import PackedSplit

SPREAD = 3  # the index of the random numbers that order a fold's packed test rows, beside those of split/packed.py


@dataclass(frozen=True)
class Fold:
    """One of `count` folds, counted from 1.

    places: {background or cutout: {group: its fold}} of the sources that were split so far; groups that several sources have a
    part of are in the same fold of each.
    """

    number: int
    count: int
    places: dict[str, dict[str, int]] = field(default_factory=lambda: defaultdict(dict))

    def choose_parts(
        self,
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
        """The parts of this fold's split; arguments as those of `assign_groups`. `params.test` has no effect.

        Raises:
            UserError: there are too few groups for the folds.
        """
        parts: dict[str, list[str]] = {part: list((fixed or {}).get(part, ())) for part in PARTS}
        decided = {name for listed in parts.values() for name in listed}
        order = order_groups(groups, decided, seed, what, kinds, stream)
        used, taken = take_fraction(order, groups, params.fraction, sum(len(groups[name]) for name in decided))
        known = {name: self.places[what][name] for name in sorted(decided)}
        of_kind = {name: (kinds or {}).get(keys[0]) for name, keys in groups.items()}
        sizes = {name: len(keys) for name, keys in groups.items()}
        place = divide_groups(used, sizes, of_kind, self.count, known)
        self.places[what].update(place)
        parts["test"] += [name for name in used if place[name] == self.number]
        others = [name for name in used if place[name] != self.number]
        others.sort(key=lambda name: (place[name] - self.number) % self.count)  # stable: by fold, then as ordered
        filled = sum(sizes[name] for name in parts["validation"])
        parts["validation"] += take_share(others, groups, filled, params.validation * taken)
        parts["train"] += others
        for part, listed in parts.items():
            if not listed or len(set(place.values())) < self.count:
                what_shown = shown or what
                raise UserError(
                    f"split: {len(place)} independent {what_shown} groups ({taken} {what_shown}s used) are too few for"
                    f" {self.count} folds, each with something left for {part if not listed else 'test'}; lower the number of"
                    f" folds, add {what_shown}s, or change split.fraction, split.validation or split.{what}_group"
                )
        return parts


def divide_groups(
    order: Sequence[str],
    sizes: Mapping[str, int],
    kinds: Mapping[str, str | None],
    num_folds: int,
    known: Mapping[str, int] | None = None,
) -> dict[str, int]:
    """{group: its fold, from 1}: each fold gets about the same number of keys, and of each kind.

    order: of the groups to divide. The largest come first, and each goes to the fold that has the fewest keys of its kind, then
    the fewest of all. sizes: keys of each group. known: groups whose fold is decided; they count, and are in the result.
    """
    place = dict(known or {})
    filled: Counter = Counter()
    of_kind: Counter = Counter()

    def put(name: str, fold: int) -> None:
        place[name] = fold
        filled[fold] += sizes[name]
        of_kind[fold, kinds[name]] += sizes[name]

    for name, fold in place.items():
        put(name, fold)
    for name in sorted(order, key=lambda name: -sizes[name]):
        put(name, min(range(1, num_folds + 1), key=lambda fold: (of_kind[fold, kinds[name]], filled[fold], fold)))
    return place


def spread_test(split: PackedSplit, seed: int, stream: int = 0) -> PackedSplit:
    """The same split with the test rows in another order, in which the first few are of all backgrounds.

    A test set that is not scored whole takes the first rows; in the order of the source these may be of one background.
    """
    rows = split.rows["test"]
    shuffled = rows[make_generator(seed, SPLIT, index=SPREAD, stream=stream).permutation(len(rows))]
    backgrounds = split.index.backgrounds[shuffled]
    by_background = np.argsort(backgrounds, kind="stable")
    starts = np.searchsorted(backgrounds[by_background], backgrounds[by_background])
    turns = np.empty(len(rows), np.int64)  # how many of the same background come before
    turns[by_background] = np.arange(len(rows)) - starts
    return replace(split, rows=split.rows | {"test": shuffled[np.argsort(turns, kind="stable")]})
