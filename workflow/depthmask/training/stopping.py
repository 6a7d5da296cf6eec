"""Stops a training early where its validation scores are below what others had at the same point.

The rule is fixed before the training starts, and the decision is a function of the history alone. So a training that was
killed and resumed stops where it would have stopped anyway, and so does one on several devices.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import Field

from depthmask.params.fields import Section


class StopCheck(Section):
    """A point of a training, by its steps so far, and what the score must be there to continue."""

    step: Annotated[int, Field(ge=1)]
    at_least: float


class StopRule(Section):
    """scores: columns such as `mask_iou`, of which the mean is compared. checks: in the order of their steps."""

    scores: Annotated[list[str], Field(min_length=1)]
    checks: list[StopCheck]


def find_stop(rule: StopRule | None, history: Sequence[Mapping[str, Any]]) -> StopCheck | None:
    """The first check that a training has not passed; None if it may continue.

    history: a row for each epoch so far. A check is made at the end of the first epoch that reaches its step; an unknown score
    passes it.
    """
    for check in rule.checks if rule is not None else ():
        row = next((row for row in history if row["step"] >= check.step), None)
        if row is not None and find_score(row, rule.scores) < check.at_least:
            return check
    return None


def find_score(row: Mapping[str, Any], scores: Sequence[str]) -> float:
    """The mean of some validation scores in a row of the history, as numbers or as text; NaN if one is unknown."""
    values = [row[f"validation_{score}"] for score in scores]
    known = [float(value) for value in values if value not in ("", None)]
    return math.fsum(known) / len(values) if len(known) == len(values) else math.nan
