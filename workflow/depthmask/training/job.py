"""What a training stage is asked to do."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from depthmask.loading.split_files import count_rows
from depthmask.params import AugmentParams, ComposeParams, ComputeParams, LossParams, PhaseParams


@dataclass(frozen=True)
class Job:
    """All that decides a training stage's result, and where its samples are.

    loss: of the phases that name none of their own. raw: the folder of assets, or the store that was packed from composites.
    """

    stage: str
    phases: list[PhaseParams]
    seed: int
    compose: ComposeParams
    augment: AugmentParams
    loss: LossParams
    compute: ComputeParams
    raw: Path
    split: Path

    def count_steps(self) -> int:
        """Optimiser steps of all phases, if none ends early; of packed composites there may be fewer than a phase asks for."""
        packed = count_rows(self.split, "train")
        samples = [phase.samples_per_epoch if packed is None else min(packed, phase.samples_per_epoch) for phase in self.phases]
        return sum(phase.epochs * (count // phase.batch_size) for phase, count in zip(self.phases, samples, strict=True))
