"""The sections `pretrain` and `finetune`, and `compute`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, model_validator

from depthmask.params.fields import Count, NotNegative, Positive, Section, SizePx
from depthmask.params.messages import describe


class PhaseParams(Section):
    """One training phase: what it sees, for how long, and how the weights move."""

    image_size_px: SizePx
    batch_size: Count
    samples_per_epoch: Count
    epochs: Count
    optimizer: Literal["adamw", "sgd"]
    learning_rate: Positive
    weight_decay: NotNegative
    momentum: Annotated[float, Field(ge=0, lt=1)]
    schedule: Literal["constant", "one_cycle", "cosine", "step", "plateau", "triangular2"]
    warmup_fraction: Annotated[float, Field(gt=0, lt=1)]
    milestones: list[Count]
    gamma: Annotated[float, Field(gt=0, lt=1)]
    patience_epochs: Annotated[int, Field(ge=0)]
    cycle_epochs: Count
    clip_norm: Positive | None
    ema_decay: Annotated[float, Field(gt=0, lt=1)] | None
    early_stop_epochs: Count | None
    keep: Literal["last", "best"]
    augment: bool
    validation_samples: Count

    @model_validator(mode="after")
    def _check_phase(self):
        if self.batch_size > self.samples_per_epoch:
            raise ValueError(
                f"batch_size: {self.batch_size} is above samples_per_epoch: {self.samples_per_epoch}; allowed: at most that"
            )
        if self.milestones != sorted(set(self.milestones)):
            raise ValueError(f"milestones: {self.milestones} must rise; allowed: epochs in rising order, each once")
        if self.schedule == "step" and not self.milestones:
            raise ValueError("schedule: step needs milestones; allowed: a list of at least one epoch")
        return self


class TrainParams(PhaseParams):
    """A training stage: its own phase, then `more_phases`, each from the weights of the one before."""

    more_phases: list[dict[str, Any]]

    @model_validator(mode="after")
    def _check_more(self):
        self.phases()
        return self

    def phases(self) -> list[PhaseParams]:
        """Every phase of the stage in the order of training."""
        own = {name: getattr(self, name) for name in PhaseParams.model_fields}
        phases = [PhaseParams(**own)]
        for number, changes in enumerate(self.more_phases):
            try:
                phases.append(PhaseParams(**{**own, **changes}))
            except ValidationError as error:
                problem = describe(error.errors()[0], PhaseParams)
                raise ValueError(f"more_phases.{number}.{problem}") from error
        return phases


class ComputeParams(Section):
    device: Literal["auto", "cpu", "cuda", "mps"]
    precision: Literal["auto", "float32", "bfloat16"]
    threads: Annotated[int, Field(ge=1, le=256)]
    deterministic: bool
    channels_last: bool
    compile: bool
