"""Cross-validation: its params, its training, its tables, and how it refuses."""

from __future__ import annotations

import contextlib
import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from tiny_project import TINY, change_params

from depthmask.base.errors import ParamsError, UserError
from depthmask.base.files import write_csv, write_json
from depthmask.cross_validation.checking import require_current_data
from depthmask.cross_validation.estimating import estimate_cross_validation
from depthmask.cross_validation.page import describe_conditions
from depthmask.cross_validation.params import load_both, load_cross_validation_params, shorten
from depthmask.cross_validation.results import read_results
from depthmask.cross_validation.table import average_baselines, average_pictures, make_metrics, make_rows, make_run_rows
from depthmask.cross_validation.training import find_run_seed
from depthmask.leaderboard.budget import count_samples
from depthmask.loading.split_files import COLUMNS as SPLIT_COLUMNS
from depthmask.models.model_file import load_model
from depthmask.preflight.estimate import estimate_run
from stages import finetune as finetune_stage
from stages import pretrain as pretrain_stage
from stages.cross_validation import baselines as baselines_stage
from stages.cross_validation import score as score_stage
from stages.cross_validation import split as split_stage
from stages.cross_validation import table as table_stage
from stages.cross_validation import train as train_stage

ROOT = Path(__file__).parents[2]
FOLDS, SEEDS = [1, 2, 3], [0, 7]


def write_settings(path: Path, **changes) -> Path:
    values = yaml.safe_load((ROOT / "cross_validation/params.yaml").read_text()) | {"folds": FOLDS, "seeds": SEEDS} | changes
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(values, sort_keys=False))
    return path


def write_project(root: Path, **more) -> Path:
    shutil.copy(ROOT / "params.yaml", root / "params.yaml")
    change_params(root, TINY | more)
    return root / "params.yaml"


@pytest.mark.parametrize(
    ("changes", "printed"),
    [
        ({"folds": [1, 2, 4]}, r"folds: \[1, 2, 4\]; allowed: every number from 1 to the number of folds"),
        ({"folds": [0, 1]}, r"folds: \[0, 1\]; allowed: every number from 1"),
        ({"folds": [1]}, "folds"),
        ({"folds": 5}, "folds"),
        ({"seeds": [0, 0]}, "seeds: 0 is listed twice; allowed: each once"),
        ({"seeds": []}, "seeds"),
        ({"budget": {"kind": "samples", "amount": None}}, "amount: null; allowed: a number of samples"),
        ({"budget": {"kind": "params", "amount": 10}}, "amount: 10, but kind: params has none"),
        ({"budget": {"kind": "seconds", "amount": 10}}, "budget.kind: 'seconds'; allowed: 'params', 'steps' or 'samples'"),
        ({"fold": 5}, "fold: unknown key"),
    ],
)
def test_wrong_settings_are_one_line(tmp_path, changes, printed):
    path = write_settings(tmp_path / "cv.yaml", **changes)
    with pytest.raises(ParamsError, match=printed) as error:
        load_cross_validation_params(path)
    assert str(path) in str(error.value) and "\n" not in str(error.value)


def test_files_that_do_not_fit_each_other_are_one_line(tmp_path):
    project = write_project(tmp_path, split={"validation": 0.5, "test": 0.25})
    with pytest.raises(ParamsError, match=r"folds: 2 of them leave nothing to train on beside split\.validation: 0\.5"):
        load_both(project, write_settings(tmp_path / "cv.yaml", folds=[1, 2]))
    params, settings = load_both(project, write_settings(tmp_path / "cv.yaml", budget={"kind": "steps", "amount": 1}))
    with pytest.raises(ParamsError, match=r"cross_validation/params\.yaml: budget\.amount: 1; allowed: at least 2"):
        shorten(params, settings)


def test_the_projects_own_length_and_a_shorter_one(tmp_path):
    project = write_project(tmp_path)
    params, settings = load_both(project, write_settings(tmp_path / "cv.yaml", threads=3))
    assert params.compute.threads == 3 and shorten(params, settings) == params
    _, short = load_both(project, write_settings(tmp_path / "cv.yaml", budget={"kind": "samples", "amount": 16}))
    shortened = shorten(params, short)
    phases = [*shortened.pretrain.phases(), *shortened.finetune.phases()]
    assert len(phases) == 2 and sum(map(count_samples, phases)) == 16
    assert shortened.model == params.model and shortened.evaluate == params.evaluate


def test_the_estimate_is_that_of_one_run_times_their_number(tmp_path):
    params, settings = load_both(write_project(tmp_path), write_settings(tmp_path / "cv.yaml"))
    one, all_runs = estimate_run(params, 2), estimate_cross_validation(params, settings, 2)
    assert all_runs.seconds == pytest.approx(6 * one.seconds) and all_runs.memory_bytes == one.memory_bytes


