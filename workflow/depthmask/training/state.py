"""Everything a training step changes, saved and loaded as a whole."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, NonNegativeInt, ValidationError
from torch.optim.swa_utils import AveragedModel

from depthmask.models.model_file import DepthMaskModel
from depthmask.params import PhaseParams
from depthmask.training.checkpoint import (
    LAST,
    PREVIOUS,
    BadCheckpoint,
    SavedState,
    load_state,
    name_best,
    pack_optimizer,
    save_state,
    unpack_optimizer,
)


@dataclass
class State:
    """What a step changes. Counters say what is completed: phases, epochs of this phase, steps of this epoch.

    computed: for each phase, how its steps were computed: sizes, processes, micro-batch size, compiled or not.
    times: mean seconds of each portion of a step, after training, if they were measured.
    """

    model: DepthMaskModel
    phase: int = 0
    epoch: int = 0
    step: int = 0
    total_epochs: int = 0
    total_steps: int = 0
    rate: float = 0.0  # of the last step
    history: list[dict[str, Any]] = field(default_factory=list)
    best_loss: float = float("inf")
    epochs_without_better: int = 0
    computed: list[dict[str, Any]] = field(default_factory=list)
    # of the loss and its terms over this epoch's steps, and of their weights: how many samples have a term's truth
    sums: torch.Tensor | None = None
    optimizer: torch.optim.Optimizer | None = None
    scheduler: Any = None
    ema: AveragedModel | None = None
    times: dict[str, float] = field(default_factory=dict)

    COUNTERS = (
        *("phase", "epoch", "step", "total_epochs", "total_steps"),
        *("rate", "history", "best_loss", "epochs_without_better", "computed"),
    )

    @property
    def scored_model(self) -> torch.nn.Module:
        """The network that is validated and saved as the result."""
        return self.model if self.ema is None else self.ema.module

    def save(self, folder: Path) -> None:
        """Write a checkpoint, and keep the previous one."""
        optimizer, groups = pack_optimizer(self.optimizer)
        tensors = {f"model.{k}": v for k, v in self.model.state_dict().items()}
        tensors |= {f"optimizer.{k}": v for k, v in optimizer.items()}
        tensors["sums"] = self.sums
        if self.ema is not None:
            tensors |= {f"ema.{k}": v.clone() for k, v in self.ema.state_dict().items()}
        values = {name: getattr(self, name) for name in self.COUNTERS}
        # dicts in a schedule's state (MultiStepLR's milestones) are settings that `make_scheduler` restores, with keys JSON lacks
        schedule = {name: value for name, value in self.scheduler.state_dict().items() if not isinstance(value, dict)}
        save_state(folder / LAST, tensors, {**values, "groups": groups, "scheduler": schedule}, folder / PREVIOUS)

    def save_best(self, folder: Path) -> None:
        """Write the best weights of this phase so far."""
        values = {"phase": self.phase, "epoch": self.total_epochs, "loss": self.best_loss}
        save_state(folder / name_best(self.phase), self.scored_model.state_dict(), values)

    def load_counters(self, values: dict[str, Any]) -> None:
        for name in self.COUNTERS:
            setattr(self, name, values[name])

    def load_tensors(self, saved: SavedState) -> None:
        """Restore weights, optimiser and schedule, which the phase has created."""
        tensors, values = saved
        self.model.load_state_dict(_strip(tensors, "model."))
        unpack_optimizer(self.optimizer, _strip(tensors, "optimizer."), values["groups"])
        self.scheduler.load_state_dict(values["scheduler"])
        self.sums.copy_(tensors["sums"])
        if self.ema is not None:
            self.ema.load_state_dict(_strip(tensors, "ema."))


class _SavedValues(BaseModel):
    """The values of a checkpoint."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=True)

    phase: NonNegativeInt
    epoch: NonNegativeInt
    step: NonNegativeInt
    total_epochs: NonNegativeInt
    total_steps: NonNegativeInt
    rate: float
    history: list[dict[str, float | int | str | None]]
    best_loss: float
    epochs_without_better: NonNegativeInt
    computed: list[dict[str, Any]]
    groups: list[dict[str, Any]]
    scheduler: dict[str, Any]


def validate_checkpoint(
    path: Path, saved: SavedState, phases: Sequence[PhaseParams], model: DepthMaskModel | None = None
) -> None:
    """Raise BadCheckpoint if a state does not belong to this training, or the best weights that it refers to are missing.

    model: its network, if already created.
    """
    try:
        values = _SavedValues(**saved.values)
    except (ValidationError, TypeError) as error:
        raise BadCheckpoint(path, "its values are not those of a training") from error
    if values.phase >= len(phases):
        raise BadCheckpoint(path, f"it belongs to phase {values.phase + 1} of {len(phases)}")
    if model is not None:
        _validate_tensors(path, saved.tensors, model, has_ema=phases[values.phase].ema_decay is not None)
    if phases[values.phase].keep == "best" and math.isfinite(values.best_loss):
        best_path = path.with_name(name_best(values.phase))
        best = load_state(best_path)
        # a newer one than the state will be rewritten, with the same content, before it is needed
        if best.values.get("loss") != values.best_loss and best.values.get("epoch", 0) <= values.total_epochs:
            raise BadCheckpoint(best_path, "it belongs to another epoch")


def _validate_tensors(path: Path, tensors: dict[str, torch.Tensor], model: DepthMaskModel, has_ema: bool) -> None:
    wanted = {name: tensor.shape for name, tensor in model.state_dict().items()}
    for prefix in ("model.", *(["ema.module."] if has_ema else [])):
        if {name: tensor.shape for name, tensor in _strip(tensors, prefix).items()} != wanted:
            raise BadCheckpoint(path, "its tensors are not those of this network")
    shapes = [parameter.shape for parameter in model.parameters()]
    allowed = {*shapes, torch.Size([])}  # the optimiser, which knows the exact ones, does not exist yet
    for name, tensor in _strip(tensors, "optimizer.").items():
        number = name.partition(".")[0]
        if not number.isdecimal() or int(number) >= len(shapes) or tensor.shape not in allowed:
            raise BadCheckpoint(path, "its tensors are not those of this network's optimiser")
    if "sums" not in tensors or (has_ema and "ema.n_averaged" not in tensors):
        raise BadCheckpoint(path, "some of its tensors are missing")


def _strip(tensors: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
