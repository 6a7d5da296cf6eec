"""A training takes its processes from our own launcher or torchrun, never from the scheduler that it happens to run under."""

from __future__ import annotations

import os
import warnings

import pytest
from lightning_fabric import Fabric

from depthmask.training.distributed import make_fabric

# what `sbatch --ntasks=2 --wrap "dvc repro"` sets
SLURM = {
    "SLURM_JOB_ID": "7",
    "SLURM_JOB_NAME": "wrap",
    "SLURM_NTASKS": "2",
    "SLURM_NPROCS": "2",
    "SLURM_JOB_NUM_NODES": "1",
    "SLURM_NNODES": "1",
    "SLURM_PROCID": "0",
    "SLURM_LOCALID": "0",
    "SLURM_NODEID": "0",
    "SLURM_JOB_NODELIST": "n[1-2]",
    "SLURM_STEP_ID": "0",
}


@pytest.fixture
def srun(tmp_path, monkeypatch) -> None:
    """A machine on which the command is installed."""
    (tmp_path / "srun").write_text("#!/bin/sh\n")
    (tmp_path / "srun").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")


@pytest.fixture
def compute(params):
    return params.compute.model_copy(update={"device": "cpu", "precision": "float32"})


@pytest.mark.parametrize("job", ["wrap", "interactive"])
def test_slurms_variables_are_not_taken_for_the_trainings(monkeypatch, srun, compute, job):
    for name, value in (SLURM | {"SLURM_JOB_NAME": job}).items():
        monkeypatch.setenv(name, value)
    if job == "wrap":
        with pytest.raises(RuntimeError, match="--ntasks=2"):  # what Fabric does if it is left to choose
            Fabric(accelerator="cpu", devices=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fabric = make_fabric(compute)
    assert (fabric.world_size, fabric.global_rank, fabric.local_rank) == (1, 0, 0)


def test_an_installed_srun_is_not_remarked_upon(srun, compute):
    with pytest.warns(UserWarning, match="srun"):
        Fabric(accelerator="cpu", devices=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert make_fabric(compute).world_size == 1