def test_data_that_are_stale_or_missing_are_refused(tmp_path):
    from dvc.repo import Repo

    (tmp_path / "dvc.yaml").write_text(
        "stages:\n"
        "  check: {cmd: echo ok > check.txt, deps: [params.yaml], outs: [check.txt], meta: {guard: true}}\n"
        "  download: {cmd: cp source.txt raw.txt, deps: [check.txt, source.txt], outs: [raw.txt]}\n"
        "  pack: {cmd: cp raw.txt store.txt, deps: [raw.txt], outs: [store.txt]}\n"
        "  weights: {cmd: echo w > w.txt, deps: [check.txt], outs: [w.txt]}\n"
        "  train: {cmd: cp store.txt model.txt, deps: [store.txt], outs: [model.txt]}\n"
    )
    (tmp_path / "source.txt").write_text("a")
    (tmp_path / "params.yaml").write_text("a: 1")
    Repo.init(str(tmp_path), no_scm=True).close()
    with pytest.raises(UserError, match=r"not up to date \(download: .*pack: .*weights: .*\); run `dvc repro pack weights`"):
        require_current_data(tmp_path)
    with contextlib.chdir(tmp_path), Repo(".") as repo:
        repo.reproduce(["pack", "weights"])
    require_current_data(tmp_path)  # whatever is to be trained from them
    (tmp_path / "params.yaml").write_text("a: 2")
    require_current_data(tmp_path)  # only the check would run again
    (tmp_path / "source.txt").write_text("b")
    with pytest.raises(UserError, match=r"not up to date \(download: changed deps\); run"):
        require_current_data(tmp_path)
    (tmp_path / "source.txt").write_text("a")
    (tmp_path / "store.txt").unlink()
    with pytest.raises(UserError, match=r"not up to date \(pack: changed outs\)"):
        require_current_data(tmp_path)


@pytest.fixture(scope="module")
def made_up(tmp_path_factory) -> Path:
    """The table of made-up scores: three folds of four backgrounds, four cut-outs and eight images, and two seeds."""
    root, rng = tmp_path_factory.mktemp("made_up"), np.random.default_rng(0)
    write_project(root)
    write_settings(root / "cross_validation/params.yaml", budget={"kind": "steps", "amount": 2})
    for fold in FOLDS:
        names = [f"{fold}{letter}" for letter in "abcd"]
        assets = [{"role": role, "key": name, "group": name} for role in ("background", "cutout") for name in names]
        write_csv(root / f"split/fold{fold}/test.csv", SPLIT_COLUMNS, assets)
        for seed in SEEDS:
            rows = []
            for i in range(8):
                background, cutout = names[i % 4], names[(i + i // 4) % 4]
                made = {"key": f"0000_{i:06d}", "background": background, "cutout": cutout}
                made |= {"background_group": background, "cutout_group": cutout}
                made |= {"mask_iou": round(rng.uniform(0.5, 1), 6), "depth_rmse": round(rng.uniform(1, 2) + fold, 6)}
                rows.append(made | {"mask_precision": "" if i < 2 and seed == 7 else 0.5, "depth_fg_mae": ""})
            path = root / f"reports/score/fold{fold}-seed{seed}.csv"
            write_csv(path, list(rows[0]), rows)
            test = {"num_images": 8, "mask": {"iou": _average(rows, "mask_iou")}, "depth": {"rmse": _average(rows, "depth_rmse")}}
            write_json(path.with_suffix(".json"), {"test": test})
        baselines = {"mask_empty": {"iou": 0.1 * fold}, "depth_mean": {"rmse": 9.0}, "depth_row_mean": {"rmse": None}}
        source = {"name": "demo", "depth_unit": "metre"}
        write_json(root / f"reports/baselines/fold{fold}.json", {"test": baselines, "num_images": 8, "source": source})
    with contextlib.chdir(root):
        out = ["--csv", "t.csv", "--runs", "r.csv", "--markdown", "t.md", "--page", "t.html", "--metrics", "m.json"]
        assert table_stage.main(["--reports", "reports", "--splits", "split", *out]) == 0
    return root


def _average(rows: list[dict], column: str) -> float:
    return float(np.mean([row[column] for row in rows]))


def read_rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as text:
        return list(csv.DictReader(text))


def test_the_table_is_what_the_rows_say(made_up):
    table = {row["score"]: row for row in read_rows(made_up / "t.csv")}
    values = {
        (fold, seed): np.array(
            [float(row["depth_rmse"]) for row in read_rows(made_up / f"reports/score/fold{fold}-seed{seed}.csv")]
        )
        for fold in FOLDS
        for seed in SEEDS
    }
    row = table["depth_rmse"]
    whole = np.concatenate([values[fold, seed] for fold in FOLDS for seed in SEEDS])
    assert float(row["mean"]) == pytest.approx(whole.mean(), rel=1e-5) and row["num_images"] == "24"
    assert float(row["low"]) < float(row["mean"]) < float(row["high"])
    means = [one.mean() for one in values.values()]
    of_seed = [np.mean([values[fold, seed] for fold in FOLDS]) for seed in SEEDS]
    of_fold = [np.mean([values[fold, seed] for seed in SEEDS]) for fold in FOLDS]
    for spread, each in {"run": means, "seed": of_seed, "fold": of_fold}.items():
        assert float(row[f"{spread}_min"]) == pytest.approx(min(each), rel=1e-5)
        assert float(row[f"{spread}_max"]) == pytest.approx(max(each), rel=1e-5)
    metrics = json.loads((made_up / "m.json").read_text())["cross_validation"]["depth"]
    assert metrics["rmse"] == float(row["mean"]) and metrics["rmse_low"] == float(row["low"])
    runs = read_rows(made_up / "r.csv")
    assert [(run["fold"], run["seed"]) for run in runs] == [(str(fold), str(seed)) for fold in FOLDS for seed in SEEDS]
    assert [float(run["depth_rmse"]) for run in runs] == pytest.approx(means, rel=1e-5)


def test_page_and_markdown_have_every_run_and_load_nothing(made_up):
    page, markdown = (made_up / "t.html").read_text(), (made_up / "t.md").read_text()
    assert "3 folds from 2 seeds (0, 7)" in page and "3 folds from 2 seeds (0, 7)" in markdown and "2 steps each" in markdown
    assert page.count("<circle") == 6 and "fold 3, seed 7" in page
    assert not [word for word in ("http://", "https://", "src=", "<script") if word in page]
    assert "raise evaluate.num_samples" not in markdown  # every picture was scored


def test_a_run_of_other_images_is_refused(made_up, tmp_path):
    reports = shutil.copytree(made_up / "reports", tmp_path / "reports")
    path = reports / "score/fold2-seed7.csv"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0], *lines[2:], lines[1]]) + "\n")
    with pytest.raises(UserError, match=r"fold2-seed7\.csv: is of other images than the other seeds of its fold"):
        read_results(reports, made_up / "split", FOLDS, SEEDS)
    path.unlink()
    with pytest.raises(UserError, match=r"fold2-seed7\.csv: no such file; run the stage that makes it"):
        read_results(reports, made_up / "split", FOLDS, SEEDS)


