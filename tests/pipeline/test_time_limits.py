"""Signals to stop, as schedulers send them at time limits, four times in a training: it ends with an undisturbed one's bytes.

No scheduler is needed for that: whoever stands for it here signals every process of a job, whenever another checkpoint has been
saved, so that each signal falls into the middle of the training.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest
from running_tools import find_different, make_environment, run_dvc
from tiny_project import change_params, commit, copy_clone, make_clone

pytestmark = pytest.mark.slow

SCRIPT = "profiles/slurm/one_job.sh"
SAME = ("data/models/pretrain.safetensors", "reports/pretrain/history.csv")
SIGNALS = (signal.SIGUSR1, signal.SIGTERM, signal.SIGUSR2, signal.SIGTERM)
STOPPED = re.compile(r"^error: pretrain: stopped by (SIG\w+); rerun the same command to resume from step (\d+)$", re.MULTILINE)
BEGUN = re.compile(r"^pretrain  32 px, ", re.MULTILINE)
RESUMED = re.compile(r"^pretrain  .*, resumed from step (\d+) of 48$", re.MULTILINE)
LONGER = {"pretrain": {"samples_per_epoch": 192, "epochs": 2, "batch_size": 8}}
PATIENCE_S = 240


@pytest.fixture(scope="module")
def untouched(tmp_path_factory) -> Path:
    """A clone in which all before training is made."""
    root = make_clone(tmp_path_factory.mktemp("untouched") / "clone")
    change_params(root, LONGER)
    commit(root, "longer")
    run_dvc(root, "split", "weights")
    return root


@pytest.fixture(scope="module")
def undisturbed(untouched, tmp_path_factory) -> Path:
    root = copy_clone(untouched, tmp_path_factory.mktemp("undisturbed") / "clone")
    run_dvc(root, "pretrain")
    return root


def make_environ(root: Path, workers: int) -> dict[str, str]:
    return make_environment(root) | {"DEPTHMASK_WORKERS": str(workers), "DEPTHMASK_CHECKPOINT_STEPS": "4"}


def read_logs(root: Path) -> str:
    """What the tool and its stage have printed so far."""
    return (root / "output.txt").read_text() + read_stage(root)


def read_stage(root: Path) -> str:
    """What the stage has printed: under Snakemake in this attempt, which prints it once more if it fails."""
    log = root / "logs/pretrain.log"
    return (log if log.exists() else root / "output.txt").read_text()


def wait_for_checkpoint(root: Path, started: subprocess.Popen, starts: int) -> None:
    """Until the training has begun for the `starts`-th time, and saved since then."""

    def read_date() -> int:
        dates = [0]
        for checkpoint in root.glob(".checkpoints/pretrain-*/last.safetensors"):
            with contextlib.suppress(FileNotFoundError):
                dates.append(checkpoint.stat().st_mtime_ns)
        return max(dates)

    until, date = time.monotonic() + PATIENCE_S, None
    while date is None or read_date() <= date:
        if date is None and len(BEGUN.findall(read_stage(root))) == starts:
            date = read_date()
        assert started.poll() is None and time.monotonic() < until, read_logs(root)[-8000:]
        time.sleep(0.002)


def require_undisturbed_end(root: Path, undisturbed: Path, logs: str, names: list[str]) -> None:
    """The signals were named, each step was resumed from, and the result has the same bytes; nothing is left behind."""
    assert [name for name, _ in STOPPED.findall(logs)] == names
    steps = [int(step) for _, step in STOPPED.findall(logs)]
    assert [int(step) for step in RESUMED.findall(logs)] == steps and sorted(set(steps)) == steps
    assert "Traceback" not in logs and "out of memory" not in logs and "killed, " not in logs
    assert find_different(root, undisturbed, SAME) == []
    assert not list(root.glob(".checkpoints/*/*")) and not list(root.glob(".dvc/tmp/leases/*"))


@pytest.mark.parametrize("workers", [0, 2])
def test_dvc_and_all_below_it_are_signalled_and_the_same_command_resumes(untouched, undisturbed, tmp_path, workers):
    """DVC is gone at once; its stage saves and ends, and the next DVC waits for that."""
    root = copy_clone(untouched, tmp_path / "clone")
    environ, command = make_environ(root, workers), ["dvc", "repro", "pretrain"]
    with (root / "output.txt").open("w") as output:
        quiet = {"stdout": output, "stderr": subprocess.STDOUT, "start_new_session": True}
        for starts, number in enumerate(SIGNALS, 1):
            started = subprocess.Popen(command, cwd=root, env=environ, **quiet)
            wait_for_checkpoint(root, started, starts)
            os.killpg(started.pid, number)
            assert started.wait(PATIENCE_S) == -number
        assert subprocess.run(command, cwd=root, env=environ, stdout=output, stderr=subprocess.STDOUT).returncode == 0
    require_undisturbed_end(root, undisturbed, read_stage(root), [number.name for number in SIGNALS])


def make_fake_slurm(folder: Path) -> Path:
    """A folder for PATH in which scontrol only writes down what it is asked."""
    folder.mkdir()
    (folder / "scontrol").write_text(f'#!/bin/sh\necho "$@" >> {folder}/asked\n')
    (folder / "scontrol").chmod(0o755)
    return folder


def start_job(root: Path, slurm: Path, restarts: int, *command: str, workers: int = 2) -> subprocess.Popen:
    environ = make_environ(root, workers)
    environ |= {"PATH": f"{slurm}{os.pathsep}{environ['PATH']}", "SLURM_JOB_ID": "7", "SLURM_RESTART_COUNT": str(restarts)}
    with (root / "output.txt").open("a") as output:
        quiet = {"stdout": output, "stderr": subprocess.STDOUT, "start_new_session": True}
        return subprocess.Popen(["bash", SCRIPT, *command], cwd=root, env=environ, **quiet)


def read_asked(slurm: Path) -> list[str]:
    """What changes a job; Snakemake's plugin for Slurm, where it is installed, reads the configuration beside that."""
    asked = (slurm / "asked").read_text().splitlines() if (slurm / "asked").exists() else []
    return [line for line in asked if not line.startswith("show ")]


