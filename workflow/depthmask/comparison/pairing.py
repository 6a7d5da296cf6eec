"""Pairs the test images of two evaluations, or says how the two test sets differ."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from depthmask.base.errors import UserError
from depthmask.comparison.results import Results, Row, show_value
from depthmask.scores import SOURCE
from depthmask.scores.labels import describe_scene

NOT_SET = "not set"  # in place of the value of a key that one side lacks
# what an image shows, as far as it is the same whatever model is scored
SHOWN = ("mask_fraction", "valid_fraction", "foreground_depth", "scene_near", "scene_far", "foreground_x", "foreground_y")
ROUNDING = 1e-4  # relative: of values with six digits, and of other machines' arithmetic
DECISIVE = ("seed", "split.", "download.", "compose.", "pack.", "evaluate.image_size_px", "evaluate.num_samples")


def pair_images(a: Results, b: Results) -> list[tuple[Row, Row]]:
    """The rows of each test image in both, in the order of the second.

    Raises:
        UserError: the test sets differ; says how, and which params decide it.
    """
    of_a, of_b = ({_identify(row): row for row in one.rows} for one in (a, b))
    difference = _describe_difference(of_a, of_b)
    if difference is not None:
        raise UserError(
            f"{a.title} and {b.title} were scored on different test images: {difference}{_name_params(a, b)}; compare"
            " evaluations of one test set"
        )
    return [(of_a[identity], row) for identity, row in of_b.items()]


def list_changed_params(a: Results, b: Results) -> list[tuple[str, Any, Any]]:
    """(key, value in a, value in b) of the params that differ, sorted; NOT_SET for a key that one lacks."""
    if a.params is None or b.params is None:
        return []
    keys = sorted(a.params.keys() | b.params.keys())
    both = ((key, a.params.get(key, NOT_SET), b.params.get(key, NOT_SET)) for key in keys)
    return [(key, old, new) for key, old, new in both if old != new]


def _identify(row: Row) -> tuple[str, str]:
    return row.get(SOURCE) or "", row["key"]


def _describe_difference(of_a: Mapping[tuple, Row], of_b: Mapping[tuple, Row]) -> str | None:
    alone = of_a.keys() ^ of_b.keys()
    if alone:
        first = min(alone)[1]
        return f"{len(of_a)} and {len(of_b)}, of which {len(alone)} are in one of them alone, such as {first}"
    for columns, what in ((("background", "cutout"), "show another background or cut-out"), (SHOWN, "show them differently")):
        other = [identity for identity in of_b if not all(_agree(of_a[identity], of_b[identity], column) for column in columns)]
        if other:
            example = " and ".join(dict.fromkeys(describe_scene(rows[other[0]]) for rows in (of_a, of_b)))
            return f"{len(other)} of {len(of_b)} {what}, such as {other[0][1]} ({example})"
    return None


def _agree(row: Row, other: Row, column: str) -> bool:
    """Whether two rows say the same in a column; what one of them does not have is no difference."""
    one, two = row.get(column), other.get(column)
    if one is None or two is None or one == two:
        return True
    try:
        return math.isclose(float(one), float(two), rel_tol=ROUNDING, abs_tol=ROUNDING)
    except ValueError:
        return False


def _name_params(a: Results, b: Results) -> str:
    changed: Sequence[tuple[str, Any, Any]] = [one for one in list_changed_params(a, b) if one[0].startswith(DECISIVE)]
    if not changed:
        return ""
    listed = ", ".join(f"{key}: {show_value(old)} and {show_value(new)}" for key, old, new in changed[:3])
    advice = "; with split.seed set, another seed leaves them the same" if changed[0][0] == "seed" else ""
    return f" ({listed}{', ...' if len(changed) > 3 else ''}{advice})"
