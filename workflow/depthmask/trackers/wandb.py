"""Weights & Biases: a run per training, offline in runs/wandb, or as WANDB_MODE says; `wandb sync` uploads offline runs.

Nothing is sent while it is offline: its reports of errors in itself are turned off, unless WANDB_ERROR_REPORTING=true.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Mapping

import torch

os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # read when it is imported

import wandb

from depthmask.trackers import TrackedRun, Tracker
from depthmask.trackers.pictures import convert_to_bytes

PROJECT, MODE, EXPERIMENT_OF_DVC = "WANDB_PROJECT", "WANDB_MODE", "DVC_EXP_NAME"
NAME = "depthmask"  # of the project, if the environment has none
INIT_TIMEOUT_S = 30


def open_tracker(run: TrackedRun) -> Tracker:
    """The tracker of a training."""
    return Wandb(run)


class Wandb(Tracker):
    """Neither the terminal's output, nor code, nor the machine's load is recorded: run.json and git have what is of use."""

    def __init__(self, run: TrackedRun):
        self.run = run
        self.place = str(run.shared_logs / "wandb")
        self._wandb: wandb.Run | None = None

    def start(self, first_step: int, known_id: str | None) -> str:
        """An offline run cannot be continued: the new part has the same id, and both are one run once they are synced."""
        mode = os.environ.get(MODE) or "offline"
        self.run.shared_logs.mkdir(parents=True, exist_ok=True)
        settings = wandb.Settings(
            console="off",
            silent=True,
            save_code=False,
            disable_git=True,
            disable_job_creation=True,
            x_disable_stats=True,
            init_timeout=INIT_TIMEOUT_S,
        )
        run_id = known_id or uuid.uuid4().hex[:12]
        self._wandb = wandb.init(
            mode=mode,
            dir=str(self.run.shared_logs),
            project=os.environ.get(PROJECT) or NAME,
            name=self.run.stage,
            group=os.environ.get(EXPERIMENT_OF_DVC),
            id=run_id,
            resume=None if mode == "offline" else "allow",
            config=dict(self.run.params) | {"key": self.run.folder.name},
            settings=settings,
        )
        self._wandb.define_metric("*", step_metric="step")
        return run_id

    def add_values(self, values: Mapping[str, float], step: int) -> None:
        self._wandb.log({**values, "step": step})

    def add_picture(self, name: str, picture_3HW: torch.Tensor, step: int) -> None:
        self._wandb.log({f"pictures/{name}": wandb.Image(convert_to_bytes(picture_3HW)), "step": step})

    def end(self, outcome: str) -> None:
        if self._wandb is not None:
            self._wandb.finish(exit_code=0 if outcome == "finished" else 1)
