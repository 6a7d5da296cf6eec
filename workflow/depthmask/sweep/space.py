"""The space of a sweep: from points of a unit cube, or of a grid, to values of keys.

A trial's values are {key: value}, the keys as in `space`; `spread_values` adds those that `also` names.
"""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from depthmask.keyed_random import SWEEP, draw_seed, make_generator
from depthmask.sweep.params import TRIALS_MAX, DimensionParams, SweepParams

DIGITS = 4  # significant ones of a value from a range: more would only be harder to read

Space = Mapping[str, DimensionParams]
Values = dict[str, Any]


def count_trials(params: SweepParams) -> int:
    """How many trials the sweep has; a grid, all of its combinations."""
    if params.trials is not None:
        return params.trials
    return math.prod(len(list_values(dimension)) for dimension in params.space.values())


def list_rounds(params: SweepParams) -> list[range]:
    """The numbers of the trials of each round. All are one round where no trial depends on another's result."""
    number = count_trials(params)
    if params.method != "tpe" and params.prune is None:
        return [range(number)]
    return [range(first, min(first + params.round_size, number)) for first in range(0, number, params.round_size)]


def list_values(dimension: DimensionParams) -> list[Any]:
    """The values that a grid takes of a dimension, each once."""
    if dimension.values is not None:
        return dimension.values
    values = [place_in_range(dimension, place) for place in np.linspace(0, 1, dimension.points)]
    return list(dict.fromkeys(values))


def draw_values(params: SweepParams, number: int) -> Values:
    """The values of a trial that depends on no result: a function of method, space, seed and the trial's number alone.

    More trials leave the first ones as they are.
    """
    if params.method == "grid":
        lists = [list_values(dimension) for dimension in params.space.values()]
        return dict(zip(params.space, next(itertools.islice(itertools.product(*lists), number, None)), strict=True))
    return place_in_space(params.space, _draw_point(params, number))


def _draw_point(params: SweepParams, number: int) -> Sequence[float]:
    """A point of the unit cube."""
    if params.method == "random":
        return make_generator(params.seed, SWEEP, index=number).random(len(params.space))
    from scipy.stats import qmc  # late: takes a second

    length = 1 << (TRIALS_MAX - 1).bit_length()  # the sequence is balanced for powers of two
    return qmc.Sobol(len(params.space), rng=draw_seed(params.seed, SWEEP)).random(length)[number]


def place_in_space(space: Space, point: Sequence[float]) -> Values:
    """The values at a point of the unit cube, 0..1 (1 excluded), in the order of the space."""
    return {key: _place(dimension, float(place)) for (key, dimension), place in zip(space.items(), point, strict=True)}


def _place(dimension: DimensionParams, place: float) -> Any:
    if dimension.values is not None:
        return dimension.values[min(int(place * len(dimension.values)), len(dimension.values) - 1)]
    if not dimension.integer:
        return place_in_range(dimension, place)
    # every whole number has the same share of a linear range, the highest too
    low, high = int(dimension.low), int(dimension.high)
    if dimension.log:
        return min(high, int(math.exp(math.log(low) + place * (math.log(high + 1) - math.log(low)))))
    return min(high, low + int(place * (high - low + 1)))


def place_in_range(dimension: DimensionParams, place: float) -> float | int:
    """The number at a place, 0..1, of a range; rounded, and never outside the range."""
    low, high = dimension.low, dimension.high
    value = math.exp(math.log(low) + place * (math.log(high) - math.log(low))) if dimension.log else low + place * (high - low)
    return round(value) if dimension.integer else round_in_range(value, low, high)


def round_in_range(value: float, low: float, high: float) -> float:
    """A value with few digits, for people; never outside the range."""
    return float(min(max(float(f"{value:.{DIGITS}g}"), low), high))


def spread_values(space: Space, values: Mapping[str, Any]) -> Values:
    """{dotted key of params.yaml: value}, with the keys that share one."""
    return {key: value for name, value in values.items() for key in (name, *space[name].also)}


def set_values(params: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of nested params with values at dotted keys; a key's parent that is no mapping is left to the schema's check."""
    changed = copy.deepcopy(dict(params))
    for key, value in values.items():
        *path, last = key.split(".")
        place: Any = changed
        for part in path:
            if not isinstance(place.get(part), dict):
                place[part] = {}
            place = place[part]
        place[last] = copy.deepcopy(value)
    return changed


def find_place(value: Any, values: Sequence[Any]) -> int:
    """The place of a value in a list; true is not 1, and 1.0 not 1."""
    return next(place for place, one in enumerate(values) if one == value and type(one) is type(value))


def list_extremes(space: Space) -> Iterator[tuple[str, Values]]:
    """(key, its values) for each value of a list and for both ends of a range: what a check tries one by one."""
    for key, dimension in space.items():
        ends = dimension.values
        if ends is None:
            whole = int if dimension.integer else float
            ends = [whole(dimension.low), whole(dimension.high)]
        for value in ends:
            yield key, {key: value}
