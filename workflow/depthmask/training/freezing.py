"""Training one task with the other task's branch frozen."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from torch import nn

from depthmask.models.model_file import DepthMaskModel
from depthmask.registry.losses import TASKS


def list_tasks(tasks: str) -> tuple[str, ...]:
    """The tasks that `both`, `mask` or `depth` stands for."""
    return TASKS if tasks == "both" else (tasks,)


@contextlib.contextmanager
def freeze_other_branch(model: DepthMaskModel, tasks: str) -> Iterator[list[nn.Module]]:
    """Within the block the branch of the task that is not trained is frozen; yields its modules, none for `both`.

    No gradient reaches it, an optimiser created within the block does not contain it (so neither weight decay nor momentum
    changes it), and `set_training` keeps it in eval mode, so that its batch norms stay unchanged. Shared layers are trained.
    """
    frozen = [] if tasks == "both" else [m for task in TASKS if task != tasks for m in model.network.branches[task]]
    parameters = [p for module in frozen for p in module.parameters() if p.requires_grad]
    for parameter in parameters:
        parameter.requires_grad_(False)
        parameter.grad = None  # of the previous phase; it would count towards the gradient norm
    try:
        yield frozen
    finally:
        for parameter in parameters:
            parameter.requires_grad_(True)


def set_training(model: nn.Module, frozen: list[nn.Module]) -> None:
    """Training mode for all but the frozen modules."""
    model.train()
    for module in frozen:
        module.eval()
