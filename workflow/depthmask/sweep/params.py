"""The schema of sweep/params.yaml, and its only reader."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from depthmask.leaderboard.params import RecipeName, Seed
from depthmask.params.fields import Count, ScoredCount, Section
from depthmask.params.reading import fit_schema, read_yaml
from depthmask.scores import Prominence, list_scores

TRIALS_MAX = 1000
Key = Annotated[str, Field(pattern=r"^[a-z0-9_]+(\.[a-z0-9_]+)*$")]
Fraction = Annotated[float, Field(gt=0, lt=1)]
# measured at every validation, between 0 and 1, higher is better: so their mean ranks trials, and can stop one early
Score = Literal[*(spec.column for spec in list_scores(at_least=Prominence.PRIMARY))]


class DimensionParams(Section):
    """What one key may be: a list of values, or a range.

    points: into how many values a grid divides a range. also: keys that get the same value.
    """

    values: Annotated[list[Any], Field(min_length=2)] | None = None
    low: float | int | None = None
    high: float | int | None = None
    log: bool = False
    integer: bool = False
    points: Annotated[int, Field(ge=2, le=TRIALS_MAX)] | None = None
    also: Annotated[list[Key], Field(default_factory=list)]

    @model_validator(mode="after")
    def _check(self):
        if self.values is not None:
            self._check_values()
        elif self.low is None or self.high is None:
            raise ValueError("has neither values nor a range; allowed: values: [...], or low and high")
        else:
            self._check_range()
        return self

    def _check_values(self) -> None:
        named = [name for name in ("low", "high", "log", "integer", "points") if getattr(self, name) not in (None, False)]
        if named:
            raise ValueError(f"{named[0]}: is for a range, but there are values; allowed: values alone")
        twice = [value for number, value in enumerate(self.values) if _is_among(value, self.values[:number])]
        if twice:
            raise ValueError(f"values: {twice[0]} is listed twice; allowed: each once")

    def _check_range(self) -> None:
        if self.low >= self.high:
            raise ValueError(f"low: {self.low} is not below high: {self.high}; allowed: below it")
        if self.log and self.low <= 0:
            raise ValueError(f"low: {self.low} has no logarithm; allowed: above 0, or log: false")
        if self.integer:
            for name in ("low", "high"):
                if getattr(self, name) != int(getattr(self, name)):
                    raise ValueError(f"{name}: {getattr(self, name)} is not whole; allowed: a whole number, or integer: false")


def _is_among(value: Any, others: list[Any]) -> bool:
    """Whether a value is in a list; true is not 1, and 1.0 not 1."""
    return any(value == other and type(value) is type(other) for other in others)


class SweepBudgetParams(Section):
    """A trial's length. No seconds: with them, every trial would depend on how busy the machine is."""

    kind: Literal["steps", "samples"]
    amount: Count


class PruneParams(Section):
    """at: fractions of a trial's steps at which it may be stopped. keep: which best fraction of earlier trials it has to reach.

    after: how many trials of earlier rounds must have come that far.
    """

    at: Annotated[list[Fraction], Field(min_length=1, max_length=20)]
    keep: Fraction
    after: Annotated[int, Field(ge=1, le=TRIALS_MAX)]

    @model_validator(mode="after")
    def _check(self):
        if self.at != sorted(set(self.at)):
            raise ValueError(f"at: {self.at} must be increasing; allowed: fractions in increasing order, each once")
        return self


class SweepParams(Section):
    """The validated sweep/params.yaml; whether keys and values fit ../params.yaml is checked by `planning`."""

    recipe: RecipeName | None
    fixed: dict[str, Any]
    space: Annotated[dict[Key, DimensionParams], Field(min_length=1, max_length=50)]
    method: Literal["grid", "random", "sobol", "tpe"]
    trials: Annotated[int, Field(ge=1, le=TRIALS_MAX)] | None
    round_size: Annotated[int, Field(ge=1, le=TRIALS_MAX)]
    seed: Seed
    budget: SweepBudgetParams | None
    optimise: Annotated[list[Score], Field(min_length=1)]
    score_images: ScoredCount
    prune: PruneParams | None

    @model_validator(mode="after")
    def _check(self):
        if self.method == "grid" and self.trials is not None:
            raise ValueError(f"trials: {self.trials}, but a grid has as many as its values make; allowed: null")
        if self.method != "grid" and self.trials is None:
            raise ValueError(f"trials: null; method: {self.method} needs a number; allowed: 1 to {TRIALS_MAX}")
        if len(set(self.optimise)) < len(self.optimise):
            raise ValueError(f"optimise: {self.optimise} lists a score twice; allowed: each once")
        self._check_keys()
        if self.method == "grid":
            lacking = [key for key, dimension in self.space.items() if dimension.values is None and dimension.points is None]
            if lacking:
                raise ValueError(f"space: {lacking[0]} is a range; method: grid needs its points, such as points: 4, or values")
        return self

    def _check_keys(self) -> None:
        """Each key has one value: none is named twice, and none lies in another."""
        keys = [key for name, dimension in self.space.items() for key in (name, *dimension.also)]
        for number, key in enumerate(keys):
            for other in keys[:number]:
                if key == other:
                    raise ValueError(f"space: {key} is named twice; allowed: each key once")
                if key.startswith(f"{other}.") or other.startswith(f"{key}."):
                    raise ValueError(f"space: {key} and {other}: one lies in the other; allowed: one of them")


def load_sweep_params(path: Path | str = "params.yaml") -> SweepParams:
    """Read and validate a sweep's params.yaml.

    Raises:
        ParamsError: the file is missing, is not YAML, or does not fit the schema; only the first mistake is reported.
    """
    return fit_schema(SweepParams, read_yaml(path, SweepParams), where=str(path))
