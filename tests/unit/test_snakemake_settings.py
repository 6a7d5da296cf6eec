"""What Snakemake is started with: refused where the graph cannot run, passed on to a cluster as the graph and the user say."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from making_graphs import make_project
from running_tools import run

DVC_YAML = """
stages:
  fetch:
    cmd: echo $DEPTHMASK_DEVICES > fetch.txt
    outs: [fetch.txt]
    meta: {local: true}
  train:
    cmd: echo $DEPTHMASK_DEVICES > train.txt
    outs: [train.txt]
    meta: {threads: 1, resources: {mem_mb: 100, gpu: 3}}
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    return make_project(tmp_path_factory.mktemp("settings") / "project", DVC_YAML)


@pytest.mark.parametrize(
    ("options", "printed"),
    [
        (["--shared-fs-usage", "none"], "without a shared disk (no input-output, persistence, sources)"),
        (["--sdm", "conda"], "error: --software-deployment-method conda: jobs run with the Python that runs Snakemake"),
        (["--sdm", "apptainer"], "error: --software-deployment-method apptainer"),
    ],
)
def test_what_cannot_work_is_refused_in_one_line(project, options, printed):
    done = run(project, "snakemake", "--cores", "1", *options, check=False)
    lines = [line for line in done.stdout.splitlines() if not line.startswith(("Using ", "Assuming "))]
    assert done.returncode == 1
    assert len(lines) == 1
    assert printed in lines[0]
    assert not (project / ".snakemake/dvc").exists(), "nothing was looked at"


# a scheduler that runs a job at once, and keeps what Snakemake said of it
SUBMIT = """#!/bin/sh
grep '^# properties' "$1" >> submitted.txt
"$1" > /dev/null 2>&1
echo 1
"""


def submit(project: Path, root: Path, *options: str) -> dict[str, dict]:
    """Run all by the executor cluster-generic; returns what was submitted, by rule."""
    pytest.importorskip("snakemake_executor_plugin_cluster_generic")
    shutil.copytree(project, root)
    (root / "submit.sh").write_text(SUBMIT)
    (root / "submit.sh").chmod(0o755)
    run(
        root, "snakemake", "--executor", "cluster-generic", "--cluster-generic-submit-cmd", "./submit.sh", "--jobs", "1", *options
    )
    lines = (root / "submitted.txt").read_text().splitlines()
    return {job["rule"]: job for job in (json.loads(line.removeprefix("# properties = ")) for line in lines)}


def test_a_local_stage_is_not_submitted_and_a_gpu_is_requested_as_a_gpu(project, tmp_path):
    submitted = submit(project, tmp_path / "project")
    assert set(submitted) == {"train"}
    assert submitted["train"]["resources"]["gpu"] == 3
    assert "gres" not in submitted["train"]["resources"]
    assert (tmp_path / "project/train.txt").read_text() == "3\n"


def test_a_gpu_is_requested_as_a_gres_and_a_local_stage_submitted_where_the_user_says_so(project, tmp_path):
    submitted = submit(project, tmp_path / "project", "--config", "gres=gpu:a100", "on_nodes=fetch,other")
    assert set(submitted) == {"fetch", "train"}
    assert submitted["train"]["resources"]["gres"] == "gpu:a100:3"
    assert "gpu" not in submitted["train"]["resources"]
    assert (tmp_path / "project/train.txt").read_text() == "3\n"
