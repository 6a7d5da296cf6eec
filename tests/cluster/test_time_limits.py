"""A training that is longer than its partition allows ends without a person, with the bytes of one that was not interrupted."""

from __future__ import annotations

import math
import re
import time
from pathlib import Path

import pytest
from running_slurm import Cluster
from running_tools import find_different, run
from tiny_project import change_params, commit, copy_clone, make_clone

pytestmark = [pytest.mark.slurm, pytest.mark.slow]

NUM_LIMITS = 4
PATIENCE_S = 3600
MADE = ("data/models/pretrain.safetensors", "reports/pretrain/history.csv")
SMALL = {"samples_per_epoch": 256, "batch_size": 8, "validation_samples": 8}
EARLY_S = 15  # before its limit a training is signalled
SLOWER = 1.5  # than it was when it was measured
LOOKS_EVERY_S = 30  # Slurm, at limits: a signal comes that much earlier than asked for


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> Path:
    """A clone in which all before the training is made, whose profile signals late: its limits are short."""
    root = make_clone(tmp_path_factory.mktemp("long") / "clone")
    profile = root / "profiles/slurm/config.yaml"
    profile.write_text(profile.read_text().replace("USR1@120", f"USR1@{EARLY_S}"))
    commit(root, "signals shortly before a limit")
    run(root, "dvc", "repro", "split", "weights")
    return root


def train(root: Path, epochs: int) -> float:
    """Train so many epochs on this machine alone; returns the seconds."""
    change_params(root, {"pretrain": SMALL | {"epochs": epochs}})
    since = time.monotonic()
    run(root, "dvc", "repro", "pretrain")
    return time.monotonic() - since


def test_a_training_passes_time_limits_without_a_person(cluster: Cluster, prepared, tmp_path):
    one, three = (train(copy_clone(prepared, tmp_path / f"{epochs}"), epochs) for epochs in (1, 3))
    start_s, epoch_s = one, max((three - one) / 2, 0.05)
    # the job starts three Pythons before the training begins
    minutes = math.ceil((2 * start_s * SLOWER + EARLY_S + LOOKS_EVERY_S) / 60)
    epochs = math.ceil(NUM_LIMITS * (60 * minutes - start_s) / epoch_s)
    print(f"a start of {start_s:.0f} s, epochs of {epoch_s:.1f} s: limit {minutes} min, {epochs} epochs")
    alone, root = (copy_clone(prepared, tmp_path / name) for name in ("alone", "clone"))
    change_params(root, {"pretrain": SMALL | {"epochs": epochs}})
    limit = ["--set-resources", f"pretrain:runtime={minutes}"]
    # nothing but a signal saves
    output = cluster.run(
        root,
        *["snakemake", "pretrain", "--profile", "profiles/slurm", *limit],
        patience_s=PATIENCE_S,
        DEPTHMASK_CHECKPOINT_MINUTES="600",
    )
    assert output.count("has been submitted with SLURM jobid") == 1, "Snakemake knows of one job"
    job = re.search(r"SLURM jobid (\d+)", output)[1]
    restarts = int(re.search(r"Restarts=(\d+)", cluster.ask("scontrol", "show", "job", job))[1])
    print(f"{restarts} restarts")
    assert restarts >= NUM_LIMITS - 1
    assert "resumed from step" in (root / "logs/pretrain.log").read_text()
    train(alone, epochs)
    assert find_different(alone, root, MADE) == []
