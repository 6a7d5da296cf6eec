"""Jobs side by side on two nodes, of stages that take no time themselves, while the login node looks at them all the time."""

from __future__ import annotations

import pytest
from making_graphs import make_project
from running_slurm import Cluster
from running_tools import require_nothing_to_do
from watching_runs import look_every_second

pytestmark = pytest.mark.slurm

PATIENCE_S = 1800
NUM_BRANCHES = 6
DVC_YAML = f"""
stages:
  first:
    cmd: echo first > first.txt
    outs: [first.txt]
    meta: {{local: true}}
  branch:
    foreach: {list(range(NUM_BRANCHES))}
    do:
      cmd: sleep 3 && echo ${{item}} | cat first.txt - > branch_${{item}}.txt
      deps: [first.txt]
      params: [report.title]
      outs: ["branch_${{item}}.txt"]
      meta: {{threads: 1, resources: {{mem_mb: 500, runtime: 10}}}}
  last:
    cmd: cat branch_*.txt > last.txt
    deps: {[f"branch_{number}.txt" for number in range(NUM_BRANCHES)]}
    outs: [last.txt]
    meta: {{threads: 1, resources: {{mem_mb: 500, runtime: 10}}}}
"""


def test_no_look_hurts_a_job_and_no_job_a_look(cluster: Cluster, tmp_path):
    root = make_project(tmp_path / "project", DVC_YAML)
    with look_every_second(cluster, root) as looks:
        output = cluster.run(root, "snakemake", "--profile", "profiles/slurm", patience_s=PATIENCE_S)
    print(f"{looks.number} looks, {looks.number_busy} busy, {len(looks.failures)} failures")
    assert looks.failures == []
    assert looks.number - looks.number_busy >= 4
    assert (root / "last.txt").read_text() == "".join(f"first\n{number}\n" for number in range(NUM_BRANCHES))
    assert output.count("has been submitted with SLURM jobid") == NUM_BRANCHES + 1
    states = cluster.ask("squeue", "--states=all", "--noheader", "--format=%T %Z").splitlines()
    assert [line.split()[0] for line in states if line.endswith(str(root))] == ["COMPLETED"] * (NUM_BRANCHES + 1)
    require_nothing_to_do(root)
