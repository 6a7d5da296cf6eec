"""The plan of a recipe's trainings under the leaderboard's conditions: a file between a recipe and its trainings.

A plan is made once for all seeds. For a budget in seconds it holds measured times; everything after it is as deterministic as
any training: the same plan gives the same weights.
"""

from __future__ import annotations

from pathlib import Path

from depthmask.base.errors import ParamsError, UserError
from depthmask.base.files import read_json, write_json
from depthmask.leaderboard.params import BudgetParams
from depthmask.params import AugmentParams, LossParams, ModelParams, PhaseParams
from depthmask.params.fields import Section
from depthmask.params.reading import fit_schema


class Plan(Section):
    """missing: why the network cannot be built here; None if it can. step_seconds: of each phase, for a budget in seconds."""

    recipe: str
    budget: BudgetParams
    missing: str | None
    model: ModelParams
    augment: AugmentParams
    loss: LossParams
    phases: list[PhaseParams]
    steps: int
    samples: int
    step_seconds: list[float] | None


def write_plan(path: Path, plan: Plan) -> None:
    """Write a plan as JSON, for `load_plan`."""
    write_json(path, plan.model_dump())


def load_plan(path: Path) -> Plan:
    """Read what `write_plan` wrote.

    Raises:
        UserError: it is missing, broken, or made by another version of the leaderboard.
    """
    try:
        return fit_schema(Plan, read_json(path), where=str(path))
    except (OSError, ValueError, ParamsError) as error:
        raise UserError(f"{path}: is not a plan ({error}); run the plan stage") from error
