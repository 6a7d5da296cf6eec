"""What Slurm is asked for a job: GPUs either way, and the options of the profile."""

from __future__ import annotations

import pytest
from making_graphs import make_project
from running_slurm import Cluster

pytestmark = pytest.mark.slurm

PATIENCE_S = 1200
DVC_YAML = """
stages:
  one:
    cmd: echo $CUDA_VISIBLE_DEVICES $DEPTHMASK_DEVICES > one.txt
    outs: [one.txt]
    meta: {threads: 2, resources: {mem_mb: 300, runtime: 7, gpu: 1}}
"""


@pytest.mark.parametrize("options", [[], ["--config", "gres=gpu"]], ids=["gpus", "gres"])
def test_a_job_has_the_gpu_that_it_asked_for(cluster: Cluster, tmp_path, options):
    root = make_project(tmp_path / "project", DVC_YAML)
    output = cluster.run(root, "snakemake", "--profile", "profiles/slurm", "--verbose", *options, patience_s=PATIENCE_S)
    assert (root / "one.txt").read_text() == "0 1\n", "the node's GPU 0, and one device"
    (call,) = [line for line in output.splitlines() if line.startswith("sbatch call: ")]
    call = call.partition(" --wrap=")[0]
    for words in ("--requeue", "-p main", "-t 7", "--mem 300", "--cpus-per-task=2", "--signal=USR1@120", "--open-mode=append"):
        assert f" {words} " in f"{call} "
    assert call.endswith(" --gres=gpu:1" if options else " --gpus=1")
    assert ("--gpus" in call) != bool(options)
