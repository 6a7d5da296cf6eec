"""A model trained on composites, then trained further and scored on photos of which some have masks, some depth, some both."""

from __future__ import annotations

import csv
import json
import subprocess
from pathlib import Path

import pytest
import yaml
from making_layouts import make_composites, write_photos
from reading_pages import list_steps
from running_tools import run
from tiny_project import ROOT, change_params, make_clone

from depthmask.base.files import hash_file
from depthmask.models.model_file import load_model

pytestmark = pytest.mark.slow

COMPOSITES = make_composites(15, 2, num_places=1)
SCORES = ("iou", "dice", "precision", "recall", "mae")


def lacks(number: int, kind: str) -> bool:
    """Of 30 photos a third each has masks only, depth only, and both; half have a clean background."""
    missing = {"masks": number % 3 == 1, "depth": number % 3 == 2, "background": number % 2 == 0}
    return missing.get(kind, False)


def depthmask(root: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """The command, by the code of the clone."""
    return run(root, "env", "PYTHONPATH=workflow", "python", "-m", "depthmask", *words)


def read_rows(root: Path) -> list[dict[str, str]]:
    with (root / "reports/per_image.csv").open(newline="") as text:
        return list(csv.DictReader(text))


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """A clone that has trained on composites first, then on photos from there."""
    root = make_clone(tmp_path_factory.mktemp("photos") / "clone")
    change_params(root, {"model": {"background_input": False}})
    run(root, "dvc", "repro", "finetune")
    init = root.parent / "composites.safetensors"
    (root / "data/models/finetune.safetensors").rename(init)
    changes = write_photos(root / "set", COMPOSITES, lacks)
    ((_, _, text),) = [step for step in list_steps(ROOT / "docs/fine_tuning.md") if step[0] == "On photos with ground truth"]
    change_params(root, yaml.safe_load(text))
    change_params(
        root,
        {
            "download": {"path": "set"} | changes,
            "split": {"test": 0.3, "validation": 0.2},
            "model": {"init": f"../composites.safetensors#sha256={hash_file(init)}"},
            "pretrain": {"samples_per_epoch": 16, "keep": "best", "schedule": "plateau", "early_stop_epochs": 5},
            "finetune": {"samples_per_epoch": 16},
        },
    )
    run(root, "dvc", "repro")
    return root


def test_training_continues_from_composites_on_photos(trained):
    before, after = (
        load_model(trained.parent / "composites.safetensors"),
        load_model(trained / "data/models/finetune.safetensors"),
    )
    assert after.card.init.sha256 == hash_file(trained.parent / "composites.safetensors")
    assert after.card.epochs == 2 * before.card.epochs
    for name in ("network.scene_head.1.0.weight", "network.mask_head.1.0.weight"):
        if name in after.state_dict():
            assert not after.state_dict()[name].equal(before.state_dict()[name])
    for stage in ("pretrain", "finetune"):
        with (trained / f"reports/{stage}/history.csv").open(newline="") as text:
            rows = list(csv.DictReader(text))
        assert all(float(row["validation_loss"]) > 0 and 0 <= float(row["validation_mask_dice"]) <= 1 for row in rows)


def test_scores_are_over_the_photos_that_have_the_truth(trained):
    test, rows = json.loads((trained / "reports/metrics.json").read_text())["test"], read_rows(trained)
    keys = [int(row["key"].removeprefix("photo")) for row in rows]
    for number, row in zip(keys, rows, strict=True):
        assert (row["mask_fraction"] == "") == (row["mask_mae"] == "") == lacks(number, "masks")
        assert (row["depth_rmse"] == "") == lacks(number, "depth") and (row["valid_fraction"] == "0.0") == lacks(number, "depth")
    known = {kind: sum(not lacks(number, kind) for number in keys) for kind in ("masks", "depth")}
    assert 0 < known["masks"] < len(keys) and 0 < known["depth"] < len(keys)
    assert (test["num_images_with_mask"], test["num_images_with_depth"]) == (known["masks"], known["depth"])
    assert test["num_scored"]["mask.mae"] == known["masks"] and test["num_scored"]["depth.delta1"] == known["depth"]
    for name in SCORES:
        values = [float(row[f"mask_{name}"]) for row in rows if row[f"mask_{name}"]]
        assert test["mask"][name] == pytest.approx(sum(values) / len(values), rel=1e-4)


def test_the_files_and_the_page_say_what_is_known(trained):
    record = json.loads((trained / "data/store/source.json").read_text())
    assert record["warnings"][:3] == [
        "20 of 30 photos have a mask; the others do not count in mask losses and scores",
        "20 of 30 photos have a depth map; the others do not count in depth losses and scores",
        "15 of 30 photos have a clean background: with model.background_input: true only these are used",
    ]
    page = (trained / "reports/index.html").read_text()
    assert "The parts share no photo, no copy of one, and no clean background." in page and "pre-composited" not in page
    num = json.loads((trained / "reports/metrics.json").read_text())["test"]["num_images_with_mask"]
    assert f"mean over {num} of" in page
    assert f"mean over {num} of" in depthmask(trained, "scores").stdout
    shown = run(trained, "dvc", "metrics", "show").stdout
    assert "test.mask.iou" in shown and "test.num_scored.mask.iou" in shown


def test_with_a_background_input_only_photos_that_have_one_are_used_and_a_set_of_depth_alone_has_no_mask_score(trained):
    """The same photos without their masks."""
    for file in (trained / "set/masks").iterdir():
        if not lacks(int(file.stem.removeprefix("photo")), "depth"):
            file.unlink()
    for kind in ("images", "masks", "background"):
        for file in (trained / f"set/{kind}").iterdir():
            if lacks(int(file.stem.removeprefix("photo")), "depth"):
                file.unlink()
    change_params(trained, {"model": {"background_input": True}, "pretrain": {"batch_size": 4}, "finetune": {"batch_size": 4}})
    run(trained, "dvc", "repro")
    test, rows = json.loads((trained / "reports/metrics.json").read_text())["test"], read_rows(trained)
    assert not any(lacks(int(row["key"].removeprefix("photo")), "background") for row in rows)
    assert set(test["mask"].values()) == {None} and test["depth"]["delta1"] is not None
    assert test["not_scored"]["mask.iou"] == "no test image has a known mask" and test["num_images_with_mask"] == 0
    shown = depthmask(trained, "scores").stdout
    assert "mask IoU, mask Dice: – not scored, no test image has a known mask" in " ".join(shown.split())
    assert "no test image has a known mask" in (trained / "reports/index.html").read_text()
    assert "| no test image has a known mask" in run(trained, "dvc", "metrics", "show", "--md").stdout
    assert "test.not_scored.mask.iou" in run(trained, "dvc", "metrics", "diff", "--all", "--md").stdout
    depthmask(trained, "export", "--out", "exported.safetensors")
    assert "| mask IoU | higher is better | – |" in (trained / "exported.md").read_text()
    assert "no test image has a known mask" in depthmask(trained, "card", "exported.safetensors").stdout
