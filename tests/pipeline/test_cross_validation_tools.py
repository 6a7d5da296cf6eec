"""The cross-validation's own graph on a tiny pack: both tools make the same bytes, and so does a run that was killed."""

from __future__ import annotations

import csv
import re
import shutil
from pathlib import Path

import pytest
from running_tools import (
    find_different,
    is_dvc_clean,
    is_snakemake_done,
    kill_when,
    run,
    run_dvc,
    run_side_by_side,
)
from tiny_project import change_keys, change_params, commit, copy_clone, make_clone

pytestmark = pytest.mark.slow

COMMANDS = {"dvc": ["dvc", "repro"], "snakemake": ["snakemake", "--cores", "2"]}
FOLDS, SEEDS = (1, 2), (0, 1)
RUNS = [f"fold{fold}-seed{seed}" for fold in FOLDS for seed in SEEDS]
SMALL = {"folds": list(FOLDS), "seeds": list(SEEDS), "budget": {"kind": "samples", "amount": 64}}
SAME = [
    *(f"data/split/fold{fold}/{part}.csv" for fold in FOLDS for part in ("train", "validation", "test")),
    *(f"data/models/{name}.safetensors" for name in RUNS),
    *(f"reports/train/{name}/history.csv" for name in RUNS),
    *(f"reports/score/{name}.{kind}" for name in RUNS for kind in ("csv", "json")),
    *(f"reports/baselines/fold{fold}.json" for fold in FOLDS),
    *(f"reports/cross_validation.{kind}" for kind in ("csv", "md", "html", "json")),
    "reports/runs.csv",
]
PATIENCE_S = 900


@pytest.fixture(scope="module")
def untouched(tmp_path_factory) -> Path:
    """A clone whose data are made, with two folds and two seeds to come."""
    root = make_clone(tmp_path_factory.mktemp("folds") / "clone")
    change_keys(root / "cross_validation/params.yaml", SMALL)
    commit(root, "two folds")
    run_dvc(root, "pack", "weights")
    commit(root, "data")
    return root


@pytest.fixture(scope="module")
def made(untouched, tmp_path_factory) -> dict[str, Path]:
    """The graph's folder by tool, each made from nothing; both tools run at once, in clones of their own."""
    roots = {tool: copy_clone(untouched, tmp_path_factory.mktemp(tool) / "clone") / "cross_validation" for tool in COMMANDS}
    run_side_by_side(COMMANDS, roots, PATIENCE_S)
    return roots


def read_rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as text:
        return list(csv.DictReader(text))


def test_both_tools_make_the_same_bytes_and_leave_nothing_to_do_for_the_other(made):
    assert find_different(made["dvc"], made["snakemake"], SAME) == []
    for root in made.values():
        assert is_dvc_clean(root)
        assert is_snakemake_done(root)
    models = [(made["dvc"] / f"data/models/{name}.safetensors").read_bytes() for name in RUNS]
    assert len(set(models)) == len(RUNS)


def test_no_fold_trains_on_what_it_tests_and_each_picture_is_tested_once(made):
    tested = []
    for fold in FOLDS:
        parts = {
            part: {(row["role"], row["key"]) for row in read_rows(made["snakemake"] / f"data/split/fold{fold}/{part}.csv")}
            for part in ("train", "validation", "test")
        }
        assert not parts["train"] & parts["test"] and not parts["validation"] & (parts["train"] | parts["test"])
        scored = read_rows(made["snakemake"] / f"reports/score/fold{fold}-seed0.csv")
        shown = {(kind, row[kind]) for row in scored for kind in ("background", "cutout")}
        assert shown == parts["test"]
        tested += sorted(shown)
    assert len(tested) == len(set(tested)) == 32


def test_the_main_graph_knows_nothing_of_it_and_is_as_it_was(made):
    root = made["dvc"].parent
    assert "fold" not in run(root, "dvc", "stage", "list", "--all", "--name-only").stdout
    assert run(root, "git", "status", "--porcelain", "--untracked-files=no").stdout == ""


def plan(root: Path) -> set[str]:
    """The stages that Snakemake would run."""
    return set(re.findall(r"^Job \d+: (\S+): ", run(root, "snakemake", "-n", "--cores", "2").stdout, re.MULTILINE))


def test_what_a_changed_key_makes_stale(made, tmp_path):
    root = copy_clone(made["dvc"].parent, tmp_path / "clone") / "cross_validation"
    change_params(root.parent, {"report": {"title": "other"}})
    assert plan(root) <= {"check"}
    change_params(root.parent, {"evaluate": {"num_samples": 13}})
    assert plan(root) == {"check", "table", *(f"score@{name[4]}-{name[-1]}" for name in RUNS), "baselines@1", "baselines@2"}
    path = root / "params.yaml"
    path.write_text(path.read_text().replace("- 0\n- 1\n", "- 0\n- 1\n- 2\n"))
    new = {f"{stage}@{fold}-2" for stage in ("train", "score") for fold in FOLDS}
    assert plan(root) >= new and not any(name.startswith(("split", "train@1-0")) for name in plan(root))


@pytest.mark.parametrize("tool", COMMANDS)
def test_data_of_other_params_are_refused_in_one_line(made, tmp_path, tool):
    root = copy_clone(made["dvc"].parent, tmp_path / "clone") / "cross_validation"
    change_params(root.parent, {"download": {"on_bad_sample": "skip"}})
    done = run(root, *COMMANDS[tool], check=False)
    lines = [line for line in done.stdout.splitlines() if line.startswith("error: ")]
    assert done.returncode and "Traceback" not in done.stdout
    assert len(lines) == 1 and "the project's data are not up to date (download: changed deps)" in lines[0]
    assert find_different(root, made["dvc"], SAME) == []


@pytest.mark.parametrize(
    ("command", "same"),
    [(["snakemake", "--cores", "2"], SAME), (["dvc", "repro", "train@1-0"], [f"data/models/{RUNS[0]}.safetensors"])],
    ids=["snakemake", "dvc"],
)
def test_a_killed_run_resumes_and_ends_with_the_same_bytes(untouched, made, tmp_path, command, same):
    root = copy_clone(untouched, tmp_path / "clone") / "cross_validation"

    def is_training() -> bool:
        return any(root.parent.glob(".checkpoints/fold*/last.safetensors"))

    kill_when(is_training, root, command, PATIENCE_S, DEPTHMASK_CHECKPOINT_STEPS="1")
    done = run(root, *command)
    logs = done.stdout + "".join(path.read_text() for path in (root / "logs").glob("*.log"))
    assert re.search(r"^fold\d-seed\d  .*, resumed from step \d+ of \d+$", logs, re.MULTILINE)
    assert find_different(root, made["dvc"], same) == []
    assert is_dvc_clean(root) == (same is SAME)
    assert not list(root.parent.glob(".checkpoints/*/*"))


def test_without_data_it_says_what_to_run(untouched, tmp_path):
    root = copy_clone(untouched, tmp_path / "clone")
    shutil.rmtree(root / "data/raw")
    done = run(root / "cross_validation", "snakemake", "--cores", "2", check=False)
    assert done.returncode == 1
    assert [line for line in done.stdout.splitlines() if line.startswith("error: ")] == [
        "error: the project's data are not up to date (download: changed outs; pack: changed deps); run `dvc repro pack weights`"
        " in the project's folder, or `make cross-validate`"
    ]
