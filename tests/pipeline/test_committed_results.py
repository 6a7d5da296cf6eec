"""dvc.lock and the results in git belong to the code, params and data that are committed beside them."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import yaml
from running_tools import run

from tools.committed_results import find_stale, list_results, main

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[2]

GRAPH = {
    "stages": {
        "first": {
            "cmd": "mkdir -p made && cp lib/a.py made/data && echo 1 > score.json",
            "deps": ["lib", "data.txt"],
            "params": ["seed"],
            "outs": ["made", {"score.json": {"cache": False}}],
        },
        "second": {"cmd": "cp made/data last.txt", "deps": ["made/data"], "outs": [{"last.txt": {"cache": False}}]},
    }
}


def test_the_committed_lock_belongs_to_the_committed_code_params_and_data(monkeypatch):
    listed = subprocess.run(["git", "ls-files", "dvc.lock"], cwd=ROOT, stdout=subprocess.PIPE, check=False)
    if not listed.stdout:
        pytest.skip("no dvc.lock is in git: make results, then commit")
    monkeypatch.chdir(ROOT)
    stale = find_stale()
    assert not stale, f"run make results and commit what it stages; stale stages: {'; '.join(stale)}"


@pytest.fixture
def fresh_clone(tmp_path, monkeypatch):
    """Of a project of two stages whose results are committed: it has neither DVC's cache nor what is cached."""
    origin, clone = tmp_path / "origin", tmp_path / "clone"
    (origin / "lib").mkdir(parents=True)
    (origin / "lib/a.py").write_text("1\n")
    (origin / "lib/b.py").write_text("2\n")
    (origin / "data.txt").write_text("3\n")
    (origin / "params.yaml").write_text("seed: 0\nother: 1\n")
    (origin / "dvc.yaml").write_text(yaml.safe_dump(GRAPH))
    (origin / ".gitignore").write_text("/made\n")
    monkeypatch.chdir(origin)
    run(origin, "git", "init", "--quiet")
    run(origin, "dvc", "init", "--quiet")
    run(origin, "dvc", "repro", "--quiet")
    assert main(["--add"]) == 0
    run(origin, "git", "add", "--all")
    run(origin, "git", "commit", "--quiet", "--message", "first")
    run(tmp_path, "git", "clone", "--quiet", str(origin), str(clone))
    monkeypatch.chdir(clone)
    return clone


def test_results_in_git_are_the_lock_and_what_is_not_cached(fresh_clone):
    assert list_results() == ["dvc.lock", "last.txt", "score.json"]
    assert {"dvc.lock", "last.txt", "score.json"} <= {path.name for path in fresh_clone.iterdir()}
    assert not (fresh_clone / "made").exists()


def test_a_fresh_clone_is_judged_without_outputs(fresh_clone):
    assert find_stale() == []
    (fresh_clone / "params.yaml").write_text("seed: 0\nother: 2\n")  # no stage reads it
    assert find_stale() == []


def _edit_library(root):
    (root / "lib/b.py").write_text("20\n")


def _add_to_library(root):
    (root / "lib/c.py").write_text("20\n")


def _remove_data(root):
    (root / "data.txt").unlink()


def _change_params(root):
    (root / "params.yaml").write_text("seed: 1\nother: 1\n")


def _change_command(root):
    graph = {"stages": GRAPH["stages"] | {"second": GRAPH["stages"]["second"] | {"cmd": "cp made/data  last.txt; true"}}}
    (root / "dvc.yaml").write_text(yaml.safe_dump(graph))


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (_edit_library, "first: lib"),
        (_add_to_library, "first: lib"),
        (_remove_data, "first: data.txt"),
        (_change_params, "first: params.yaml seed"),
        (_change_command, "second: command"),
    ],
)
def test_a_change_is_named_with_its_stage(fresh_clone, capsys, change, line):
    change(fresh_clone)
    assert find_stale() == [line]
    assert main([]) == 1
    assert f"changed since dvc.lock was written: {line}\n" in capsys.readouterr().out


def test_what_is_staged_is_said(fresh_clone, capsys):
    assert main(["--add"]) == 0
    assert capsys.readouterr().out == "results are as committed\n"
    (fresh_clone / "score.json").write_text("2\n")
    (fresh_clone / "stray.txt").write_text("2\n")
    assert main(["--add"]) == 0
    assert capsys.readouterr().out == "staged 1 of 3 results: score.json\n"
    (fresh_clone / "last.txt").unlink()
    assert main(["--add"]) == 1
