"""What another data set is, for the record of its evaluation, and what is worth a line about it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from depthmask.base.terminal import count
from depthmask.evaluation.origin import describe_source
from depthmask.other_sets.comparing import Comparison
from depthmask.other_sets.matching import COMPARED_MAX, Matches
from depthmask.params.other_sets import name_other_set

WORDS = {"background": "background", "cutout": "cut-out"}
MANY = 0.01  # of a set's known depths: worth a line


def describe_set(name: str, record: Mapping[str, Any], comparison: Comparison) -> dict[str, Any]:
    """What `describe_source` gives, and the unit and maximum in which scores are; record: of the download."""
    return {
        "name": name,
        **describe_source(record),
        "depth_unit": comparison.scale.unit,
        "depth_max": comparison.scale.max,
        "skipped": record["skipped"],
        "warnings": record["warnings"],
    }


def warn_of_matches(name: str, matches: Matches) -> Iterator[str]:
    """A line if the set is not one that the model has never seen, or nobody looked."""
    if not matches.is_compared:
        yield (
            f"{name}: not compared with the training data, because there are more than {COMPARED_MAX:,} pictures; make sure that"
            " they share none"
        )
    for role, keys in matches.shared.items():
        yield (
            f"{name}: {count(len(keys), WORDS[role])} of it, such as {keys[0]}, {'is' if len(keys) == 1 else 'are'} in the"
            " training data too, as copies or flips, so its scores are too good; remove them from it"
        )


def explain_range(name: str, fractions: Mapping[str, float], comparison: Comparison, set_max: float) -> Iterator[str]:
    """Lines about depths that are left out or that the model cannot predict, if they are many."""
    left_out, beyond = fractions["depth_left_out_fraction"], fractions["depth_beyond_model_fraction"]
    if left_out >= MANY:
        yield (
            f"{name}: {left_out:.0%} of its known depths are at {name_other_set(name)}.depth.max: {set_max:g} or beyond; they are"
            " left out of the scores"
        )
    if beyond >= MANY:
        yield (
            f"{name}: {beyond:.0%} of its known depths are beyond the model's maximum of {comparison.scale.max:g} m; it cannot"
            " predict them, so they count in full as errors"
        )
