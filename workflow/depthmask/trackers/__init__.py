"""Trackers of trainings: where curves, pictures and params go beside the results. One file and one line in TRACKERS each.

No tracker changes a byte of a result, and none is needed: one that fails is reported in a line, and the training continues.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from depthmask.base.errors import UserError, format_install_command

if TYPE_CHECKING:
    import torch

    from depthmask.data.batch import Batch

VARIABLE = "DEPTHMASK_TRACKERS"
BOARD = "tensorboard"  # on unless DEPTHMASK_TENSORBOARD=0
SHOWN_MAX = 40


@dataclass(frozen=True)
class TrackerSpec:
    """title: its name as people write it. package: what it imports. extra: of pyproject.toml, which brings the package."""

    title: str
    package: str
    extra: str | None = None


# name in DEPTHMASK_TRACKERS, and of the module here: what it is
TRACKERS = {
    BOARD: TrackerSpec("TensorBoard", "tensorboard"),
    "dvclive": TrackerSpec("DVCLive", "dvclive", "dvclive"),
    "mlflow": TrackerSpec("MLflow", "mlflow", "mlflow"),
    "wandb": TrackerSpec("Weights & Biases", "wandb", "wandb"),
}


@dataclass(frozen=True)
class TrackedRun:
    """The training that is tracked.

    stage: its name, which names its curves. folder: of its checkpoints, whose name is a hash of all that decides the result; what
    a resumed training needs to continue the same run is kept there. params: as in its run record. logs: folder to write to.
    shared_logs: the same, for stores of the runs of many trainings; the project's also in a copy that DVC made of it.
    """

    stage: str
    folder: Path
    params: Mapping[str, Any]
    logs: Path
    shared_logs: Path


class Tracker:
    """Takes what a training reports. Every method may raise: the training continues without the tracker.

    place: where it writes, for messages.
    """

    place: str = ""

    def start(self, first_step: int, known_id: str | None) -> str | None:
        """Begin a run at a step, or continue it; returns what identifies it, None if nothing has to.

        first_step: above 0 in a training that is resumed. known_id: what this method returned then; None in a new training.
        """

    def add_values(self, values: Mapping[str, float], step: int) -> None:
        """Losses and scores of an epoch, by names as `validation/mask_iou`; NaN where unknown."""

    def add_picture(self, name: str, picture_3HW: torch.Tensor, step: int) -> None:
        """A picture of 0..1."""

    def add_network(self, model: torch.nn.Module, batch: Batch) -> None:
        """The network, once, with a batch that it can predict."""

    def end(self, outcome: str) -> None:
        """The training has ended: finished, failed, or stopped, which may be resumed."""


def require_trackers(names: Sequence[str]) -> None:
    """Check the names in DEPTHMASK_TRACKERS, before any work.

    Raises:
        UserError: there is no such tracker, or its package is not installed.
    """
    for name in names:
        if name not in TRACKERS:
            shown = name if len(name) <= SHOWN_MAX else f"{name[:SHOWN_MAX]}..."
            known = ", ".join(known for known in TRACKERS if known != BOARD)
            raise UserError(f"environment: {VARIABLE}: no tracker {shown}; allowed: {known}, separated by commas")
        spec = TRACKERS[name]
        if spec.extra is not None and importlib.util.find_spec(spec.package) is None:
            install = f"install with: {format_install_command(spec.extra)}"
            raise UserError(f"environment: {VARIABLE}: {name} needs the package {spec.package}; {install}")
