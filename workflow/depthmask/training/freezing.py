"""Training one task while the other's branch stands still."""

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
    """Within the block the branch of the task that is not trained cannot change; the value is its modules, none for `both`.

    No gradient reaches it, an optimiser made within the block does not have it (so neither weight decay nor momentum moves
    it), and `set_training` keeps it in eval mode, so that its batch norms do not count either. What both tasks share learns.
    """
    frozen = [] if tasks == "both" else [m for task in TASKS if task != tasks for m in model.network.branches[task]]
    parameters = [p for module in frozen for p in module.parameters() if p.requires_grad]
    for parameter in parameters:
        parameter.requires_grad_(False)
        parameter.grad = None  # of the phase before; the gradient's norm would count it
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
