"""The leaderboard's rows: spreads, ranks, ties, rows without scores; and what people see of them."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import pytest
from making_models import make_settings

from depthmask.base.errors import UserError
from depthmask.base.files import write_csv
from depthmask.leaderboard.page import build_markdown, build_page
from depthmask.leaderboard.params import load_leaderboard_params
from depthmask.leaderboard.results import read_results
from depthmask.leaderboard.table import COLUMNS, MEASURED, make_rows, rank_rows, summarise
from stages.leaderboard import table as leaderboard_table

ROOT = Path(__file__).resolve().parents[2]
RECIPES = ("default", "dilated_small", "smp_unet")
SEEDS = (0, 1)
# mask IoU and depth AbsRel of each seed
SCORES = {"default": [(0.8, 0.2), (0.6, 0.3)], "dilated_small": [(0.7, 0.1), (0.7, 0.1)]}
HARDWARE = {"processor": "a processor", "cores": 2}


def write(path: Path, value: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


def write_images(path: Path, scores: dict[str, float], background: str = "room") -> None:
    """Scores of 36 images that differ from image to image, the same way for every recipe and seed."""
    rows = [
        {"key": f"{i}", "background": f"{background}{i % 6}", "cutout": f"cat{i // 6}"}
        | {column: mean + (i % 5 - 2) / 10 for column, mean in scores.items()}
        for i in range(36)
    ]
    write_csv(path, list(rows[0]), rows)


@pytest.fixture
def reports(tmp_path) -> Path:
    """What the stages would have left of two trained recipes and of one whose package is not installed."""
    phase = {"learning_rate": 0.003, "epochs": 2, "optimizer": "adamw", "schedule": "one_cycle", "augment": True}
    for name in RECIPES:
        missing = "needs a package <that> is not there" if name == "smp_unet" else None
        phases = [phase | {"image_size_px": side, "batch_size": 4, "samples_per_epoch": 20} for side in (32, 48, 48)]
        settings = make_settings("compact" if name == "default" else name, background_input=name == "default")
        model = settings.model_dump() | {"encoder_weights": "imagenet", "init": None}
        plan = {"missing": missing, "model": model, "phases": phases, "steps": 30, "samples": 120}
        write(tmp_path / f"plan/{name}.json", plan)
        for seed, (iou, abs_rel) in zip(SEEDS, SCORES.get(name, [])):
            extra = {"num_parameters": 1234567, "steps": 30, "images_per_second": 40.0 + 20 * seed, "peak_memory_mib": 700 + seed}
            run = {"extra": extra, "hardware": HARDWARE, "versions": {"torch": "2"}, "commit": "abc", "dirty": False}
            write(tmp_path / f"train/{name}-{seed}/run.json", run)
            test = {
                "mask": {"iou": iou, "dice": iou + 0.1},
                "depth": {"delta1": 0.5, "abs_rel": abs_rel, "rmse": None},
            }
            write(tmp_path / f"score/{name}-{seed}.json", {"test": test})
            write_images(tmp_path / f"score/{name}-{seed}.csv", {"mask_iou": iou, "depth_abs_rel": abs_rel})
    baselines = {
        "mask_empty": {"iou": 0.65, "iou_low": 0.6, "iou_high": 0.7, "dice": 0.0},
        "depth_mean": {"delta1": 0.4, "abs_rel": 0.15, "rmse": 2.0},
    }
    source = {"name": "demo", "depth_unit": "metre", "num_images": 12}
    write(tmp_path / "baselines.json", {"test": baselines, "source": source})
    write(tmp_path / "time.json", {"device": "cpu", "threads": 1, "inference_ms": {"default": 5.5, "dilated_small": 44.0}})
    return tmp_path


def read(reports: Path):
    return read_results(reports, RECIPES, SEEDS)


def test_spread_by_hand():
    assert summarise([0.8, 0.6]) == (0.7, 0.6, 0.8)
    assert summarise([0.25]) == (0.25, 0.25, 0.25)
    assert summarise([0.8, None]) == (None, None, None)
    assert summarise([]) == (None, None, None)


def test_rows_hold_means_spreads_and_costs(reports):
    row = next(row for row in make_rows(read(reports), "mask_iou") if row["name"] == "default")
    assert tuple(row) == COLUMNS
    assert (row["mask_iou"], row["mask_iou_min"], row["mask_iou_max"]) == (0.7, 0.6, 0.8)
    assert (row["depth_abs_rel"], row["depth_abs_rel_min"], row["depth_abs_rel_max"]) == (0.25, 0.2, 0.3)
    assert row["depth_rmse"] is None
    assert (row["sizes_px"], row["batch_sizes"], row["steps"], row["samples"]) == ("32 48 48", "4 4 4", 30, 120)
    # 40 and 60 images a second, so 50 on the mean, and 120 samples
    assert [row[name] for name in MEASURED] == [2.4, 50.0, 5.5, 701]
    assert (row["num_parameters"], row["weights"]) == (1234567, "random")


def test_rows_have_the_interval_of_the_mean_over_the_seeds(reports):
    rows = {row["name"]: row for row in make_rows(read(reports), "mask_iou")}
    row = rows["default"]
    assert 0.6 < row["mask_iou_low"] < 0.7 < row["mask_iou_high"] < 0.8
    assert row["depth_rmse_low"] is None and rows["smp_unet"]["mask_iou_low"] is None
    assert (rows["empty mask"]["mask_iou_low"], rows["empty mask"]["mask_iou_high"]) == (0.6, 0.7)


def test_recipes_whose_seeds_overlap_tie_however_sure_the_images_are(reports):
    for seed, iou in enumerate((0.75, 0.65)):
        write_images(reports / f"score/dilated_small-{seed}.csv", {"mask_iou": iou, "depth_abs_rel": 0.1})
    assert {row["rank"] for row in make_rows(read(reports), "mask_iou") if row["kind"] == "recipe"} == {1, None}


def test_recipes_scored_on_other_images_are_not_ranked(reports):
    write_images(reports / "score/dilated_small-1.csv", {"mask_iou": 0.7, "depth_abs_rel": 0.1}, "elsewhere")
    with pytest.raises(UserError, match="recipe dilated_small: was scored on other test images"):
        make_rows(read(reports), "mask_iou")


def test_ties_share_a_rank_and_rows_without_a_network_have_none(reports):
    ranks = [(row["name"], row["rank"]) for row in make_rows(read(reports), "mask_iou")]
    assert ranks == [("default", 1), ("dilated_small", 1), ("empty mask", None), ("smp_unet", None), ("mean depth", None)]


def test_lower_is_better_where_the_score_says_so(reports):
    ranks = [(row["name"], row["rank"]) for row in make_rows(read(reports), "depth_abs_rel")]
    assert ranks == [("dilated_small", 1), ("mean depth", None), ("default", 2), ("smp_unet", None), ("empty mask", None)]


def test_rows_are_sorted_by_the_mean_and_have_the_ranks_of_the_comparison():
    rows = [dict.fromkeys(COLUMNS) | {"kind": "recipe", "name": name, "mask_iou": iou} for name, iou in zip("cabd", (5, 7, 7, 1))]
    ranked = rank_rows(rows, "mask_iou", {"a": 1, "b": 1, "c": 1, "d": 4})
    assert [(row["name"], row["rank"]) for row in ranked] == [("a", 1), ("b", 1), ("c", 1), ("d", 4)]


def test_a_training_that_does_not_follow_its_plan_is_rejected(reports):
    path = reports / "train/default-1/run.json"
    run = json.loads(path.read_text())
    run["extra"]["steps"] = 29
    path.write_text(json.dumps(run))
    with pytest.raises(UserError, match=r"recipe default: .* the 30 steps of its plan"):
        make_rows(read(reports), "mask_iou")


def test_a_missing_file_is_named(reports):
    (reports / "score/dilated_small-1.json").unlink()
    with pytest.raises(UserError, match=r"score/dilated_small-1\.json: no such file"):
        read(reports)


@pytest.fixture
def params(tmp_path):
    text = (ROOT / "leaderboard/params.yaml").read_text()
    text = re.sub(r"recipes: .*?\nseeds:", f"recipes: [{', '.join(RECIPES)}]\nseeds:", text, flags=re.DOTALL)
    path = tmp_path / "params.yaml"
    path.write_text(text)
    return load_leaderboard_params(path)


def test_markdown_shows_spread_best_and_what_is_skipped(reports, params):
    results = read(reports)
    lines = build_markdown(make_rows(results, "mask_iou"), params, results).splitlines()
    table = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    head, row = table[0], next(cells for cells in table if cells[1] == "default")
    shown = dict(zip(head, row))
    assert re.fullmatch(r"\*\*0\.700 \(0\.6\d\d–0\.7\d\d\), seeds 0\.600–0\.800\*\*", shown["mask IoU ↑"])
    assert shown["depth RMSE, m ↓"] == "–"
    assert shown["parameters"] == "1,234,567"
    assert shown["trained at, px"] == "32, 48 ×2"
    assert len({len(cells) for cells in table}) == 1
    left_out = dict(zip(head, next(cells for cells in table if cells[1].startswith("smp_unet"))))
    assert left_out["recipe"] == "smp_unet (not installed)"
    assert left_out["mask IoU ↑"] == "–"
    sentences = "\n".join(lines)
    assert "needs a package <that> is not there" in sentences
    assert "dvc repro --force --single-item plan@smp_unet" in sentences
    assert f"{params.budget.amount:,} samples" in sentences
    assert "a different number of steps" not in sentences


def test_a_budget_of_seconds_says_that_it_does_not_come_out_twice(reports, params):
    results = read(reports)
    timed = params.model_copy(update={"budget": params.budget.model_copy(update={"kind": "seconds"})})
    assert "a different number of steps" in build_markdown(make_rows(results, "mask_iou"), timed, results)


def test_the_page_needs_nothing_from_elsewhere(reports, params):
    results = read(reports)
    titles = {name: f"Title of {name}." for name in RECIPES}
    page = build_page(make_rows(results, "mask_iou"), params, results, titles)
    assert not re.search(r"(src|href)=[\"'](?!#)", page)
    assert "://" not in page
    assert "&lt;that&gt;" in page
    assert "<that>" not in page
    assert page.count("seeds 0.600–0.800") == 1
    for name in RECIPES:
        assert titles[name] in page


def test_the_stage_writes_four_files(reports, params, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arguments = ["--reports", ".", "--recipes", str(ROOT / "workflow/recipes"), "--csv", "t.csv", "--markdown", "t.md"]
    assert leaderboard_table.main([*arguments, "--page", "t.html", "--metrics", "t.json"]) == 0
    with (tmp_path / "t.csv").open() as text:
        rows = list(csv.DictReader(text))
    assert tuple(rows[0]) == COLUMNS
    assert {row["kind"] for row in rows} == {"recipe", "baseline"}
    metrics = json.loads((tmp_path / "t.json").read_text())
    assert list(metrics) == sorted(RECIPES)
    assert metrics["default"]["mask_iou"] == 0.7
    assert metrics["smp_unet"]["mask_iou"] is None
    assert (tmp_path / "t.md").exists()
    assert (tmp_path / "t.html").exists()