def test_a_score_that_cannot_be_given_says_why(made_up, tmp_path):
    reports = shutil.copytree(made_up / "reports", tmp_path / "reports")
    path = reports / "score/fold1-seed0.json"
    scores = json.loads(path.read_text())
    scores["test"]["not_scored"] = {"depth.rmse": "no depth"}
    path.write_text(json.dumps(scores))
    results = read_results(reports, made_up / "split", FOLDS, SEEDS)
    rows = {row["score"]: row for row in make_rows(results, 0)}
    assert rows["depth_rmse"]["mean"] is None and rows["depth_rmse"]["note"] == "no depth"
    assert rows["mask_iou"]["mean"] is not None
    assert make_metrics(list(rows.values()))["cross_validation"]["depth"]["rmse"] is None
    assert len(make_run_rows(results)) == 6 and len(average_baselines(results)) == 3


def test_a_start_from_a_model_file_is_said(made_up):
    settings = load_cross_validation_params(made_up / "cross_validation/params.yaml")
    results = read_results(made_up / "reports", made_up / "split", FOLDS, SEEDS)
    lines = describe_conditions("model.safetensors#sha256=00", settings, results)
    assert [line for line in lines if "model.init: model.safetensors" in line and "too good" in line]
    assert not [line for line in describe_conditions(None, settings, results) if "model.init" in line]


def test_pictures_that_no_image_shows_are_counted(made_up, tmp_path):
    settings = load_cross_validation_params(made_up / "cross_validation/params.yaml")
    splits = shutil.copytree(made_up / "split", tmp_path / "split")
    with (splits / "fold2/test.csv").open("a") as listed:
        listed.write("cutout,2e,2e,,\n")
    results = read_results(made_up / "reports", splits, FOLDS, SEEDS)
    assert [line for line in describe_conditions(None, settings, results) if "12 of 12 backgrounds and 12 of 13 cut-outs" in line]


def test_scores_of_some_images_and_of_none(made_up):
    table = {row["score"]: row for row in read_rows(made_up / "t.csv")}
    some, none = table["mask_precision"], table["depth_fg_mae"]
    assert (some["mean"], some["num_images"], some["sd_rest"]) == ("0.5", "24", "0.0")
    assert (none["mean"], none["num_images"], none["note"]) == ("", "0", "undefined for every image")


