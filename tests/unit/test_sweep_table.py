"""What a sweep ends in: ranks, intervals, importance, a page that needs nothing else, and the best trial as a recipe."""

from __future__ import annotations

import re

import numpy as np
import pytest
import yaml
from making_sweeps import ROOT, make_result, write_sweep

from depthmask.base.errors import UserError
from depthmask.commands.recipe import main as recipe_command
from depthmask.params import load_params
from depthmask.recipes import check_recipe
from depthmask.sweep.checking import check_sweep
from depthmask.sweep.importance import measure_importance
from depthmask.sweep.intervals import measure_intervals
from depthmask.sweep.page import build_markdown, build_page
from depthmask.sweep.planning import fit_trial
from depthmask.sweep.recipe_file import format_recipe
from depthmask.sweep.space import draw_values
from depthmask.sweep.storage import STUDY, write_study
from depthmask.sweep.table import list_columns, make_metrics, make_rows
from depthmask.sweep.trial import DIVERGED, STOPPED

RATE, GRADIENT = "pretrain.learning_rate", "loss.depth.log_gradient"


@pytest.fixture
def plan(tmp_path):
    return check_sweep(write_sweep(tmp_path, method="sobol", trials=6))


@pytest.fixture
def results(plan):
    drawn = [draw_values(plan.params, number) for number in range(6)]
    known = [0.5, 0.7, 0.7, 0.4, 0.9, None]
    made = [make_result(f"t{n}", values, score) for n, (values, score) in enumerate(zip(drawn, known, strict=True))]
    made[4] = made[4].model_copy(update={"outcome": STOPPED, "reason": "below 0.95 at step 50 of 100", "steps": 50})
    made[5] = made[5].model_copy(update={"outcome": DIVERGED, "reason": "the loss is nan", "steps": 0})
    return made


def test_finished_trials_are_ranked_and_the_others_come_after_them(plan, results):
    rows = make_rows(results, plan.params)
    assert [(row["trial"], row["rank"]) for row in rows] == [
        ("t1", 1), ("t2", 1), ("t0", 3), ("t3", 4), ("t4", None), ("t5", None),
    ]  # fmt: skip
    assert all(list(row) == list_columns(plan.params) for row in rows)
    assert make_metrics(results)["t1"] == {"score": 0.7, "mask_iou": 0.7, "depth_delta1": 0.7}


def test_page_and_markdown_have_the_same_rows_and_need_nothing_else(plan, results):
    results[0] = results[0].model_copy(update={"reason": None, "values": results[0].values})
    rows, importance = make_rows(results, plan.params), measure_importance(plan.params, results)
    markdown, page = build_markdown(rows, plan, importance), build_page(rows, plan, importance, results)
    for text in (markdown, page):
        assert all(name in text for name in ("t0", "t5", RATE, GRADIENT, "stopped early: below 0.95 at step 50 of 100"))
        assert "the test part was not looked at" in text
    assert " src=" not in page and "http:" not in page and "https:" not in page and page.count("<circle") == 2 * 5, (
        "a point for each score and key"
    )
    assert page == build_page(rows, plan, importance, results)


def test_a_value_cannot_be_markup(tmp_path):
    plan = check_sweep(write_sweep(tmp_path, method="sobol", trials=2))
    bad = [make_result(f"t{n}", {RATE: 0.01, GRADIENT: 0.0}, 0.5, reason="<b>|x", outcome=STOPPED) for n in range(2)]
    rows = make_rows(bad, plan.params)
    assert "<b>" not in build_page(rows, plan, measure_importance(plan.params, bad), bad)
    assert "<b>|x" not in build_markdown(rows, plan, measure_importance(plan.params, bad))


def test_importance_finds_the_key_that_decides(tmp_path):
    plan = check_sweep(write_sweep(tmp_path, method="sobol", trials=64))
    drawn = [draw_values(plan.params, number) for number in range(64)]
    results = [make_result(f"t{n}", values, 1 / (1 + abs(np.log10(values[RATE]) + 2))) for n, values in enumerate(drawn)]
    rows = measure_importance(plan.params, results)
    assert rows[0]["key"] == RATE and rows[0]["importance"] > 0.8
    assert sum(row["importance"] for row in rows) == pytest.approx(1, abs=1e-3)
    assert rows == measure_importance(plan.params, results)


