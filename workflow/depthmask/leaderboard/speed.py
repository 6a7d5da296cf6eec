"""Measures the time of a training step, to turn a budget in seconds into steps."""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from depthmask.base.errors import Interrupted
from depthmask.base.terminal import NOTHING_KEPT
from depthmask.execution.speed_options import read_speed_options
from depthmask.params import Params, PhaseParams
from depthmask.sources.folders import Data
from depthmask.training.distributed import make_fabric
from depthmask.training.loop import train
from depthmask.training.progress import Progress
from depthmask.training.stage import make_job, open_model
from depthmask.weights.start import write_start

NUM_WARM = 2  # warm-up steps: they start the loader and fill its queue
MEASURED_SECONDS = 5.0
STEPS_MAX = 500


class _Enough(Exception):
    """Ends a training once its speed is known."""


class StepClock(Progress):
    """Times the steps of a training silently, and ends it after MEASURED_SECONDS and at least one counted step."""

    def __init__(self, stage: str):
        super().__init__(stage)
        self.begun: float | None = None
        self.num_steps, self.counted_from = 0, 0.0

    @property
    def step_seconds(self) -> float:
        """Mean over the counted steps; over all steps if there were no more."""
        if self.num_steps <= NUM_WARM:
            return (self._since - self.begun) / self.num_steps
        return (self._since - self.counted_from) / (self.num_steps - NUM_WARM)

    def log(self, line: str) -> None:
        pass

    def start_phase(self, state, phase, steps_per_epoch: int) -> None:
        self.begun = time.monotonic()

    def advance(self, num_images: int) -> None:
        self._since = time.monotonic()
        self.num_steps += 1
        if self.num_steps <= NUM_WARM:
            self.counted_from = self._since
        elif self._since - self.begun > MEASURED_SECONDS:
            raise _Enough

    def end_epoch(self, row: dict, times: dict[str, float]) -> None:
        pass

    def end_training(self, times: dict[str, float]) -> None:
        pass


def measure_step_seconds(params: Params, phases: Sequence[PhaseParams], raw: Data, split: Path) -> list[float]:
    """Mean seconds per step of each phase, including loading, in a short training that is discarded.

    params: model, losses, augmentations and device are used.
    """
    fabric, speed = make_fabric(params.compute), read_speed_options()
    measured = []
    for phase in phases:
        clock = StepClock("plan")
        with tempfile.TemporaryDirectory() as folder, contextlib.suppress(_Enough):
            start = Path(folder) / "start"
            start.mkdir()
            write_start(params.model, start)
            job = make_job(params, "pretrain", raw, split, start=start)
            job = replace(job, stage="plan", phases=[_shorten(phase)])
            try:
                train(open_model(job), job, fabric, speed, Path(folder), clock)
            except Interrupted as error:  # what it saved is deleted with the folder
                raise Interrupted(f"stopped while timing steps; {NOTHING_KEPT}", error.exit_code - 128) from None
        measured.append(clock.step_seconds)
    return measured


def _shorten(phase: PhaseParams) -> PhaseParams:
    """One long epoch, whose end is never reached."""
    return phase.change(epochs=1, samples_per_epoch=STEPS_MAX * phase.batch_size, validation_samples=1)
