"""The sections `pretrain` and `finetune`, and `compute`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationError, model_validator

from depthmask.params.fields import (
    EPOCHS_MAX,
    BatchSize,
    Count,
    Epochs,
    Factor,
    ScoredCount,
    Section,
    SizePx,
    Threads,
    validate_exact_type,
)
from depthmask.params.loss import LossParams
from depthmask.params.messages import describe
from depthmask.params.model import ModelParams
from depthmask.registry.networks import NETWORKS

PHASES_MAX = 100  # more_phases; each has its place in the curves
STAGES_MAX = 100


def _check_stages(value: Any) -> Any:
    """A union's own message would name every member's fault."""
    if value == "all" or (type(value) is int and 0 <= value <= STAGES_MAX):
        return value
    shown = "" if isinstance(value, str) else f"{value} "
    raise ValueError(f"{shown}is not a number of stages; allowed: all, or 0 to {STAGES_MAX}")


class PhaseParams(Section):
    """One training phase: its data, its length, and its optimiser."""

    image_size_px: SizePx
    batch_size: BatchSize
    samples_per_epoch: Count
    epochs: Epochs
    optimizer: Literal["adamw", "sgd"]
    # below, float32 weights do not move; above, no network here has learnt anything
    learning_rate: Annotated[float, Field(ge=1e-10, le=10)]
    weight_decay: Annotated[float, Field(ge=0, le=10)]
    momentum: Annotated[float, Field(ge=0, lt=1)]
    schedule: Literal["constant", "one_cycle", "cosine", "step", "plateau", "triangular2"]
    warmup_fraction: Annotated[float, Field(ge=0.0001, le=0.9999)]
    milestones: Annotated[list[Epochs], Field(max_length=1000)]
    gamma: Annotated[float, Field(ge=1e-6, lt=1)]
    patience_epochs: Annotated[int, Field(ge=0, le=EPOCHS_MAX)]
    cycle_epochs: Epochs
    encoder_lr_factor: Annotated[float, Field(ge=1e-6, le=100)]
    frozen_encoder_stages: Annotated[Annotated[int, Field(ge=0, le=STAGES_MAX)] | Literal["all"], BeforeValidator(_check_stages)]
    freeze_batch_norm: bool
    clip_norm: Factor | None
    ema_decay: Annotated[float, Field(ge=0.0001, le=0.999999)] | None  # at most a mean over a million steps
    early_stop_epochs: Epochs | None
    keep: Literal["last", "best"]
    augment: bool
    validation_samples: ScoredCount
    tasks: Literal["both", "mask", "depth"]
    loss: LossParams | None
    loss_upscale: Annotated[Literal[1, 2, 4], validate_exact_type(1, 2, 4)]

    @model_validator(mode="after")
    def _check_phase(self):
        if self.batch_size > self.samples_per_epoch:
            raise ValueError(
                f"batch_size: {self.batch_size} is above samples_per_epoch: {self.samples_per_epoch}; allowed: at most that"
            )
        if self.milestones != sorted(set(self.milestones)):
            raise ValueError(f"milestones: {self.milestones} must be increasing; allowed: epochs in increasing order, each once")
        if self.schedule == "step" and not self.milestones:
            raise ValueError("schedule: step needs milestones; allowed: a list of at least one epoch")
        return self

    def change(self, /, **changes: Any) -> PhaseParams:  # with /, because a user may have written a key `self`
        """A copy with other values, validated like every phase."""
        return PhaseParams.model_validate({name: getattr(self, name) for name in PhaseParams.model_fields} | changes)


class TrainParams(PhaseParams):
    """A training stage: its own phase, then `more_phases`, each starting from the weights of the one before."""

    more_phases: Annotated[list[dict[str, Any]], Field(max_length=PHASES_MAX)]

    @model_validator(mode="after")
    def _check_more(self):
        self.phases()
        return self

    def phases(self) -> list[PhaseParams]:
        """All phases of the stage in training order."""
        phases = [self.change()]
        for number, changes in enumerate(self.more_phases):
            try:
                phases.append(self.change(**changes))
            except ValidationError as error:
                problem = describe(error.errors()[0], PhaseParams)
                raise ValueError(f"more_phases.{number}.{problem}") from error
        return phases

    def name_phases(self, stage: str) -> list[tuple[str, PhaseParams]]:
        """All phases with their keys: `pretrain`, `pretrain.more_phases.0` and so on."""
        own, *more = self.phases()
        return [(stage, own), *((f"{stage}.more_phases.{number}", phase) for number, phase in enumerate(more))]


def find_fault_of_tasks(phase: PhaseParams, loss: LossParams, network: str, has_branches: bool) -> str | None:
    """Why a phase cannot train its tasks with these losses and this network; None if it can."""
    if phase.tasks == "both":
        return None
    if not has_branches:
        return f"tasks: {phase.tasks}; model.name: {network} has no branches, so none can be frozen; allowed: both"
    if not loss.has_terms(phase.tasks):
        return f"tasks: {phase.tasks}; no {phase.tasks} loss has a weight; allowed: both, or a weight above 0"
    return None


class ComputeParams(Section):
    device: Literal["auto", "cpu", "cuda", "mps"]
    precision: Literal["auto", "float32", "bfloat16"]
    threads: Threads
    deterministic: bool
    channels_last: bool
    compile: bool


def find_fault_of_frozen_encoder(key: str, phase: PhaseParams, model: ModelParams) -> str | None:
    """Why an encoder cannot stay as it is in a phase, the first one if its key is `pretrain`; None if it can."""
    random = NETWORKS[model.name].has_encoder and model.init is None and model.encoder_weights == "none"
    if random and key == "pretrain" and phase.frozen_encoder_stages != 0:
        frozen = phase.frozen_encoder_stages
        return f"frozen_encoder_stages: {frozen}; model.encoder_weights: none would freeze random weights; allowed: 0"
    return None
