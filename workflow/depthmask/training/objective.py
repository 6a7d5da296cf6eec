"""What a phase makes small, and what its validation says of it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from lightning_fabric import Fabric

from depthmask.batch import Batch, ByteBatch
from depthmask.losses import name_terms, weigh_losses
from depthmask.metrics import measure
from depthmask.models import Prediction
from depthmask.params import LossParams, PhaseParams
from depthmask.training.freezing import list_tasks

SCORES = ("mask_iou", "depth_delta1")


@dataclass(frozen=True)
class Objective:
    """A phase's losses: weights, the tasks whose terms count, and how far the maps are enlarged before they are compared."""

    weights: LossParams
    tasks: tuple[str, ...]
    upscale: int

    def name_columns(self) -> list[str]:
        """`loss`, then its terms, as `train_...` and `validation_...` of the history have them."""
        return ["loss", *name_terms(self.weights, tasks=self.tasks)]

    def weigh(
        self, prediction: Prediction, batch: Batch, timer: Callable[[str], AbstractContextManager] = nullcontext
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """The weighted sum, and its unweighted terms by name; each is computed within `timer(name)`."""
        return weigh_losses(prediction, batch, self.weights, tasks=self.tasks, upscale=self.upscale, timer=timer)


def make_objective(phase: PhaseParams, shared: LossParams) -> Objective:
    """The phase's own losses, or else the shared ones."""
    return Objective(phase.loss or shared, list_tasks(phase.tasks), phase.loss_upscale)


@torch.inference_mode()
def validate(
    model: torch.nn.Module, batches: list[ByteBatch], objective: Objective, fabric: Fabric, channels_last: bool = False
) -> dict[str, float]:
    """Mean loss, terms and SCORES over fixed samples, in eval mode and the training's precision; each sample counts once."""
    model.eval()
    gathered: dict[str, list[torch.Tensor]] = {}
    for batch in batches:
        batch = batch.to(fabric.device, channels_last)
        with fabric.autocast():
            prediction = model(batch.image_B3HW, batch.background_B3HW)
        loss, terms = objective.weigh(prediction, batch)
        for name, value in {"loss": loss, **terms}.items():
            gathered.setdefault(name, []).append(value.double().cpu() * len(batch.keys))
        scores = measure(prediction.mask_prob_B1HW, prediction.depth_clamped_B1HW, batch, max_depth=1.0, thorough=False)
        for name in SCORES:
            gathered.setdefault(name, []).append(scores[name].double().cpu())
    num_samples = sum(len(batch.keys) for batch in batches)
    means = {name: torch.stack(v).sum().item() / num_samples for name, v in gathered.items() if name not in SCORES}
    return means | {name: torch.cat(gathered[name]).nanmean().item() for name in SCORES}
