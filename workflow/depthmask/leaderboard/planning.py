"""Makes plans from recipes, the leaderboard's conditions and its budget."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from depthmask.base.errors import ParamsError
from depthmask.leaderboard.budget import cap_phases, count_samples, count_steps, spend_budget
from depthmask.leaderboard.params import BudgetParams, LeaderboardParams
from depthmask.leaderboard.plan import Plan
from depthmask.params import Params, PhaseParams, make_params
from depthmask.recipes import resolve_recipe

SHARED_SECTIONS = ("download", "pack", "split", "compose", "compute")  # those of recipes are ignored: all train on the same
TRAINING_SECTIONS = ("pretrain", "finetune")
FROM_NO_FILE = {"model": {"init": None}}  # the user's key, which no recipe has: all start from the weights of their recipe
NO_MIXTURE = {"more_sources": {}}  # the table compares recipes on one source
NOT_SHOWN = {  # required by the schema, and unused here: the table has no images, no such scores and no other data sets
    "evaluate": {
        "num_shown": 0,
        "photos": "none",
        "depth_min": None,
        "depth_max": None,
        "depth_crop": None,
        "more": {},
        "flip": False,
        "ensemble": "none",
    },
    "report": {"title": "leaderboard", "num_worst": 0},
}


def fit_recipe(name: str, params: LeaderboardParams, folder: Path) -> Params:
    """A recipe's params with the leaderboard's data, test set, device and size limits.

    Raises:
        UserError: the recipe is invalid, or does not fit the leaderboard's data or sizes; names recipe and key.
    """
    shared = {section: getattr(params, section).model_dump() for section in SHARED_SECTIONS}
    del shared["pack"]["sizes_px"]
    shared["download"] |= NO_MIXTURE
    shared["evaluate"] = {**params.evaluate.model_dump(), **NOT_SHOWN["evaluate"]}
    shared |= {"seed": params.seed, "report": NOT_SHOWN["report"]}
    where = f"params.yaml with recipe {name}"
    fitted = make_params({**resolve_recipe(name, shared | FROM_NO_FILE, folder), **shared}, where)
    capped = fitted.model_dump()
    for section in TRAINING_SECTIONS:
        own, *more = cap_phases(getattr(fitted, section).phases(), params.batch_size_max, params.image_size_max_px)
        capped[section] = {**own.model_dump(), "more_phases": [phase.model_dump() for phase in more]}
    return make_params(capped, where)


def make_plan(
    name: str,
    fitted: Params,
    budget: BudgetParams,
    *,
    num_available: int | None,
    step_seconds: Sequence[float] | None = None,
    missing: str | None = None,
) -> Plan:
    """The plan of a recipe fitted by `fit_recipe`; num_available and step_seconds: see `spend_budget`.

    Raises:
        ParamsError: the budget is too small for the recipe.
    """
    try:
        phases = spend_budget(list_phases(fitted), budget, num_available=num_available, step_seconds=step_seconds)
    except ParamsError as error:
        raise ParamsError(f"params.yaml with recipe {name}: {error}") from error
    return Plan(
        recipe=name,
        budget=budget,
        missing=missing,
        model=fitted.model,
        augment=fitted.augment,
        loss=fitted.loss,
        phases=phases,
        steps=sum(count_steps(phase) for phase in phases),
        samples=sum(count_samples(phase) for phase in phases),
        step_seconds=None if step_seconds is None else [float(f"{value:.4g}") for value in step_seconds],
    )


def list_phases(fitted: Params) -> list[PhaseParams]:
    """All phases of a recipe in training order."""
    return [phase for section in TRAINING_SECTIONS for phase in getattr(fitted, section).phases()]
