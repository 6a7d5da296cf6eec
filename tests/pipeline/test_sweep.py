"""A sweep's own graph on a tiny budget: both tools make the same trials, killed or not, and it ends in a recipe that runs.

The first test follows docs/sweeps.md.
"""

from __future__ import annotations

import csv
import re
import shutil
from pathlib import Path

import pytest
import yaml
from reading_pages import list_commands, list_steps
from running_tools import find_different, is_dvc_clean, is_snakemake_done, kill_when, run
from tiny_project import ROOT, commit, copy_clone, make_clone

from depthmask.params import load_params

pytestmark = pytest.mark.slow

TRIALS = ("t000", "t001", "t002", "t003")
SMALL = {"trials": 4, "round_size": 2, "budget": {"kind": "steps", "amount": 6}, "score_images": 6}
SAME = [
    *(f"data/models/{name}.safetensors" for name in TRIALS),
    *(f"reports/train/{name}/{file}" for name in TRIALS for file in ("history.csv", "outcome.json")),
    *(f"reports/score/r{number // 2}/{name}.json" for number, name in enumerate(TRIALS)),
    *(f"reports/trials/r{number // 2}/{name}.json" for number, name in enumerate(TRIALS)),
    *(f"reports/{name}" for name in ("sweep.csv", "sweep.md", "sweep.html", "sweep.json", "importance.csv", "best.yaml")),
]
STEPS = [step for step in list_steps(ROOT / "docs/sweeps.md") if step[0] == "Run one"]
PATIENCE_S = 600


def change(root: Path, values: dict) -> None:
    path = root / "sweep/params.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | values, sort_keys=False))


@pytest.fixture(scope="module")
def untouched(tmp_path_factory) -> Path:
    root = make_clone(tmp_path_factory.mktemp("sweep") / "clone")
    for made in ("reports", "dvc.lock", "data/check.txt"):
        shutil.rmtree(root / "sweep" / made, ignore_errors=True)
        (root / "sweep" / made).unlink(missing_ok=True)
    return root


@pytest.fixture(scope="module")
def followed(untouched, tmp_path_factory) -> Path:
    """The page's steps, with its YAML and then a tiny budget."""
    root = copy_clone(untouched, tmp_path_factory.mktemp("followed") / "clone")
    for _, language, text in STEPS:
        if language == "yaml":
            change(root, yaml.safe_load(text))
            change(root, SMALL)
            commit(root, "a tiny sweep")
            continue
        for command in list_commands(text):
            # make would set up an environment of its own
            run(root, "bash", "-c", command.replace("make sweep", "cd sweep && snakemake --cores 2"))
    return root


def test_the_page_leads_from_a_space_to_a_trained_recipe(followed):
    rows = list(csv.DictReader((followed / "sweep/reports/sweep.csv").open()))
    assert sorted(row["trial"] for row in rows) == list(TRIALS)
    assert [row["rank"] for row in rows] == ["1", "2", "3", "4"]
    assert {row["steps"] for row in rows} == {"6"}
    scores = [float(row["score"]) for row in rows]
    assert scores == sorted(scores, reverse=True)
    best, params = rows[0], load_params(followed / "params.yaml")
    assert params.pretrain.learning_rate == params.finetune.learning_rate == float(best["pretrain.learning_rate"])
    assert params.loss.depth.log_gradient == float(best["loss.depth.log_gradient"])
    assert (followed / "reports/metrics.json").is_file()
    page = (followed / "sweep/reports/sweep.html").read_text()
    assert all(name in page for name in TRIALS)


def test_after_one_tool_nothing_is_left_to_do_for_both_and_the_main_graph_knows_nothing_of_it(followed, tmp_path):
    root = copy_clone(followed, tmp_path / "clone")
    run(root, "git", "checkout", "--quiet", "params.yaml")  # the recipe changed what the sweep began with
    assert is_dvc_clean(root / "sweep")
    assert is_snakemake_done(root / "sweep")
    assert "sweep" not in run(root, "dvc", "stage", "list", "--all", "--name-only").stdout


