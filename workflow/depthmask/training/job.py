"""What a training stage is asked to do."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

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