def test_too_few_trials_say_nothing_of_importance(plan, results):
    assert all(row["importance"] is None for row in measure_importance(plan.params, results[:2]))
    alike = [result.model_copy(update={"score": 0.5}) for result in results[:4]]
    assert all(row["importance"] is None for row in measure_importance(plan.params, alike))
    rows = make_rows(alike, plan.params)
    assert "nothing is known of the importance" in build_markdown(rows, plan, measure_importance(plan.params, alike))


def test_the_recipe_of_the_best_trial_gives_its_params(tmp_path, plan, results, capsys):
    path = tmp_path / "best.yaml"
    path.write_text(format_recipe(plan, results, path))
    params = tmp_path / "mine.yaml"
    params.write_text((ROOT / "params.yaml").read_text())
    assert recipe_command([str(path), "--write", "--params", str(params)]) == 0
    capsys.readouterr()
    written, wanted = load_params(params), fit_trial(plan.base, plan.params, results[1].values, "")
    for section in ("model", "loss", "augment", "pretrain", "finetune"):
        assert getattr(written, section) == getattr(wanted, section), section
    assert written.finetune.learning_rate == results[1].values[RATE], "the key that shares its value"
    assert written.compute == load_params(ROOT / "params.yaml").compute, "the machine's settings stay the user's"
    assert "validation images" in path.read_text()


def test_the_recipe_of_a_sweep_that_began_with_another_recipe_holds_all_of_it(tmp_path):
    plan = check_sweep(write_sweep(tmp_path, recipe="picture_alone", method="sobol", trials=2))
    values = draw_values(plan.params, 0)
    path = tmp_path / "best.yaml"
    path.write_text(format_recipe(plan, [make_result("t0", values, 0.5)], path))
    checked = check_recipe(str(path), yaml.safe_load((ROOT / "params.yaml").read_text()))
    assert checked.model == plan.shared.model and checked.model.background_input is False
    assert checked.loss.depth.log_gradient == values[GRADIENT]


def test_no_trial_with_a_score_is_one_line(plan, results, tmp_path):
    with pytest.raises(UserError, match="no trial was finished and scored"):
        format_recipe(plan, results[5:], tmp_path / "best.yaml")


def test_the_study_has_every_trial_for_optuna(tmp_path, plan, results):
    import optuna

    write_study(tmp_path / "study.db", plan.params, results)
    write_study(tmp_path / "study.db", plan.params, results)  # over the old one
    study = optuna.load_study(study_name=STUDY, storage=f"sqlite:///{tmp_path}/study.db")
    assert [trial.user_attrs["trial"] for trial in study.trials] == [result.name for result in results]
    assert study.best_trial.value == 0.7
    assert [trial.state.name for trial in study.trials][4] == "PRUNED"


def test_intervals_lie_around_the_scores_and_are_unknown_for_one_background():
    random = np.random.default_rng(0)
    rows = [
        {
            "background": f"b{n % 6}",
            "cutout": f"c{n // 6}",
            "mask_iou": float(random.random()),
            "depth_delta1": float(random.random()),
        }
        for n in range(36)
    ]
    means = [np.mean([row[column] for row in rows]) for column in ("mask_iou", "depth_delta1")]
    found = measure_intervals(rows, ["mask_iou", "depth_delta1"], float(np.mean(means)), 0)
    assert found["mask_iou"]["low"] < means[0] < found["mask_iou"]["high"]
    assert found["score"]["low"] < np.mean(means) < found["score"]["high"]
    widths = {name: interval["high"] - interval["low"] for name, interval in found.items()}
    assert widths["score"] < max(widths["mask_iou"], widths["depth_delta1"]), "a mean of two varies less than the worse one"
    alone = [row | {"background": "b", "cutout": "c"} for row in rows]
    assert measure_intervals(alone, ["mask_iou"], 0.5, 0) == {name: {"low": None, "high": None} for name in ("mask_iou", "score")}


def test_a_recipe_s_path_that_does_not_exist_is_one_line(capsys):
    assert recipe_command(["nowhere/best.yaml"]) != 0
    line = capsys.readouterr().err
    assert re.match(r"error: nowhere/best\.yaml: cannot be read", line) and line.count("\n") == 1
