"""docs/your_own_photos.md, followed word for word in a small clone: its commands, its changes of params.yaml, its images."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image
from reading_pages import list_commands, list_steps
from running_tools import run
from tiny_project import ROOT, change_params, make_clone

from depthmask.base.files import read_csv

pytestmark = pytest.mark.slow

STEPS = list_steps(ROOT / "docs/your_own_photos.md")
BEFORE_TRAINING = ("1. ", "2. ", "3. ")
NUM_PHOTOS = 16  # of each kind in the small clone


def follow(root: Path, steps: list[tuple[str, str, str]]) -> str:
    """Do what the page says; returns what was printed."""
    output = ""
    for _, language, text in steps:
        if language == "yaml":
            change_params(root, yaml.safe_load(text))
        elif language == "python":
            output += run(root, "python", "-c", text).stdout
        else:
            assert language == "sh", language
            for command in list_commands(text):
                output += run(root, "bash", "-c", command).stdout
    return output


@pytest.fixture(scope="module")
def looked_at(tmp_path_factory) -> tuple[Path, str]:
    """A clone after the steps before any training, and what they printed."""
    root = make_clone(tmp_path_factory.mktemp("own") / "clone")
    return root, follow(root, [step for step in STEPS if step[0].startswith(BEFORE_TRAINING)])


def test_the_page_leads_from_two_folders_to_a_look_at_composites(looked_at):
    root, output = looked_at
    assert "params.yaml: ok" in output
    assert "only masks" in output  # no depth maps yet, and download says so
    parts = {part: read_csv(root / f"data/split/{part}.csv") for part in ("train", "validation", "test")}
    assert sum(map(len, parts.values())) == 2 * NUM_PHOTOS
    sheets = {name: np.asarray(Image.open(root / f"{name}.png")) for name in ("source", "train", "test")}
    assert all(sheet.std() > 20 for sheet in sheets.values())
    assert not np.array_equal(sheets["train"], sheets["test"])


def test_the_rest_of_the_page_trains_with_depth_and_predicts_with_and_without_a_background(looked_at):
    root, _ = looked_at
    rest = [step for step in STEPS if not step[0].startswith(BEFORE_TRAINING)]
    without = next(number for number, step in enumerate(rest) if "background_input" in step[2])
    follow(root, rest[:without])
    first = json.loads((root / "reports/metrics.json").read_text())["test"]
    assert first["depth"]["delta1"] is not None and (root / "reports/index.html").is_file()
    made = [root / f"predictions/visit_{name}" for name in ("mask.png", "depth.png", "side_by_side.jpg")]
    before = [path.read_bytes() for path in made]
    follow(root, rest[without:])
    assert all(path.read_bytes() != old for path, old in zip(made, before, strict=True))
    assert json.loads((root / "reports/metrics.json").read_text())["test"]["depth"] != first["depth"]
