"""leaderboard/params.yaml: every mistake is one line and exit code 2, before anything is read or written."""

from __future__ import annotations

import copy
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from depthmask.leaderboard.missing import find_missing
from depthmask.leaderboard.params import load_leaderboard_params
from depthmask.leaderboard.plan import Plan, load_plan, write_plan
from depthmask.leaderboard.planning import fit_recipe, list_phases, make_plan
from stages.leaderboard import check as leaderboard_check
from tools.stage_deps import compare_deps

ROOT = Path(__file__).resolve().parents[2]
RECIPES = ROOT / "workflow/recipes"
GOOD = yaml.safe_load((ROOT / "leaderboard/params.yaml").read_text())

# (changed key, its value, every one of these is in the line)
MISTAKES = [
    ("seed_list", [1], ["seed_list: unknown key", "recipes, seeds"]),
    ("budget.kind", "epochs", ["budget.kind: 'epochs'", "'steps', 'samples' or 'seconds'"]),
    ("budget.amount", 0, ["budget.amount: 0", "greater than or equal to 1"]),
    ("seeds", [], ["seeds: []", "at least 1 item"]),
    ("seeds", [3, 1, 3], ["seeds: 3 is listed twice"]),
    ("recipes", ["default", "default"], ["recipes: default is listed twice"]),
    ("recipes", ["nobody"], ["recipes: nobody; allowed: default", "branched_unet"]),
    ("sort_by", "iou", ["sort_by: 'iou'", "mask_iou"]),
    ("evaluate.num_shown", 3, ["evaluate.num_shown: unknown key", "num_samples"]),
    ("compute.threads", 0, ["compute.threads: 0"]),
    # what the file alone does not show
    ("budget", {"kind": "steps", "amount": 5}, ["with recipe branched_unet", "budget.amount: 5; allowed: at least 6"]),
    ("image_size_max_px", 110, ["with recipe resnet18_shuffle", "image_size_px: 110 px", "104 or 112"]),
    ("evaluate.image_size_px", 100, ["with recipe resnet18_shuffle", "evaluate.image_size_px: 100 px"]),
    ("download.source", "flat_numbered", ["with recipe default", "model.background_input: true"]),
]


def write_params(folder: Path, key: str, value: Any) -> Path:
    values = copy.deepcopy(GOOD)
    *way, last = key.split(".")
    section = values
    for part in way:
        section = section[part]
    section[last] = value
    path = folder / "params.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


def check(path: Path, out: Path) -> int:
    return leaderboard_check.main(["--params", str(path), "--recipes", str(RECIPES), "--out", str(out)])


@pytest.mark.parametrize(("key", "value", "printed"), MISTAKES, ids=[f"{key}={value}"[:40] for key, value, _ in MISTAKES])
def test_mistake_is_one_line_that_says_all(tmp_path, capsys, key, value, printed):
    assert check(write_params(tmp_path, key, value), tmp_path / "out.txt") == 2
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    assert line.startswith("error: ")
    assert "params.yaml" in line
    for words in printed:
        assert words in line
    assert not (tmp_path / "out.txt").exists()


def test_the_leaderboard_as_it_comes_is_in_order(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT / "leaderboard")  # its paths are as seen from there
    assert check(ROOT / "leaderboard/params.yaml", tmp_path / "out.txt") == 0
    assert (tmp_path / "out.txt").exists()


@pytest.mark.parametrize(
    ("path", "printed"),
    [
        ("data/raw", "download.path: data/raw, which the stage download removes"),
        ("../leaderboard/reports/score", "lies in|is reports/score"),
        ("../nope", "download.path: ../nope does not exist"),
    ],
)
def test_a_path_that_would_cost_files_is_rejected(tmp_path, monkeypatch, capsys, path, printed):
    monkeypatch.chdir(ROOT / "leaderboard")
    params = tmp_path / "params.yaml"
    params.write_text((ROOT / "leaderboard/params.yaml").read_text().replace("path: ../data/demo", f"path: {path}"))
    assert check(params, tmp_path / "out.txt") == 2
    assert re.search(printed, capsys.readouterr().err)
    assert not (tmp_path / "out.txt").exists()


def test_deps_of_every_stage_are_what_its_script_imports():
    differences = compare_deps(ROOT, "leaderboard")
    assert not differences, "\n" + "\n".join(map(str, differences))


def test_what_both_graphs_say_of_the_data_is_the_same():
    """The same tasks by default, so that the scores of both are near each other."""
    own = yaml.safe_load((ROOT / "params.yaml").read_text())
    own["download"]["path"] = GOOD["download"]["path"]
    assert own["download"].pop("more_sources") == {}
    for section in ("download", "split", "compose"):
        assert GOOD[section] == own[section], f"leaderboard/params.yaml and params.yaml differ in {section}"


def test_both_default_profiles_are_the_same():
    profiles = [ROOT / folder / "profiles/default/config.yaml" for folder in ("", "leaderboard")]
    first, second = (yaml.safe_load(path.read_text()) for path in profiles)
    assert first == second


def plan_recipe(tmp_path: Path, name: str, **changes: Any) -> Plan:
    values = copy.deepcopy(GOOD) | changes
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(values))
    params = load_leaderboard_params(path)
    return make_plan(name, fit_recipe(name, params, RECIPES), params.budget, num_available=None)


def test_a_plan_keeps_the_recipe_and_takes_the_conditions(tmp_path):
    budget = {"kind": "samples", "amount": 6000}
    plan = plan_recipe(tmp_path, "branched_unet", budget=budget, batch_size_max=40, image_size_max_px=None)
    assert [phase.image_size_px for phase in plan.phases] == [64, 64, 64, 64, 224, 224]
    assert [phase.batch_size for phase in plan.phases] == [40, 40, 40, 40, 32, 32]
    assert [phase.tasks for phase in plan.phases] == ["depth", "mask"] * 3
    assert 6000 - 32 <= plan.samples <= 6000
    assert max(phase.samples_per_epoch for phase in plan.phases) - min(p.samples_per_epoch for p in plan.phases) <= 40
    capped = plan_recipe(tmp_path, "branched_unet", budget=budget, image_size_max_px=112)
    assert [phase.image_size_px for phase in capped.phases] == [64, 64, 64, 64, 112, 112]


def test_a_recipes_own_data_and_size_of_test_pictures_are_not_used(tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(GOOD))
    params = load_leaderboard_params(path)
    fitted = fit_recipe("multi_dilation_unet_explore", params, RECIPES)
    assert fitted.split == params.split
    assert fitted.compose == params.compose
    assert fitted.evaluate.image_size_px == params.evaluate.image_size_px
    assert len(list_phases(fitted)) >= 1


def test_a_plan_is_read_as_it_was_written(tmp_path):
    plan = plan_recipe(tmp_path, "two_stream_separable")
    write_plan(tmp_path / "plan.json", plan)
    assert load_plan(tmp_path / "plan.json") == plan


def test_a_network_whose_package_is_not_there_is_missing_and_no_error(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "segmentation_models_pytorch", None)
    plan = plan_recipe(tmp_path, "smp_unet")
    assert "segmentation_models_pytorch" in find_missing(plan.model)
    assert find_missing(plan_recipe(tmp_path, "default").model) is None
