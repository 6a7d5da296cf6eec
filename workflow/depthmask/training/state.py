"""All that a training step changes, saved and loaded as a whole."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch.optim.swa_utils import AveragedModel

from depthmask.models.model_file import DepthMaskModel
from depthmask.training.checkpoint import pack_optimizer, save_state, unpack_optimizer


@dataclass
class State:
    """What a step changes. Counters say what is done: phases, epochs of this phase, steps of this epoch.

    computed: of each phase, how its steps were computed: sizes, processes, samples at once, compiled or not.
    times: mean seconds of the parts of a step, once the training has ended and where they were measured.
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
    sums: torch.Tensor | None = None  # of the loss and its terms over this epoch's steps
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
        """The network that is validated and handed on."""
        return self.model if self.ema is None else self.ema.module

    def save(self, path: Path) -> None:
        optimizer, groups = pack_optimizer(self.optimizer)
        tensors = {f"model.{k}": v for k, v in self.model.state_dict().items()}
        tensors |= {f"optimizer.{k}": v for k, v in optimizer.items()}
        tensors["sums"] = self.sums
        if self.ema is not None:
            tensors |= {f"ema.{k}": v.clone() for k, v in self.ema.state_dict().items()}
        values = {name: getattr(self, name) for name in self.COUNTERS}
        # what a schedule keeps in a dict (MultiStepLR's milestones) is a setting, which its maker has set, and not JSON's kind
        schedule = {name: value for name, value in self.scheduler.state_dict().items() if not isinstance(value, dict)}
        save_state(path, tensors, {**values, "groups": groups, "scheduler": schedule})

    def load_counters(self, values: dict[str, Any]) -> None:
        for name in self.COUNTERS:
            setattr(self, name, values[name])

    def load_rest(self, tensors: dict[str, torch.Tensor], values: dict[str, Any]) -> None:
        """Weights, optimiser and schedule, once the phase has made them."""
        self.model.load_state_dict(_strip(tensors, "model."))
        unpack_optimizer(self.optimizer, _strip(tensors, "optimizer."), values["groups"])
        self.scheduler.load_state_dict(values["scheduler"])
        self.sums.copy_(tensors["sums"])
        if self.ema is not None:
            self.ema.load_state_dict(_strip(tensors, "ema."))


def _strip(tensors: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
