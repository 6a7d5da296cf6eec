"""sweep/params.yaml: every mistake is one line that names file and key, before anything is run."""

from __future__ import annotations

import re

import pytest
import yaml
from making_sweeps import ROOT, SHIPPED, write_sweep

from depthmask.base.errors import ParamsError
from depthmask.commands.sweep import main as sweep_command
from depthmask.params import load_params
from depthmask.preflight.network_costs import COSTS
from depthmask.sweep.checking import check_sweep, write_plan
from depthmask.sweep.planning import read_base, read_plan, read_sizes, require_current
from tools.stage_deps import compare_deps

RATE = {"low": 0.001, "high": 0.1}
RATES = ("pretrain.learning_rate", "finetune.learning_rate")

MISTAKES = [
    ({"spaces": {}}, "spaces: unknown key"),
    ({"space": {}}, r"space: \{\}; allowed:"),
    ({"space": {"pretrain.learning_rate": {}}}, "has neither values nor a range"),
    ({"space": {"pretrain.learning_rate": {"low": 0.1, "high": 0.1}}}, "low: 0.1 is not below high: 0.1"),
    ({"space": {"pretrain.weight_decay": {"low": 0.0, "high": 0.1, "log": True}}}, "low: 0.0 has no logarithm"),
    ({"space": {"pretrain.epochs": {"low": 1.5, "high": 3, "integer": True}}}, "low: 1.5 is not whole"),
    ({"space": {"pretrain.epochs": {"values": [1, 2], "log": True}}}, "log: is for a range"),
    ({"space": {"pretrain.epochs": {"values": [1, 2, 1]}}}, "values: 1 is listed twice"),
    ({"space": {"pretrain.learning_rates": RATE}}, "pretrain.learning_rates: unknown key"),
    (
        {"space": {"learning_rate": RATE}},
        "space.learning_rate: unknown key; allowed: keys of compose, augment, model, loss, pretrain, finetune",
    ),
    ({"space": {"model.name.first": {"values": [1, 2]}}}, "model.name"),
    ({"space": {"pretrain.learning_rate": {"low": 0.1, "high": 100}}}, "pretrain.learning_rate: 100.0; allowed: less than"),
    ({"space": {"pretrain.learning_rate": RATE | {"also": ["pretrain.learning_rate"]}}}, "is named twice"),
    ({"space": {"loss.mask": {"values": [{"dice": 1.0}, {"l1": 1.0}]}, "loss.mask.dice": RATE}}, "one lies in the other"),
    ({"space": {"pretrain.image_size_px": {"low": 64, "high": 96, "integer": True}}}, "sizes are packed before"),
    # what would make scores incomparable
    ({"space": {"split.fraction": {"values": [0.5, 1.0]}}}, "space.split.fraction: cannot be searched"),
    ({"space": {"evaluate.image_size_px": {"values": [64, 96]}}}, "space.evaluate.image_size_px: cannot be searched"),
    ({"space": {"compose.scale_min": RATE}}, "space.compose.scale_min: cannot be searched"),
    ({"method": "grid"}, "trials: 12, but a grid"),
    ({"method": "grid", "trials": None}, "pretrain.learning_rate is a range; method: grid needs its points"),
    (
        {"space": {key: RATE | {"points": 40} for key in RATES}, "method": "grid", "trials": None},
        "space: a grid of 1,600 trials; allowed: at most 1,000",
    ),
    ({"trials": None}, "trials: null; method: tpe needs a number"),
    ({"optimise": ["mask_dice"]}, "optimise.0: 'mask_dice'; allowed: 'mask_iou' or 'depth_delta1'"),
    ({"optimise": ["mask_iou", "mask_iou"]}, "lists a score twice"),
    ({"budget": {"kind": "seconds", "amount": 60}}, "budget.kind: 'seconds'; allowed: 'steps' or 'samples'"),
    ({"method": "random", "budget": {"kind": "steps", "amount": 1}}, "budget.amount: 1; allowed: at least 2"),
    ({"prune": {"at": [0.5, 0.25], "keep": 0.5, "after": 4}}, "must be increasing"),
    ({"prune": {"at": [1.0], "keep": 0.5, "after": 4}}, "prune.at.0: 1.0; allowed: less than 1"),
    (
        {"fixed": {"compute.threads": 1}},
        "fixed.compute.threads: a key of several parts; write it nested: compute: {threads: ...}",
    ),
    ({"fixed": {"computer": {"threads": 1}}}, "fixed.computer: unknown key"),
    ({"fixed": {"compute": {"threads": 0}}}, "compute.threads: 0"),
    ({"recipe": "nobody"}, "recipe: recipe nobody: unknown"),
]


@pytest.mark.parametrize(("changes", "printed"), MISTAKES, ids=[printed[:40] for _, printed in MISTAKES])
def test_a_mistake_is_one_line_that_names_the_file(tmp_path, changes, printed):
    where = write_sweep(tmp_path, **changes)
    with pytest.raises(ParamsError) as raised:
        write_plan(where)
    line = str(raised.value)
    assert re.search(printed, line) or printed in line
    assert line.startswith((str(where), "params.yaml", "sweep/params.yaml")) and "\n" not in line
    assert not (where.parent / "plan.yaml").exists()


