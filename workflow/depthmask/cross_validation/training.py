"""The training of one fold from one seed."""

from __future__ import annotations

from pathlib import Path

from depthmask.keyed_random import FOLD, draw_seed
from depthmask.params import Params
from depthmask.sources.folders import Data
from depthmask.training.job import Job


def make_fold_job(params: Params, fold: int, seed: int, data: Data, split: Path, start: Path) -> Job:
    """One job for all phases, which gives the same weights as the project's stages pretrain and finetune would with this split.

    start: folder of the initial weights.
    """
    return Job(
        stage=name_run(fold, seed),
        phases=[*params.pretrain.phases(), *params.finetune.phases()],
        seed=find_run_seed(fold, seed),
        compose=params.compose,
        augment=params.augment,
        loss=params.loss,
        compute=params.compute,
        model=params.model,
        raw=data,
        split=split,
        start=start,
        init=None,
    )


def find_run_seed(fold: int, seed: int) -> int:
    """The seed that a run is trained from: a different one in each fold, or a seed's effect would be the same in all folds.

    Runs are then independent, as the parts of the variance take them to be, and there are as many seeds as runs.
    """
    return draw_seed(seed, FOLD, index=fold)


def name_run(fold: int, seed: int) -> str:
    """The name of a training run in files and messages."""
    return f"fold{fold}-seed{seed}"
