"""A training that is longer than its partition allows ends without a person, with the bytes of one that was not interrupted."""

from __future__ import annotations

import math
import re
import time
from pathlib import Path

import pytest
from making_graphs import make_project
from running_slurm import Cluster
from running_tools import find_different, run
from tiny_project import change_params, commit, copy_clone, make_clone

pytestmark = pytest.mark.slurm

NUM_LIMITS = 4
PATIENCE_S = 3600
MADE = ("data/models/pretrain.safetensors", "reports/pretrain/history.csv")
SMALL = {"samples_per_epoch": 256, "batch_size": 8, "validation_samples": 8}
EARLY_S = 15  # before its limit a training is signalled
SLOWER = 1.5  # than it was when it was measured
LOOKS_EVERY_S = 30  # Slurm, at limits: a signal comes that much earlier than asked for


# a stage that works for so many seconds, saves at a signal and resumes, as a training does but without a minute of imports
COUNT = """
import signal, sys, time
from pathlib import Path

def stop(number, _):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    Path("saved").write_text(f"{done}")
    name = signal.Signals(number).name
    print(f"error: count: stopped by {name}; rerun the same command to resume from step {done}", flush=True)
    sys.exit(128 + number)

for number in (signal.SIGTERM, signal.SIGUSR1):
    signal.signal(number, stop)
done = int(Path("saved").read_text()) if Path("saved").exists() else 0
print(f"count: resumed from step {done} of SECONDS" if done else "count: fresh", flush=True)
while done < SECONDS:
    time.sleep(1)
    done += 1
Path("count.txt").write_text("counted\\n")
"""
COUNT_YAML = """
stages:
  count:
    cmd: echo start >> starts && python count.py
    outs: [count.txt]
    meta: {threads: 1, resources: {mem_mb: 500, runtime: 1}}
  wrong:
    cmd: "echo start >> wrong_starts && echo 'error: params.yaml: no such key' && exit 2"
    outs: [wrong.txt]
    meta: {threads: 1, resources: {mem_mb: 500, runtime: 5}}
"""


def count_restarts(cluster: Cluster, output: str) -> int:
    """How often Slurm started the one job again that Snakemake submitted."""
    (job,) = re.findall(r"has been submitted with SLURM jobid (\d+)", output)
    return int(re.search(r"Restarts=(\d+)", cluster.ask("scontrol", "show", "job", job))[1])


@pytest.mark.parametrize(
    ("minutes", "early_s"),
    [
        pytest.param(1, None, id="ended_by_the_limit"),
        pytest.param(3, 60, id="signalled_before_it", marks=pytest.mark.slow),
    ],
)
def test_a_stage_that_saves_passes_time_limits_without_a_person(cluster: Cluster, tmp_path, minutes, early_s):
    root = make_project(tmp_path / "project", COUNT_YAML)
    (root / "count.py").write_text(COUNT.replace("SECONDS", f"{110 * minutes}"))
    profile = root / "profiles/slurm/config.yaml"
    # Slurm may send a signal a minute early, so in a limit of one before the job's Python has begun
    signals = f"--signal=USR1@{early_s} " if early_s else ""
    profile.write_text(profile.read_text().replace("--signal=USR1@120 ", signals))
    limit = ["--set-resources", f"count:runtime={minutes}"]
    output = cluster.run(root, "snakemake", "count", "--profile", "profiles/slurm", *limit, patience_s=PATIENCE_S)
    assert (root / "count.txt").read_text() == "counted\n"
    restarts = count_restarts(cluster, output)
    print(f"{restarts} restarts")
    assert restarts >= 1, "nearly twice as long as the limit"
    assert (root / "starts").read_text().count("start") == restarts + 1
    assert "resumed from step" in (root / "logs/count.log").read_text()


def test_a_users_error_is_not_repeated(cluster: Cluster, tmp_path):
    root = make_project(tmp_path / "project", COUNT_YAML)
    output = cluster.run(root, "snakemake", "wrong", "--profile", "profiles/slurm", check=False, patience_s=PATIENCE_S)
    assert re.search(r"^\s*error: params.yaml: no such key$", output, re.MULTILINE), "the job's log is printed"
    assert count_restarts(cluster, output) == 0
    assert (root / "wrong_starts").read_text().count("start") == 1


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


@pytest.mark.slow
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
    restarts = count_restarts(cluster, output)
    print(f"{restarts} restarts")
    assert restarts >= NUM_LIMITS - 1
    assert "resumed from step" in (root / "logs/pretrain.log").read_text()
    train(alone, epochs)
    assert find_different(alone, root, MADE) == []
