"""SIGKILL at random moments, of the group, the tool alone or the stage alone: the same command, once, ends as if never killed.

A few kills by default; DEPTHMASK_FUZZ_CASES=24 for all pairs of tool and victim, four times each. Each case follows from its
number, but for how far the run has come by then, which depends on the machine.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest
from fuzzing import count_cases
from running_tools import make_environment, run
from tiny_project import change_params, commit, copy_clone, make_clone

from depthmask.dvc_lock import remove_cut_off_rwlock

pytestmark = pytest.mark.slow

COMMANDS = {"dvc": ["dvc", "repro"], "snakemake": ["snakemake", "--cores", "2"]}
VICTIMS = ("group", "main", "stage")
PLAN = [(tool, victim) for victim in VICTIMS for tool in COMMANDS]
NUM_SHORT = 4
PATIENCE_S = 600
# in git, or kept by DVC; each is compared whole
RESULTS = ("data/split", "data/models", "reports/metrics.json", "reports/per_image.csv", "reports/baselines.json")
RESULTS += ("reports/samples", "reports/photos", "reports/pretrain/history.csv", "reports/finetune/history.csv")
LONGER = {stage: {"samples_per_epoch": 40, "epochs": 2, "batch_size": 8} for stage in ("pretrain", "finetune")}


def read_results(root: Path) -> dict[str, bytes]:
    files = [file for name in RESULTS for file in [root / name, *(root / name).rglob("*")] if file.is_file()]
    return {file.relative_to(root).as_posix(): file.read_bytes() for file in files if file.name != ".snakemake_timestamp"}


def list_leftovers(root: Path) -> list[str]:
    """What no run should leave: half-made files, checkpoints, locks."""
    found = [*root.rglob("*.part"), *root.glob(".checkpoints/*/*"), *root.glob(".snakemake/locks/*")]
    return [path.relative_to(root).as_posix() for path in found if ".git" not in path.parts]


@pytest.fixture(scope="module")
def begun(tmp_path_factory) -> dict[str, Path]:
    """Two clones, so that a case costs half a run: one in which all before training is made, one in which training is."""
    root = make_clone(tmp_path_factory.mktemp("training") / "clone")
    change_params(root, LONGER)
    commit(root, "longer")
    run(root, "dvc", "repro", "split")
    trained = copy_clone(root, tmp_path_factory.mktemp("scoring") / "clone")
    return {"training": root, "scoring": trained}


@pytest.fixture(scope="module")
def seconds(begun) -> dict[str, float]:
    """Finish the second clone's training, and measure how long each half takes when nobody disturbs it."""
    taken = {}
    since = time.monotonic()
    run(begun["scoring"], *COMMANDS["dvc"], "finetune")
    taken["training"] = time.monotonic() - since
    root = copy_clone(begun["scoring"], begun["scoring"].parent / "whole")
    since = time.monotonic()
    run(root, *COMMANDS["dvc"])
    taken["scoring"] = time.monotonic() - since
    begun["whole"] = root
    return taken


def start(root: Path, command: list[str]) -> subprocess.Popen:
    environ = make_environment(root) | {"DEPTHMASK_CHECKPOINT_STEPS": "2"}
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return subprocess.Popen(command, cwd=root, env=environ, start_new_session=True, **quiet)


def kill(started: subprocess.Popen, victim: str, after_s: float) -> str | None:
    """Kill after so many seconds, or once there is a stage to be killed; returns what ran then, None if all had ended before."""
    time.sleep(after_s)
    stage = None
    while started.poll() is None and stage is None:
        try:
            for process in psutil.Process(started.pid).children(recursive=True):
                words = process.cmdline()
                if words[1:2] == ["-m"] and words[2].startswith("stages."):
                    stage = process
                    break
        except (psutil.NoSuchProcess, IndexError):
            continue
        if stage is not None or victim != "stage":
            break
        time.sleep(0.01)
    if started.poll() is not None:
        return None
    name = "between stages" if stage is None else stage.cmdline()[2] if stage.is_running() else "a stage's end"
    if victim == "group":
        os.killpg(started.pid, signal.SIGKILL)
    elif victim == "main":
        started.kill()
    elif stage is not None:
        stage.kill()
    started.wait(PATIENCE_S)
    return name


@pytest.mark.parametrize("number", range(count_cases(NUM_SHORT)))
def test_the_same_command_resumes_a_killed_run(begun, seconds, tmp_path, number):
    tool, victim = PLAN[number % len(PLAN)]
    half = "training" if number // len(PLAN) % 2 == 0 else "scoring"
    command = COMMANDS[tool] + (["finetune"] if half == "training" else [])
    after_s, stage = random.Random(number).uniform(0.05, 0.95) * seconds[half], None
    while stage is None:
        shutil.rmtree(tmp_path / "clone", ignore_errors=True)
        root = copy_clone(begun[half], tmp_path / "clone")
        stage = kill(start(root, command), victim, after_s)
        after_s /= 1 if stage else 2  # the machine is faster than it was
    if tool == "dvc":
        # as `make repro` does first, and Snakemake here: DVC itself cannot start once a kill has truncated this list of its own
        remove_cut_off_rwlock(root / ".dvc/tmp")
    done = run(root, *command, check=False)
    print(f"case {number}: {tool}, {victim} killed after {after_s:.1f} s ({stage}), exit code {done.returncode}")
    logs = done.stdout + "".join(path.read_text() for path in (root / "logs").glob("*.log"))
    assert done.returncode == 0, f"{stage}\n{logs[-6000:]}"
    assert "Traceback" not in logs
    assert list_leftovers(root) == []
    found, wanted = read_results(root), read_results(begun["whole" if half == "scoring" else "scoring"])
    assert [name for name in wanted if found.get(name) != wanted[name]] == []
    assert set(found) == set(wanted)
