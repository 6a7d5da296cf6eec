"""Training a part of the network, with the rest frozen: the other task's branch, the encoder's first stages."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from torch import nn

from depthmask.models.model_file import DepthMaskModel
from depthmask.params import PhaseParams
from depthmask.registry.losses import TASKS


def list_tasks(tasks: str) -> tuple[str, ...]:
    """The tasks that `both`, `mask` or `depth` stands for."""
    return TASKS if tasks == "both" else (tasks,)


@contextlib.contextmanager
def freeze_modules(model: DepthMaskModel, phase: PhaseParams) -> Iterator[list[nn.Module]]:
    """Within the block what the phase does not train is frozen; yields the modules that `set_training` keeps in eval mode.

    These are the branch of the task that is not trained and the encoder's first stages: no gradient reaches them, and an
    optimiser created within the block does not contain them (so neither weight decay nor momentum changes them). With
    freeze_batch_norm they are also the encoder's batch norms, whose weights are trained all the same. Eval mode keeps their
    statistics as they are.
    """
    frozen = _list_frozen(model, phase)
    parameters = [p for module in frozen for p in module.parameters() if p.requires_grad]
    for parameter in parameters:
        parameter.requires_grad_(False)
        parameter.grad = None  # of the previous phase; it would count towards the gradient norm
    try:
        yield [*frozen, *_list_batch_norms(model, phase)]
    finally:
        for parameter in parameters:
            parameter.requires_grad_(True)


def _list_frozen(model: DepthMaskModel, phase: PhaseParams) -> list[nn.Module]:
    frozen = []
    if phase.tasks != "both":
        frozen += [module for task in TASKS if task != phase.tasks for module in model.network.branches[task]]
    if model.spec.has_encoder:
        number = phase.frozen_encoder_stages
        frozen += model.network.encoder.stages[: None if number == "all" else number]
    return frozen


def _list_batch_norms(model: DepthMaskModel, phase: PhaseParams) -> list[nn.Module]:
    if not (phase.freeze_batch_norm and model.spec.has_encoder):
        return []
    return [module for module in model.network.encoder.modules() if isinstance(module, nn.BatchNorm2d)]


def set_training(model: nn.Module, frozen: list[nn.Module]) -> None:
    """Training mode for all but the frozen modules."""
    model.train()
    for module in frozen:
        module.eval()