def test_baselines_are_averaged_over_the_folds(made_up):
    means = average_baselines(read_results(made_up / "reports", made_up / "split", FOLDS, SEEDS))
    assert {name: scores.get("iou", scores.get("rmse")) for name, scores in means.items()} == {
        "mask_empty": 0.2,
        "depth_mean": 9.0,
        "depth_row_mean": None,
    }
    assert "| 9.000 (mean depth) |" in (made_up / "t.md").read_text()


def test_pictures_are_averaged_over_the_seeds_that_have_a_score():
    values = np.array([1.0, 2.0, np.nan, 3.0, np.nan, np.nan])
    means = average_pictures(values, np.array([0, 1, 2, 0, 1, 2]))
    assert means[:2].tolist() == [2.0, 2.0] and np.isnan(means[2])


def test_no_two_runs_begin_from_the_same_seed():
    seeds = {find_run_seed(fold, seed) for fold in range(1, 11) for seed in range(10)}
    assert len(seeds) == 100 and all(0 <= seed < 2**32 for seed in seeds)


def test_a_fold_that_is_not_there_is_refused(made_up, raw, capsys):
    with contextlib.chdir(made_up):
        assert split_stage.main(["--fold", "4", "--raw", str(raw), "--out", "split/fold4"]) == 1
    assert "--fold 4: not in folds of cross_validation/params.yaml; allowed: 1, 2, 3" in capsys.readouterr().err


@pytest.fixture(scope="module")
def made(tmp_path_factory, raw, start) -> Path:
    """A folder after every stage of three folds and two seeds but one training, whose model stands for all."""
    root = tmp_path_factory.mktemp("folds")
    write_project(root, model={"width": 16}, evaluate=TINY["evaluate"] | {"num_samples": 3})
    write_settings(root / "cross_validation/params.yaml", budget={"kind": "steps", "amount": 2})
    data = ["--raw", str(raw)]
    with contextlib.chdir(root):
        for fold in FOLDS:
            assert split_stage.main(["--fold", str(fold), *data, "--out", f"split/fold{fold}"]) == 0
            at = [*data, "--split", f"split/fold{fold}"]
            assert baselines_stage.main([*at, "--scores", f"reports/baselines/fold{fold}.json"]) == 0
            for seed in SEEDS:
                name = f"fold{fold}-seed{seed}"
                if fold == 1:
                    files = ["--weights", f"{name}.safetensors", "--history", f"{name}.csv", "--run", f"{name}.json"]
                    command = ["--fold", "1", "--seed", str(seed), *at, "--start", str(start), *files]
                    assert train_stage.main(command) == 0
                out = ["--scores", f"reports/score/{name}.json", "--per-image", f"reports/score/{name}.csv"]
                assert score_stage.main([*at, "--weights", f"fold1-seed{seed}.safetensors", *out]) == 0
    return root


@pytest.mark.slow
def test_every_picture_is_in_a_scored_image_of_exactly_one_fold(made):
    """evaluate.num_samples is 3, which is too few for the four backgrounds and cut-outs of a fold."""
    seen: list[tuple[str, str]] = []
    for fold in FOLDS:
        rows = [read_rows(made / f"reports/score/fold{fold}-seed{seed}.csv") for seed in SEEDS]
        identity = [[(row["key"], row["background"], row["cutout"]) for row in listed] for listed in rows]
        assert identity[0] == identity[1] and len(identity[0]) == 4
        seen += {(kind, row[kind]) for row in rows[0] for kind in ("background", "cutout")}
    assert len(seen) == len(set(seen)) == 24


@pytest.mark.slow
def test_a_fold_is_trained_as_the_project_trains(made, raw, start, tmp_path):
    """One job of all phases gives the weights that pretrain and finetune give one after the other, with the same split."""
    settings = load_cross_validation_params(made / "cross_validation/params.yaml")
    params, _ = load_both(made / "params.yaml", made / "cross_validation/params.yaml")
    short = shorten(params, settings).model_dump() | {"seed": find_run_seed(1, 7)}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(short))
    data = ["--raw", str(raw), "--split", str(made / "split/fold1")]
    with contextlib.chdir(tmp_path):
        files = ["--weights", "p.safetensors", "--history", "p.csv", "--run", "p.json"]
        assert pretrain_stage.main([*data, "--start", str(start), *files]) == 0
        files = ["--weights", "f.safetensors", "--history", "f.csv", "--run", "f.json"]
        assert finetune_stage.main([*data, "--init", "p.safetensors", *files]) == 0
    own, expected = (load_model(path).state_dict() for path in (made / "fold1-seed7.safetensors", tmp_path / "f.safetensors"))
    assert own.keys() == expected.keys() and all((own[name] == expected[name]).all() for name in own)
    other = load_model(made / "fold1-seed0.safetensors").state_dict()
    assert any((own[name] != other[name]).any() for name in own)
