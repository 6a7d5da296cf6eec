"""The project's graphs on two nodes, looked at from the login node all the time: the same bytes as on one machine."""

from __future__ import annotations

from pathlib import Path

import pytest
from making_layouts import WRITERS, make_composites
from running_slurm import Cluster
from running_tools import find_different, require_nothing_to_do, run_dvc
from tiny_project import change_params, commit, copy_clone, make_clone, make_leaderboard_clone
from watching_runs import look_every_second

pytestmark = [pytest.mark.slurm, pytest.mark.slow]

PATIENCE_S = 1800  # on a busy machine
MADE = ("data/models/pretrain.safetensors", "data/models/finetune.safetensors", "data/split/train.csv", "data/store/index.json")
MADE += ("reports/metrics.json", "reports/per_image.csv", "reports/pretrain/history.csv", "reports/finetune/history.csv")
RANKED = ("data/models/default-0.safetensors", "data/models/dilated_small-0.safetensors", "reports/score/default-0.json")
RANKED += ("reports/leaderboard.json", "reports/baselines.json")


@pytest.fixture(scope="module")
def untouched(tmp_path_factory) -> Path:
    """A clone whose source is packed in 8 shards."""
    root = make_clone(tmp_path_factory.mktemp("sharded") / "clone")
    changes, _ = WRITERS["flat_numbered"](root / "set", make_composites(4, 6, 2, size_px=64))
    source = {"download": {"source": "flat_numbered", "path": "set"} | changes, "pack": {"shards": 8}}
    change_params(root, source | {"split": {"test": 0.3, "validation": 0.3}})
    commit(root, "pre-composited samples")
    return root


def test_the_main_graph_with_a_sharded_pack_while_it_is_looked_at(cluster: Cluster, untouched, tmp_path):
    alone = copy_clone(untouched, tmp_path / "alone")
    run_dvc(alone)
    root = copy_clone(untouched, tmp_path / "clone")
    with look_every_second(cluster, root) as looks:
        output = cluster.run(root, "snakemake", "--profile", "profiles/slurm", patience_s=PATIENCE_S)
    print(f"{looks.number} looks, {looks.number_busy} busy, {len(looks.failures)} failures")
    assert looks.failures == []
    assert looks.number - looks.number_busy >= 4
    assert find_different(alone, root, MADE) == []
    nodes = cluster.ask("squeue", "--states=all", "--noheader", "--format=%N %T").splitlines()
    assert {line.split()[1] for line in nodes} == {"COMPLETED"}
    assert output.count("has been submitted with SLURM jobid") == len(nodes)
    for stage in ("check", "download", "weights", "report"):
        assert not list((root / ".snakemake/slurm_logs").glob(f"*_{stage}")), "it ran on the login node"
    assert len(list((root / ".snakemake/slurm_logs").glob("group_shards*/*.log"))) == 2, "two jobs of four shards"
    require_nothing_to_do(root)


@pytest.fixture(scope="module")
def ranked(tmp_path_factory) -> Path:
    """A clone with a small leaderboard."""
    return make_leaderboard_clone(tmp_path_factory.mktemp("ranked") / "clone", seeds=(0,))


def test_the_leaderboard_while_it_is_looked_at(cluster: Cluster, ranked, tmp_path):
    alone = copy_clone(ranked, tmp_path / "alone") / "leaderboard"
    run_dvc(alone)
    root = copy_clone(ranked, tmp_path / "clone") / "leaderboard"
    with look_every_second(cluster, root) as looks:
        cluster.run(root, "snakemake", "--profile", "../profiles/slurm", patience_s=PATIENCE_S)
    print(f"{looks.number} looks, {looks.number_busy} busy, {len(looks.failures)} failures")
    assert looks.failures == []
    assert find_different(alone, root, RANKED) == []
