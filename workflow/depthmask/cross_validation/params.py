"""The schema of cross_validation/params.yaml, its only reader, and what it changes in the project's params."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from depthmask.base.errors import ParamsError
from depthmask.leaderboard.budget import spend_budget
from depthmask.leaderboard.params import BudgetParams
from depthmask.params import Params, load_params, make_params
from depthmask.params.fields import Count, Section, Seed, Threads
from depthmask.params.reading import fit_schema, read_yaml

FOLDS_MAX, SEEDS_MAX = 100, 100  # each is a stage, which DVC and Snakemake take about a second to look at
PATH = Path("cross_validation/params.yaml")


class LengthParams(Section):
    """How long to train; no budget depends on the machine."""

    kind: Literal["params", "steps", "samples"]
    amount: Count | None

    @model_validator(mode="after")
    def _check(self):
        if self.kind == "params" and self.amount is not None:
            raise ValueError(f"amount: {self.amount}, but kind: params has none; allowed: null, or kind: steps or samples")
        if self.kind != "params" and self.amount is None:
            raise ValueError(f"amount: null; allowed: a number of {self.kind}")
        return self


class CrossValidationParams(Section):
    folds: Annotated[list[int], Field(min_length=2, max_length=FOLDS_MAX)]
    seeds: Annotated[list[Seed], Field(min_length=1, max_length=SEEDS_MAX)]
    budget: LengthParams
    threads: Threads

    @model_validator(mode="after")
    def _check(self):
        wanted = list(range(1, len(self.folds) + 1))
        if self.folds != wanted:
            raise ValueError(
                f"folds: {self.folds}; allowed: every number from 1 to the number of folds, such as [1, 2, 3] for three folds"
            )
        twice = sorted({seed for seed in self.seeds if self.seeds.count(seed) > 1})
        if twice:
            raise ValueError(f"seeds: {twice[0]} is listed twice; allowed: each once")
        return self


def load_cross_validation_params(path: Path | str = PATH) -> CrossValidationParams:
    """Read and validate cross_validation/params.yaml.

    Raises:
        ParamsError: the file is missing, is not YAML, or does not fit the schema; only the first mistake is reported.
    """
    return fit_schema(CrossValidationParams, read_yaml(path, CrossValidationParams), where=str(path))


def load_both(project: Path | str, own: Path | str) -> tuple[Params, CrossValidationParams]:
    """The project's params, with the cross-validation's threads, and those of the cross-validation; its budget is not spent yet.

    Raises:
        ParamsError: a file does not fit its schema, or they do not fit each other.
    """
    settings, params = load_cross_validation_params(own), load_params(project)
    num_folds = len(settings.folds)
    if params.split.validation + 1 / num_folds >= 1:
        raise ParamsError(
            f"{own}: folds: {num_folds} of them leave nothing to train on beside split.validation: {params.split.validation:g}"
            f" in {project}; use more folds, or lower split.validation"
        )
    compute = params.compute.model_copy(update={"threads": settings.threads})
    return params.model_copy(update={"compute": compute}), settings


def shorten(params: Params, settings: CrossValidationParams, num_available: int | None = None) -> Params:
    """The project's params with phases as short as the budget says; num_available: see `spend_budget`.

    Raises:
        ParamsError: the budget is less than one step for each phase.
    """
    if settings.budget.kind == "params":
        return params
    budget = BudgetParams(kind=settings.budget.kind, amount=settings.budget.amount)
    first = params.pretrain.phases()
    try:
        phases = spend_budget([*first, *params.finetune.phases()], budget, num_available=num_available)
    except ParamsError as error:
        raise ParamsError(f"{PATH}: {error}") from error
    values = params.model_dump()
    values["pretrain"], values["finetune"] = _join(phases[: len(first)]), _join(phases[len(first) :])
    return make_params(values, str(PATH))


def describe_leak(init: str) -> str:
    """What to know if training starts from a model file."""
    return (
        f"Training starts from a model file (model.init: {init}): if it was trained on pictures that are tested here, the scores"
        " are too good."
    )


def _join(phases: list[Section]) -> dict[str, Any]:
    """A section of params.yaml with these phases."""
    own, *more = [phase.model_dump() for phase in phases]
    return {**own, "more_phases": more}
