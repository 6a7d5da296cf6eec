"""Going back to params that were run before restores their results, here and in another clone, instead of training again."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from running_tools import TOOLS, is_dvc_clean, is_snakemake_done, run, run_dvc, run_snakemake
from tiny_project import change_params, commit, copy_clone

pytestmark = pytest.mark.slow

BELOW_THE_SPLIT = {"check", "split", "pretrain", "finetune", "evaluate", "photos", "report"}


def read_results(root: Path) -> dict[str, bytes]:
    """Models and whatever git keeps of the results, run records too, which no two runs share."""
    files = [*(root / "data/models").iterdir(), *(root / "reports").rglob("*.json"), *(root / "reports").rglob("*.csv")]
    return {str(path.relative_to(root)): path.read_bytes() for path in files}


@pytest.mark.parametrize("tool", TOOLS)
def test_params_a_b_a_train_twice(made_by_dvc, tmp_path, tool):
    root = copy_clone(made_by_dvc, tmp_path / "clone")
    first = read_results(root)
    change_params(root, {"finetune": {"batch_size": 4}})
    assert TOOLS[tool](root) == {"check", "finetune", "evaluate", "photos", "report"}
    assert read_results(root) != first
    change_params(root, {"finetune": {"batch_size": 8}})
    assert TOOLS[tool](root) == {"check"}
    assert read_results(root) == first
    assert is_dvc_clean(root)
    assert is_snakemake_done(root)
    assert run(root, "git", "status", "--porcelain").stdout == ""


def test_runs_pushed_by_one_clone_are_restored_in_another(made_by_dvc, tmp_path):
    root = copy_clone(made_by_dvc, tmp_path / "clone")
    first = read_results(root)
    change_params(root, {"compose": {"shadow": 0.3}})
    assert run_dvc(root) == BELOW_THE_SPLIT
    commit(root, "another shadow")
    run(root, "dvc", "remote", "add", "--default", "store", str(tmp_path / "remote"))
    run(root, "dvc", "push", "--quiet")
    pushed = run(root, "python", "-m", "depthmask", "runs", "push").stdout  # after a note that another checkout is installed
    assert re.search(r"^pushed \d+ runs, \d+ new files$", pushed, re.MULTILINE)
    run(tmp_path, "git", "clone", "--quiet", str(root), "other")
    other = tmp_path / "other"
    run(other, "dvc", "remote", "add", "--default", "store", str(tmp_path / "remote"))
    run(other, "dvc", "pull", "--quiet")
    change_params(other, {"compose": {"shadow": 0.35}})
    untouched = copy_clone(other, tmp_path / "untouched")
    assert run_dvc(other, "--pull") == {"check"}  # which fetches the runs, and what they made where it is needed
    assert read_results(other) == first
    run(untouched, "python", "-m", "depthmask", "runs", "pull")
    assert run_snakemake(untouched) == {"check"}
    assert read_results(untouched) == first
