"""Which failed jobs go back into a cluster's queue: only those that saved something at a scheduler's signal."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cluster.requeue import count_in_vain, find_obstacle

SCRIPT = Path(__file__).resolve().parents[2] / "workflow/cluster/requeue.py"
STOPPED = "error: pretrain: stopped by SIGUSR1; rerun the same command to resume from step 1,200\n"
AT_800, AT_1200 = (f"pretrain: seed 1, resumed from step {step} of 9,000\n" for step in ("800", "1,200"))
RUNNING = "RUNNING None"
DVC = "ERROR: failed to reproduce 'pretrain': failed to run: python -m stages.pretrain, exited with 138\n"


@pytest.mark.parametrize(
    ("log", "state", "in_vain", "obstacle"),
    [
        (STOPPED + DVC, RUNNING, 0, None),
        (AT_800 + STOPPED, RUNNING, 0, None),
        ("error: download: stopped by SIGTERM; finished downloads are kept; rerun to resume\n", RUNNING, 0, None),
        (STOPPED, "COMPLETING TimeLimit", 0, None),
        (STOPPED, "COMPLETING None", 0, "Slurm says of the job: COMPLETING None"),
        (STOPPED, "", 0, "Slurm says of the job: nothing"),
        (AT_1200 + STOPPED, RUNNING, 3, None),
        (AT_1200 + STOPPED, RUNNING, 4, "saved nothing new in 4 starts"),
        ("error: stopped by SIGUSR1 before it began; rerun the same command\n", RUNNING, 2, None),
        ("error: stopped by SIGUSR1; rerun the same command to start over\n", RUNNING, 4, "saved nothing new"),
        ("error: params.yaml: pretrain.epochs: must be at least 1\n" + DVC, RUNNING, 0, "not stopped by a signal"),
        ("pretrain: was once stopped by SIGUSR1\n", RUNNING, 0, "not stopped by a signal"),
        ("", RUNNING, 0, "not stopped by a signal"),
    ],
)
def test_a_job_that_saved_at_a_signal_and_came_further_is_repeated(log, state, in_vain, obstacle):
    found = find_obstacle(log, state, in_vain)
    assert found is None if obstacle is None else obstacle in (found or "")


def test_starts_in_vain_are_counted_in_a_row(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert [count_in_vain("7", log) for log in ("", AT_1200 + STOPPED, AT_800 + STOPPED, AT_1200 + STOPPED)] == [1, 2, 0, 1]
    assert count_in_vain("8", "") == 1


@pytest.mark.parametrize(("state", "calls"), [("RUNNING None", ["requeue 7"]), ("COMPLETING None", [])])
def test_slurm_is_asked_to_requeue_the_job_and_the_log_says_so(tmp_path, state, calls):
    for name, text in (("squeue", f"echo {state}"), ("scontrol", f'echo "$@" >> {tmp_path}/calls; kill -9 $PPID')):
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    log = tmp_path / "pretrain.log"
    log.write_text(STOPPED + DVC)
    environ = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}", "SLURM_JOB_ID": "7"}
    done = subprocess.run([sys.executable, str(SCRIPT), str(log)], env=environ, cwd=tmp_path, timeout=60, check=False)
    assert done.returncode != 0, "the job that ends here has not done its work"
    assert ((tmp_path / "calls").read_text().splitlines() if calls else []) == calls
    if not calls:
        assert log.read_text().endswith(
            "note: Slurm job 7 was not put back into the queue: Slurm says of the job: COMPLETING None\n"
        )
