"""profiles/generic under a mock PBS: submit, ask, cancel, and submit again what saved at its limit."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from making_graphs import make_project
from running_tools import make_environment

pytest.importorskip("snakemake_executor_plugin_cluster_generic", reason="make test-cluster installs it")
pytestmark = pytest.mark.slow

PATIENCE_S = 300
# as OpenPBS prints it, as far as the profile reads it; a job is a process group
QSUB = """#!/bin/sh
for script; do :; done
echo "$@" >> {folder}/submitted
id=$(wc -l < {folder}/submitted).server
setsid sh "$script" > /dev/null 2>&1 &
echo $! > {folder}/$id
echo $id
"""
QSTAT = """#!/bin/sh
kill -0 "-$(cat {folder}/$2)" 2> /dev/null || {{ echo "qstat: $2 Job has finished, use -x or -H" >&2; exit 35; }}
printf 'Job Id: %s\\n    Job_Name = x\\n    job_state = R\\n' "$2"
"""
QDEL = """#!/bin/sh
echo "$1" >> {folder}/deleted
kill -TERM "-$(cat {folder}/$1)"
"""
SAVED = "error: train: stopped by SIGTERM; rerun the same command to resume from step 5"
DVC_YAML = f"""
stages:
  limited:
    cmd: >-
      if [ -e seen ]; then echo done > limited.txt; else touch seen; echo "{SAVED}"; exit 143; fi
    outs: [limited.txt]
    meta: {{threads: 2, resources: {{mem_mb: 300, runtime: 90, gpu: 1}}}}
  here:
    cmd: cat limited.txt > here.txt
    deps: [limited.txt]
    outs: [here.txt]
    meta: {{local: true}}
  wrong:
    cmd: 'echo "error: params.yaml: no such key"; exit 2'
    outs: [wrong.txt]
  long:
    cmd: touch begun && sleep 600 && echo slept > long.txt
    outs: [long.txt]
"""


@pytest.fixture
def scheduler(tmp_path) -> Path:
    """A folder with the commands of a mock PBS, and what was asked of it."""
    folder = tmp_path / "scheduler"
    folder.mkdir()
    for name, text in (("qsub", QSUB), ("qstat", QSTAT), ("qdel", QDEL)):
        (folder / name).write_text(text.format(folder=folder))
        (folder / name).chmod(0o755)
    (folder / "submitted").touch()
    return folder


def start(root: Path, scheduler: Path, *targets: str) -> subprocess.Popen[str]:
    environ = make_environment(root) | {"CLUSTER_SCHEDULER": "pbs", "CLUSTER_OPTIONS": "-q short -A project"}
    environ["PATH"] = f"{scheduler}:{environ['PATH']}"
    command = [
        "snakemake",
        "--profile",
        "profiles/generic",
        "--seconds-between-status-checks",
        "1",
        "--latency-wait",
        "5",
        *targets,
    ]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    return subprocess.Popen(command, cwd=root, env=environ, text=True, start_new_session=True, **pipes)


def test_a_stage_that_saved_at_its_limit_is_submitted_again_and_a_local_one_never(tmp_path, scheduler):
    root = make_project(tmp_path / "project", DVC_YAML)
    started = start(root, scheduler, "here")
    output = started.communicate(timeout=PATIENCE_S)[0]
    assert started.returncode == 0, output
    assert (root / "here.txt").read_text() == "done\n"
    submitted = (scheduler / "submitted").read_text().splitlines()
    assert len(submitted) == 2, "once more after it saved; the local stage is none of the scheduler's"
    for words in submitted:
        assert words.startswith("-V -N limited -l select=1:ncpus=2:mem=300mb:ngpus=1 -l walltime=1:30:00 -j oe -o ")
        assert " -q short -A project " in words


def test_a_users_error_is_not_submitted_again(tmp_path, scheduler):
    root = make_project(tmp_path / "project", DVC_YAML)
    started = start(root, scheduler, "wrong")
    output = started.communicate(timeout=PATIENCE_S)[0]
    assert started.returncode == 1
    assert "error: params.yaml: no such key" in output
    assert len((scheduler / "submitted").read_text().splitlines()) == 1


def test_ctrl_c_cancels_what_runs(tmp_path, scheduler):
    root = make_project(tmp_path / "project", DVC_YAML)
    started = start(root, scheduler, "long")
    until = time.monotonic() + PATIENCE_S
    while not (root / "begun").exists():
        assert time.monotonic() < until and started.poll() is None
        time.sleep(0.2)
    os.kill(started.pid, signal.SIGINT)
    output = started.communicate(timeout=PATIENCE_S)[0]
    assert started.returncode != 0, output
    assert (scheduler / "deleted").read_text() == "1.server\n", output


def test_a_job_that_vanished_without_an_exit_code_has_failed_after_a_while(tmp_path, scheduler):
    root = tmp_path / "project"
    (root / ".snakemake/generic").mkdir(parents=True)
    (scheduler / "9.server").write_text("999999999")
    known = {
        "script": "s",
        "name": "n",
        "resources": {},
        "threads": 1,
        "log": "",
        "scheduler": "pbs",
        "now": "9.server",
    }
    note = root / ".snakemake/generic/9.server.json"
    look = [str(Path(__file__).resolve().parents[2] / "profiles/generic/status.py"), "9.server"]
    environ = os.environ | {"PATH": f"{scheduler}:{os.environ['PATH']}"}
    for missing, state in ((None, "running"), (time.time() - 60, "running"), (time.time() - 130, "failed")):
        note.write_text(json.dumps(known | {"exit": str(root / "none"), "missing": missing}))
        assert subprocess.run(look, cwd=root, env=environ, capture_output=True, text=True, check=True).stdout.strip() == state