def test_the_sweep_as_it_comes_is_in_order(tmp_path, capsys):
    where = write_sweep(tmp_path)
    assert sweep_command([str(where.parent)]) == 0
    printed = capsys.readouterr().out
    assert "ok, 12 trials in 3 rounds over pretrain.learning_rate, loss.depth.log_gradient; about" in printed
    assert read_plan(where.parent).num_trials == 12


def test_networks_without_a_row_have_no_estimate_and_are_not_rejected(tmp_path, capsys, monkeypatch):
    monkeypatch.delitem(COSTS, ("dilated_small", False))
    fixed = {"model": {"name": "dilated_small", "background_input": False}, "loss": {"mask": {"bce": 1.0}}}
    where = write_sweep(tmp_path, fixed=fixed)
    assert sweep_command([str(where.parent)]) == 0
    assert "no estimate, because depthmask/preflight/network_costs.py has no row" in capsys.readouterr().out


def test_its_own_mistake_and_one_of_the_project_are_told_apart(tmp_path):
    where = write_sweep(tmp_path)
    (tmp_path / "params.yaml").unlink()
    (tmp_path / "params.yaml").write_text((ROOT / "params.yaml").read_text().replace("dropout: 0.2", "dropout: 2.0"))
    with pytest.raises(ParamsError, match=r"^\.\./params\.yaml: model\.dropout: 2\.0"):
        check_sweep(where)


def test_the_plan_has_recipe_and_fixed_values_over_the_project_s(tmp_path):
    where = write_sweep(
        tmp_path,
        recipe="picture_alone",
        fixed={"pretrain": {"batch_size": 4}},
        space={"finetune.image_size_px": {"values": [64, 96]}},
    )
    write_plan(where)
    plan = where.parent / "plan.yaml"
    base, own = read_base(plan), load_params(ROOT / "params.yaml")
    assert (base.model.background_input, own.model.background_input) == (False, True)
    assert base.pretrain.batch_size == 4
    assert base.download == own.download
    sizes = {phase.image_size_px for stage in (base.pretrain, base.finetune) for phase in stage.phases()}
    assert read_sizes(plan) >= {64, 96, base.evaluate.image_size_px, *sizes}


def test_paths_in_the_graph_are_as_seen_from_the_sweep(tmp_path):
    where = write_sweep(tmp_path)
    write_plan(where)
    graph = yaml.safe_load((where.parent / "plan.yaml").read_text())["graph"]
    assert (where.parent / graph["source"]).resolve() == (ROOT / "data/demo").resolve()


def test_rounds_and_trials_hang_together(tmp_path):
    where = write_sweep(tmp_path, trials=5, round_size=2)
    write_plan(where)
    graph = yaml.safe_load((where.parent / "plan.yaml").read_text())["graph"]
    assert [trial["round"] for trial in graph["trials"].values()] == ["r0", "r0", "r1", "r1", "r2"]
    assert graph["rounds"]["r0"] == {"before": "data/check.txt", "scores": "data/check.txt"}
    assert graph["rounds"]["r2"] == {"before": "reports/trials/r1", "scores": "reports/score/r1"}


@pytest.mark.parametrize(
    ("method", "prune", "rounds"), [("random", None, 1), ("random", {"at": [0.5], "keep": 0.5, "after": 2}, 3)]
)
def test_trials_that_depend_on_no_result_are_one_round(tmp_path, method, prune, rounds):
    where = write_sweep(tmp_path, method=method, prune=prune)
    assert len(write_plan(where).name_rounds()) == rounds


def test_an_edit_after_the_plan_was_written_is_noticed(tmp_path):
    where = write_sweep(tmp_path)
    write_plan(where)
    require_current(where.parent / "plan.yaml", check_sweep(where))
    write_sweep(tmp_path, trials=13)
    with pytest.raises(ParamsError, match="run depthmask sweep, then the same command again"):
        require_current(where.parent / "plan.yaml", check_sweep(where))


def test_without_a_plan_a_stage_says_what_to_do(tmp_path):
    with pytest.raises(ParamsError, match="no such file; run depthmask sweep first"):
        read_plan(write_sweep(tmp_path).parent)


def test_a_source_in_the_folder_of_the_sweep_is_rejected(tmp_path):
    where = write_sweep(tmp_path)
    (tmp_path / "params.yaml").unlink()
    (where.parent / "mine").mkdir()
    text = (ROOT / "params.yaml").read_text().replace("path: data/demo", "path: sweep/mine")
    (tmp_path / "params.yaml").write_text(text.replace("photos: data/photos", f"photos: {ROOT}/data/photos"))
    with pytest.raises(ParamsError, match=r"download\.path: sweep/mine lies in sweep, the folder of the sweep; move it"):
        check_sweep(where)


def test_deps_of_every_stage_are_what_its_script_imports():
    differences = compare_deps(ROOT, "sweep")
    assert not differences, "\n" + "\n".join(map(str, differences))


def test_the_default_profile_is_the_project_s():
    first, second = (yaml.safe_load((ROOT / folder / "profiles/default/config.yaml").read_text()) for folder in ("", "sweep"))
    assert first == second


def test_the_comments_of_the_shipped_file_say_what_is_allowed():
    text = (ROOT / "sweep/params.yaml").read_text()
    for key in SHIPPED:
        assert re.search(rf"^{key}:.*#", text, re.MULTILINE), key
