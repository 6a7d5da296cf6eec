"""Three sources through the real graph: both tools make the same bytes, and a change in one source reruns what it must."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from making_mixtures import MASK_AND_SHAPE, write_sources
from running_tools import TOOLS, find_different, require_nothing_to_do, run, run_dvc, run_snakemake
from tiny_project import change_params, commit, copy_clone, make_clone

from depthmask.evaluation.not_scored import RELATIVE_DEPTH

pytestmark = pytest.mark.slow

SAME = (
    "reports/index.html",
    "data/split/train.csv",
    "data/models/finetune.safetensors",
    "reports/metrics.json",
    "reports/per_image.csv",
)


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> dict[str, Path]:
    untouched = make_clone(tmp_path_factory.mktemp("several") / "clone")
    change_params(
        untouched,
        {
            "download": {"more_sources": write_sources(untouched)},
            "loss": MASK_AND_SHAPE,
            "split": {"test": 0.25, "validation": 0.2},
        },
    )
    commit(untouched, "three sources")
    roots = {tool: copy_clone(untouched, tmp_path_factory.mktemp(tool) / "clone") for tool in TOOLS}
    for tool, root in roots.items():
        assert {"download_more@rooms", "download_more@composites", "evaluate", "report"} <= TOOLS[tool](root)
    return roots


def test_both_tools_make_the_same_and_nothing_is_left_to_do(made):
    dvc, snakemake = (made[tool] for tool in ("dvc", "snakemake"))
    assert find_different(dvc, snakemake, SAME) == []
    for root in (dvc, snakemake):
        require_nothing_to_do(root)


def test_each_source_has_scores_of_its_own(made):
    root = made["dvc"]
    test = json.loads((root / "reports/metrics.json").read_text())["test"]
    assert list(test["by_source"]) == ["demo", "rooms", "composites"]
    with (root / "reports/per_image.csv").open(newline="") as text:
        rows = list(csv.DictReader(text))
    for name, scores in test["by_source"].items():
        ious = [float(row["mask_iou"]) for row in rows if row["source"] == name]
        assert scores["num_images"] == len(ious) == 4
        assert scores["mask"]["iou"] == pytest.approx(sum(ious) / len(ious), rel=1e-4)
    assert test["by_source"]["rooms"]["depth"]["rmse"] is not None
    assert test["by_source"]["composites"]["depth"]["rmse"] is None, "relative depth has no metres"
    assert test["by_source"]["composites"]["not_scored"]["depth.rmse"] == RELATIVE_DEPTH
    assert list(json.loads((root / "reports/baselines.json").read_text())["test"]["by_source"]) == list(test["by_source"])
    source = json.loads((root / "reports/evaluate/run.json").read_text())["extra"]["source"]
    assert source["name"] == "demo + rooms + composites" and source["sources"]["rooms"]["weight"] == 0.5
    page = (root / "reports/index.html").read_text()
    assert "demo + rooms + composites" in page and "Source" in page


def test_the_card_names_each_source_with_its_scores(made):
    root = made["snakemake"]
    run(root, "env", "PYTHONPATH=workflow", "python", "-m", "depthmask", "export", "--out", "model.safetensors")
    card = (root / "model.md").read_text()
    assert "Data: source `demo + rooms + composites`, 2 epochs in all." in card
    assert "| `rooms` | `assets` | 0.5 | unknown |" in card and "CC0" not in card.split("Data: source")[1]
    iou = json.loads((root / "reports/metrics.json").read_text())["test"]["by_source"]["rooms"]["mask"]["iou"]
    assert any(line.startswith(f"| `rooms` | {iou:.3f} |") for line in card.splitlines())
    assert "data/raw_more" in card


def test_a_changed_source_is_downloaded_again_alone_and_a_removed_one_is_forgotten(made):
    root = made["dvc"]
    for kind in ("bg", "bg_depth"):
        (root / f"rooms/{kind}/room_40.png").unlink()
    ran = run_dvc(root, "split")
    assert "download_more@rooms" in ran and "split" in ran
    assert not {"download", "download_more@composites"} & ran
    change_params(root, {"download": {"more_sources": {}}})
    assert run_dvc(root, "split") >= {"check", "split"}
    assert [path.name for path in (root / "data/raw_more").iterdir()] == [".gitkeep"]
    assert not any((root / "reports/download_more").iterdir())
    assert "up to date" in run(root, "dvc", "status", "split").stdout


def test_under_snakemake_too_nothing_of_a_removed_source_is_packed_or_split(made):
    root = made["snakemake"]
    change_params(root, {"download": {"more_sources": {}}})
    assert {"check", "pack", "split"} <= run_snakemake(root, "data/split")
    assert [path.name for path in (root / "data/raw_more").iterdir()] == [".gitkeep"]
    assert (root / "data/store/index.json").is_file() and not (root / "data/store/more").exists()
    assert run_snakemake(root, "data/split") == set()
