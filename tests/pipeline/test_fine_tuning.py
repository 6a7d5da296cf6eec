"""docs/fine_tuning.md, followed word for word in a small clone, from a model file to one that was trained from it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml
from reading_pages import list_commands, list_steps
from running_tools import run
from tiny_project import ROOT, TINY, change_params, make_clone

from depthmask.base.files import hash_file
from depthmask.models.model_card import InitCard
from depthmask.models.model_file import load_model

pytestmark = pytest.mark.slow

STEPS = list_steps(ROOT / "docs/fine_tuning.md")
CHECK, APPLY = "depthmask check", "depthmask recipe own_photos --write"


def refuse(root: Path, command: str) -> str:
    """What a command prints that must fail."""
    done = run(root, "bash", "-c", command, check=False)
    assert done.returncode != 0, command
    return done.stdout


def paste_sha256(root: Path) -> None:
    """As the page says: what the check's line ends with goes into params.yaml."""
    said = re.search(
        r"model\.init: \.\./model\.safetensors needs its sha256.*; add (#sha256=[0-9a-f]{64}) to", refuse(root, CHECK)
    )
    change_params(root, {"model": {"init": f"../model.safetensors{said[1]}"}})


def make_small(root: Path) -> None:
    """The recipe has the default's network, and the clone's model a narrower one, which is a line; then all is cut down."""
    assert "has another network than params.yaml; set model.width: 8 (now: 16)" in refuse(root, "dvc repro weights")
    change_params(root, TINY)


def follow(root: Path, steps: list[tuple[str, str, str]]) -> None:
    for _, language, text in steps:
        if language == "yaml":
            change_params(root, yaml.safe_load(text))
        elif language == "sh":
            for command in list_commands(text):
                if command == CHECK:
                    paste_sha256(root)
                run(root, "bash", "-c", command)
                if command == APPLY:
                    make_small(root)


def test_the_page_leads_from_a_model_file_to_one_that_was_trained_from_it(tmp_path):
    root = make_clone(tmp_path / "clone")
    until_depth = [step for step in STEPS if step[0].startswith(("1. ", "2. ", "3. ", "4. "))]
    assert [step[0][:2] for step in until_depth] == ["1.", "2.", "3.", "3.", "3.", "4."]
    follow(root, until_depth)
    theirs, ours = (load_model(path) for path in (tmp_path / "model.safetensors", root / "data/models/finetune.safetensors"))
    assert ours.card.init == InitCard("../model.safetensors", None, hash_file(tmp_path / "model.safetensors"))
    assert ours.card.epochs == 2 * theirs.card.epochs and ours.card.image_mean == theirs.card.image_mean
    assert json.loads((root / "reports/weights/run.json").read_text())["extra"]["differences"] == []
    assert json.loads((root / "data/raw/source.json").read_text())["num_files"] < 3 * 16 + 2  # the few photos, not the pack

    depth_before = ours.state_dict()["network.scene_head.1.0.weight"]
    follow(root, [step for step in STEPS if step[0] == "Without depth maps"])
    run(root, "dvc", "repro", "finetune")
    masks_only = load_model(root / "data/models/finetune.safetensors").state_dict()["network.scene_head.1.0.weight"]
    assert not depth_before.equal(masks_only) and masks_only.equal(theirs.state_dict()["network.scene_head.1.0.weight"])
