"""SIGKILL of a job, of a node's slurmd, of Snakemake, of a loader worker: the same command, once, ends as if never killed."""

from __future__ import annotations

import random
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from running_slurm import Cluster
from running_tools import find_different, is_dvc_clean, run
from tiny_project import change_params, commit, copy_clone, make_clone

pytestmark = pytest.mark.slurm

NUM_KILLS = 12
NUM_SHORT = 1  # the others only in make test-cluster EVERY=1
PATIENCE_S = 1200
COMMAND = ["snakemake", "pretrain", "--profile", "profiles/slurm"]
MADE = ("data/models/pretrain.safetensors", "reports/pretrain/history.csv")
LONG = {"samples_per_epoch": 256, "batch_size": 8, "validation_samples": 8, "epochs": 4}
ENVIRON = {"DEPTHMASK_WORKERS": "1", "DEPTHMASK_CHECKPOINT_STEPS": "4"}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> Path:
    """A clone in which all before the training is made."""
    root = make_clone(tmp_path_factory.mktemp("kills") / "clone")
    change_params(root, {"pretrain": LONG})
    commit(root, "a training of some seconds")
    run(root, "dvc", "repro", "split", "weights")
    return root


@pytest.fixture(scope="module")
def whole(prepared) -> Path:
    """What an undisturbed training on this machine makes."""
    root = copy_clone(prepared, prepared.parent / "whole")
    run(root, "dvc", "repro", "pretrain")
    return root


def wait_for(is_there: Callable[[], object], started: psutil.Popen) -> object:
    until = time.monotonic() + PATIENCE_S
    while not (found := is_there()):
        assert started.poll() is None and time.monotonic() < until, "it ended too early, or took too long"
        time.sleep(0.05)
    return found


def find_stage(cluster: Cluster) -> psutil.Process | None:
    """The training's own process on a node; None before it has loaded anything."""
    for process in cluster.find_processes("-m stages.pretrain"):
        if process.name().startswith("python") and "-m" in process.cmdline()[:3]:
            return process
    return None


def find_workers(cluster: Cluster) -> list[psutil.Process]:
    stage = find_stage(cluster)
    return stage.children() if stage is not None else []


def kill(cluster: Cluster, victim: str, started: psutil.Popen) -> None:
    if victim == "job":
        cluster.ask("scancel", "--signal=KILL", "--full", *cluster.ask("squeue", "--noheader", "--format=%i").split())
    elif victim == "slurmd":
        node = cluster.ask("squeue", "--noheader", "--format=%N")
        for process in cluster.find_processes(f"slurmd -D -N {node}"):
            process.kill()
    elif victim == "main":
        for process in psutil.Process(started.pid).children():
            process.kill()
    else:
        for process in find_workers(cluster)[:1]:
            process.kill()


VICTIMS = ("main", "job", "worker", "slurmd")


@pytest.mark.parametrize(
    "number", [pytest.param(number, marks=[] if number < NUM_SHORT else pytest.mark.slow) for number in range(NUM_KILLS)]
)
def test_the_same_command_ends_with_the_same_bytes(cluster: Cluster, prepared, whole, tmp_path, number):
    victim, chance = VICTIMS[number % len(VICTIMS)], random.Random(number)
    root = copy_clone(prepared, tmp_path / "clone")
    cluster.wait_until_idle()
    started = cluster.start(root, *COMMAND, output=tmp_path / "killed.txt", **ENVIRON)
    wait_for(lambda: find_workers(cluster) if victim == "worker" else find_stage(cluster), started)
    time.sleep(chance.uniform(0, 4))
    kill(cluster, victim, started)
    started.wait(PATIENCE_S)
    done = cluster.start(root, *COMMAND, output=tmp_path / "again.txt", **ENVIRON)
    done.wait(PATIENCE_S)
    output = (tmp_path / "again.txt").read_text()
    print(f"kill {number}: {victim}, exit code {started.returncode}, then {done.returncode}")
    logs = "".join(path.read_text(errors="replace") for path in (root / "logs").glob("*.log"))
    assert done.returncode == 0, f"{(tmp_path / 'killed.txt').read_text()[-4000:]}\n{output[-4000:]}\n{logs[-4000:]}"
    assert find_different(whole, root, MADE) == []
    assert is_dvc_clean_so_far(root)
    assert not [path for path in root.glob(".checkpoints/*/*") if path.is_file()]
    assert cluster.ask("squeue", "--noheader") == ""
    shutil.rmtree(root)


def is_dvc_clean_so_far(root: Path) -> bool:
    """Whether DVC takes what was made for what it should be."""
    return is_dvc_clean(root) or "pretrain:" not in run(root, "dvc", "status").stdout
