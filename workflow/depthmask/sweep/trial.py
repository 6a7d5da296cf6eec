"""A trial: what is trained, a file between the round that suggests it and its training; and what came of it.

Only what decides the training is in the file, so that a sweep with more trials or with another score does not train the
first ones again.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from depthmask.base.errors import ParamsError, UserError
from depthmask.base.files import read_json, write_json
from depthmask.params import AugmentParams, ComposeParams, ComputeParams, LossParams, ModelParams, PhaseParams
from depthmask.params.fields import Section
from depthmask.params.reading import fit_schema
from depthmask.training.stopping import StopRule

SCORE = "score"  # what a sweep optimises: the mean of the scores that it names
FINISHED, STOPPED, DIVERGED = "finished", "stopped early", "diverged"


class Trial(Section):
    """name: as in the graph. values: of the searched keys. steps: if it is not stopped early."""

    name: str
    values: dict[str, Any]
    seed: int
    compose: ComposeParams
    augment: AugmentParams
    model: ModelParams
    loss: LossParams
    compute: ComputeParams
    phases: list[PhaseParams]
    steps: int
    stop: StopRule | None


class Interval(Section):
    """A 95 % interval of a mean over images; null where it is unknown."""

    low: float | None
    high: float | None


class Result(Section):
    """What came of a trial.

    score: what the sweep optimises, the mean of `scores`; None if it is unknown. scores: by column, means over the validation
    images. intervals: of `scores`, and of `score` by that name. curve: (steps so far, score) at the end of each epoch, on the
    training's own validation samples. reason: why it ended early. steps: taken, of `planned_steps`.
    """

    name: str
    values: dict[str, Any]
    outcome: Literal["finished", "stopped early", "diverged"]
    reason: str | None
    score: float | None
    scores: dict[str, float | None]
    intervals: dict[str, Interval]
    curve: list[tuple[int, float | None]]
    steps: int
    planned_steps: int
    num_images: int

    @property
    def has_rank(self) -> bool:
        """Whether it can be compared with others: one that was stopped early or diverged cannot."""
        return self.outcome == FINISHED and self.score is not None


def write_trial(path: Path, trial: Trial) -> None:
    """Write a trial as JSON, for `read_trial`."""
    write_json(path, trial.model_dump())


def read_trial(path: Path) -> Trial:
    """Read what `write_trial` wrote.

    Raises:
        UserError: it is missing, broken, or made by another version.
    """
    try:
        return fit_schema(Trial, read_json(path), where=str(path))
    except (OSError, ValueError, ParamsError) as error:
        raise _explain(path, "suggest", error) from error


def read_result(path: Path) -> Result:
    """Read the result of a trial; raises UserError as `read_trial` does."""
    try:
        return load_result(read_json(path), path)
    except (OSError, ValueError) as error:
        raise _explain(path, "score", error) from error


def load_result(values: Any, path: Path) -> Result:
    """The result in a mapping read from JSON, which has no pairs; raises UserError as `read_trial` does."""
    try:
        return fit_schema(Result, values | {"curve": [tuple(point) for point in values["curve"]]}, where=str(path))
    except (TypeError, KeyError, ParamsError) as error:
        raise _explain(path, "score", error) from error


def _explain(path: Path, stage: str, error: Exception) -> UserError:
    return UserError(f"{path}: was not written by the stage {stage} ({error}); run it again")