def kill_while_training(root: Path) -> None:
    """Start DVC, and kill it with all its children once the second trial has saved a checkpoint."""
    run(root, "depthmask", "sweep")

    def is_second_trial() -> bool:
        return any(root.glob(".checkpoints/sweep-t001-*/last.safetensors"))

    kill_when(is_second_trial, root / "sweep", ["dvc", "repro"], PATIENCE_S, DEPTHMASK_CHECKPOINT_STEPS="1")


def test_a_killed_sweep_ends_with_the_same_bytes_under_the_other_tool(followed, untouched, tmp_path):
    root = copy_clone(untouched, tmp_path / "clone")
    (text,) = (text for _, language, text in STEPS if language == "yaml")
    change(root, yaml.safe_load(text))
    change(root, SMALL)
    kill_while_training(root)
    finished = (root / "sweep/data/models/t000.safetensors").stat()
    output = run(root / "sweep", "dvc", "repro").stdout
    assert re.search(r"sweep-t001 .*resumed from step \d of 6", output)
    assert (root / "sweep/data/models/t000.safetensors").stat().st_ino == finished.st_ino, "it was not trained again"
    assert find_different(root / "sweep", followed / "sweep", SAME) == []
    assert not list(root.glob(".checkpoints/sweep-*"))


def test_a_trial_that_is_worse_than_earlier_ones_is_stopped_early(untouched, tmp_path):
    root = copy_clone(untouched, tmp_path / "clone")
    space = {"pretrain.learning_rate": {"values": [0.001, 0.002, 10.0], "also": ["finetune.learning_rate"]}}
    wild = {"pretrain": {"clip_norm": None, "optimizer": "sgd", "momentum": 0.9, "ema_decay": None, "schedule": "constant"}}
    wild |= {"finetune": dict(wild["pretrain"]), "model": {"name": "compact"}, "compute": {"threads": 1}}
    prune = {"at": [0.1], "keep": 0.5, "after": 1}
    change(root, SMALL | {"space": space, "fixed": wild, "method": "grid", "trials": None, "round_size": 1, "prune": prune})
    run(root / "sweep", "snakemake", "--cores", "2")
    rows = {row["trial"]: row for row in csv.DictReader((root / "sweep/reports/sweep.csv").open())}
    assert rows["t000"]["outcome"] == "finished" and rows["t000"]["rank"] in ("1", "2")
    assert rows["t002"]["outcome"] == "stopped early" and rows["t002"]["rank"] == ""
    assert (rows["t002"]["steps"], rows["t002"]["planned_steps"]) == ("3", "6") and "at step 1 of 6" in rows["t002"]["reason"]
    assert not list(root.glob(".checkpoints/sweep-*"))
    assert is_snakemake_done(root / "sweep")


def test_bad_params_are_one_line_and_change_nothing(followed, tmp_path):
    root = copy_clone(followed, tmp_path / "clone")
    run(root, "git", "checkout", "--quiet", "params.yaml")
    change(root, {"budget": {"kind": "steps", "amount": 1}, "method": "sobol"})
    for tool, exit_code in ({"snakemake": 2, "dvc": 255}).items():
        command = ["snakemake", "--cores", "2"] if tool == "snakemake" else ["dvc", "repro"]
        done = run(root / "sweep", *command, check=False)
        assert done.returncode == exit_code
        lines = [line for line in done.stdout.splitlines() if line.startswith("error: ")]
        assert len(lines) == 1 and "budget.amount: 1; allowed: at least 2" in lines[0]
        assert "Traceback" not in done.stdout
    for name in SAME:
        assert (root / "sweep" / name).read_bytes() == (followed / "sweep" / name).read_bytes()
    change(root, SMALL | {"trials": 5, "method": "tpe"})
    done = run(root / "sweep", "dvc", "repro", check=False)
    assert "run depthmask sweep, then the same command again" in done.stdout and done.returncode == 255