def signal_script(started: subprocess.Popen) -> None:
    """As Slurm's --signal=B: does: the script alone, which must pass it on."""
    started.send_signal(signal.SIGUSR1)


def signal_all(started: subprocess.Popen) -> None:
    for process in [*psutil.Process(started.pid).children(recursive=True), started]:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(signal.SIGTERM)


@pytest.mark.parametrize(
    ("command", "code"), [(["dvc", "repro", "pretrain"], 255), (["snakemake", "--cores", "2", "--until", "pretrain"], 1)]
)
def test_a_whole_run_as_one_slurm_job_goes_back_into_the_queue_until_it_is_done(untouched, undisturbed, tmp_path, command, code):
    root, slurm, logs = copy_clone(untouched, tmp_path / "clone"), make_fake_slurm(tmp_path / "slurm"), ""
    for restarts in range(4):
        started = start_job(root, slurm, restarts, *command)
        wait_for_checkpoint(root, started, 1)
        signal_script(started)
        assert started.wait(PATIENCE_S) == code, read_logs(root)
        assert read_asked(slurm) == ["requeue 7"] * (restarts + 1), read_logs(root)
        logs += read_stage(root)
        for log in (root / "output.txt", root / "logs/pretrain.log"):
            log.unlink(missing_ok=True)
    assert start_job(root, slurm, 4, *command).wait(PATIENCE_S) == 0, read_logs(root)
    require_undisturbed_end(root, undisturbed, logs + read_stage(root), ["SIGUSR1"] * 4)
    assert len(read_asked(slurm)) == 4


def test_what_scancel_or_a_mistake_has_ended_does_not_go_back_into_the_queue(untouched, tmp_path):
    root, slurm = copy_clone(untouched, tmp_path / "clone"), make_fake_slurm(tmp_path / "slurm")
    started = start_job(root, slurm, 0, "dvc", "repro", "pretrain")
    wait_for_checkpoint(root, started, 1)
    signal_all(started)
    assert started.wait(PATIENCE_S) == 255
    assert [name for name, _ in STOPPED.findall(read_stage(root))] == ["SIGTERM"]
    change_params(root, {"pretrain": {"learning_rate": -1.0}})
    assert start_job(root, slurm, 0).wait(PATIENCE_S) == 255
    assert "learning_rate" in read_logs(root)
    assert read_asked(slurm) == []


def start_snakemake(root: Path, workers: int) -> subprocess.Popen:
    command = ["snakemake", "--cores", "2", "--until", "pretrain"]
    with (root / "output.txt").open("w") as output:
        quiet = {"stdout": output, "stderr": subprocess.STDOUT, "start_new_session": True}
        return subprocess.Popen(command, cwd=root, env=make_environ(root, workers), **quiet)


@pytest.mark.parametrize("workers", [0, 2])
def test_snakemake_starts_a_signalled_job_again_until_it_is_done(untouched, undisturbed, tmp_path, workers):
    """As on a cluster, where the main process gets no signal: one run, and nobody beside it."""
    root = copy_clone(untouched, tmp_path / "clone")
    main, until = start_snakemake(root, workers), time.monotonic() + len(SIGNALS) * PATIENCE_S
    for restarts, number in enumerate(SIGNALS):
        while (root / "output.txt").read_text().count("Trying to restart job") < restarts:
            assert main.poll() is None and time.monotonic() < until, read_logs(root)[-8000:]
            time.sleep(0.01)
        wait_for_checkpoint(root, main, 1)
        for process in psutil.Process(main.pid).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(number)
    assert main.wait(PATIENCE_S) == 0, read_logs(root)[-8000:]
    # Snakemake prints what a failed attempt has printed; the last one has only its log
    require_undisturbed_end(root, undisturbed, read_logs(root), [number.name for number in SIGNALS])


def test_snakemake_does_not_repeat_a_mistake_and_ends_with_its_jobs_when_it_is_signalled_itself(untouched, tmp_path):
    root = copy_clone(untouched, tmp_path / "clone")
    for number in (signal.SIGUSR1, signal.SIGTERM):
        main = start_snakemake(root, 2)
        wait_for_checkpoint(root, main, 1)
        os.killpg(main.pid, number)
        assert main.wait(PATIENCE_S) == 1, read_logs(root)
        assert [name for name, _ in STOPPED.findall((root / "logs/pretrain.log").read_text())] == [number.name]
        assert not psutil.pid_exists(main.pid) and not list(root.glob(".dvc/tmp/leases/*")), "it has waited for its job"
        (root / "logs/pretrain.log").unlink()
    script = root / "workflow/stages/pretrain.py"
    mistake = "    from depthmask.base.errors import UserError\n\n    raise UserError('a mistake')\n"
    script.write_text(script.read_text().replace("    return run_training_stage(", f"{mistake}    return run_training_stage("))
    assert start_snakemake(root, 2).wait(PATIENCE_S) == 1
    assert "error: a mistake" in read_logs(root) and "Trying to restart" not in read_logs(root)
