"""Reads the results of trials; a missing file is one line that names it."""

from __future__ import annotations

from pathlib import Path

from depthmask.base.files import read_stage_json
from depthmask.sweep.planning import SweepPlan
from depthmask.sweep.trial import Result, load_result, read_result

EARLIER = "earlier.json"  # in a round's folder of trials: all results that it was suggested from


def read_earlier(before: Path, scores: Path, plan: SweepPlan, number: int) -> list[Result]:
    """The results of all rounds before round `number`, in the order of their trials.

    before, scores: the folders of trials and of results of the round before; files where it is the first.

    Raises:
        UserError: a file is missing or cannot be read.
    """
    if number == 0:
        return []
    listed = list(plan.name_rounds().values())[number - 1]
    earlier = [load_result(values, before / EARLIER) for values in read_stage_json(before / EARLIER)]
    return earlier + [read_result(scores / f"{name}.json") for name in listed]


def read_results(scores: Path, plan: SweepPlan) -> list[Result]:
    """The results of all trials, in their order; other files in the folder are ignored. Raises UserError as `read_earlier`."""
    return [read_result(scores / name / f"{trial}.json") for name, listed in plan.name_rounds().items() for trial in listed]
