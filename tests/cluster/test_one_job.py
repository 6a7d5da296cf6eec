"""`dvc repro` as one Slurm job: it passes time limits without a person, and what has failed or was cancelled stays so."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest
from making_graphs import make_project
from running_slurm import Cluster
from test_limits_on_nodes import COUNT, COUNT_YAML

pytestmark = pytest.mark.slurm

SCRIPT = "profiles/slurm/one_job.sh"
PATIENCE_S = 1200
# a limit of a minute, and half of it to save: Slurm looks at limits every 30 s
SHORT = ["--partition=minute", "--time=1", "--signal=B:USR1@30"]


@pytest.fixture
def project(tmp_path) -> Path:
    root = make_project(tmp_path / "project", COUNT_YAML)
    (root / "count.py").write_text(COUNT.replace("SECONDS", "90"))
    return root


def submit(cluster: Cluster, root: Path, stage: str, *options: str) -> str:
    """Returns the number of the job."""
    return cluster.run(root, "sbatch", "--parsable", "--output=output.txt", *options, SCRIPT, "dvc", "repro", stage).strip()


def wait_for_end(cluster: Cluster, job: str) -> str:
    """Until it neither runs nor waits; returns what Slurm knows of it."""
    until = time.monotonic() + PATIENCE_S
    while cluster.ask("squeue", "--noheader", f"--jobs={job}", "--states=PENDING,RUNNING,COMPLETING,REQUEUED", "--format=%T"):
        assert time.monotonic() < until, cluster.ask("scontrol", "show", "job", job)
        time.sleep(1)
    return cluster.ask("scontrol", "show", "job", job)


def read_restarts(known: str) -> int:
    return int(re.search(r"Restarts=(\d+)", known)[1])


def test_dvc_repro_passes_time_limits_and_resumes(cluster: Cluster, project):
    known = wait_for_end(cluster, submit(cluster, project, "count", *SHORT))
    printed = (project / "output.txt").read_text()
    assert "JobState=COMPLETED" in known, f"{known}\n{printed}"
    assert (project / "count.txt").read_text() == "counted\n" and "count:" in (project / "dvc.lock").read_text()
    restarts = read_restarts(known)
    assert restarts >= 1, "a minute and a half in limits of one"
    assert printed.count("stopped by SIGUSR1") == restarts and printed.count("count: resumed from step") == restarts
    assert (project / "starts").read_text().count("start") == restarts + 1


def test_a_mistake_and_a_cancelled_job_do_not_return(cluster: Cluster, project):
    known = wait_for_end(cluster, submit(cluster, project, "wrong"))
    assert "JobState=FAILED" in known and read_restarts(known) == 0
    assert (project / "wrong_starts").read_text().count("start") == 1
    job = submit(cluster, project, "count")
    until = time.monotonic() + PATIENCE_S
    while not (project / "starts").exists():
        assert time.monotonic() < until
        time.sleep(0.1)
    time.sleep(2)
    cluster.ask("scancel", job)
    known = wait_for_end(cluster, job)
    assert "JobState=CANCELLED" in known and read_restarts(known) == 0
    assert "stopped by SIGTERM" in (project / "output.txt").read_text() and (project / "saved").exists()
