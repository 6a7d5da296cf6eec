"""`dvc exp run -S` writes params.yaml again; in the layout of ours it changes nothing but the value that was set."""

from __future__ import annotations

import difflib
import shutil
from pathlib import Path

import pytest
import yaml
from dvc.utils.hydra import apply_overrides
from dvc.utils.serialize import dump_yaml, parse_yaml_for_update

from depthmask.recipe_yaml import load_document

ROOT = Path(__file__).resolve().parents[2]
PARAMS = ("params.yaml", "leaderboard/params.yaml", "cross_validation/params.yaml", "sweep/params.yaml")
RECIPES = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "workflow/recipes").glob("*.yaml"))
REPAIR = "no value where it is null, no needless quotes, lists not indented and an item a line, nothing after their last item"


def override(path: Path, *overrides: str) -> list[str]:
    """What `dvc exp run -S` does to a file; returns the lines that are gone, with -, and those that are new, with +."""
    before = path.read_text().splitlines()
    apply_overrides(path, list(overrides))
    lines = difflib.ndiff(before, path.read_text().splitlines())
    return [line for line in lines if line.startswith(("-", "+"))]


@pytest.fixture
def params(tmp_path) -> Path:
    return Path(shutil.copy(ROOT / "params.yaml", tmp_path / "params.yaml"))


@pytest.mark.parametrize("name", PARAMS)
def test_dvc_keeps_the_layout_of_params(tmp_path, name):
    path = Path(shutil.copy(ROOT / name, tmp_path / "params.yaml"))
    assert override(path, "++unheard_of=1") == ["+ unheard_of: 1"], f"{name}: DVC changes its layout; allowed: {REPAIR}"


@pytest.mark.parametrize("name", [*RECIPES, "docs/params_more.yaml"])
def test_what_is_copied_into_params_has_the_same_layout(tmp_path, name):
    path, text = tmp_path / "params.yaml", (ROOT / name).read_text()
    dump_yaml(path, parse_yaml_for_update(text, name))
    assert path.read_text() == text, f"{name}: allowed: {REPAIR}"


def test_a_value_that_is_set_changes_its_line_alone(params):
    assert override(params, "seed=7") == [
        "- seed: 0                         # seeds every random choice: split, placement, augmentation, initial weights",
        "+ seed: 7                         # seeds every random choice: split, placement, augmentation, initial weights",
    ]
    for key, value in {
        "compose.view_min": "0.5",
        "pretrain.clip_norm": "null",
        "split.background_group": "room",
        "augment.geometric.0.rotate_deg": "7",
        "augment.photometric.3.probability": "0.1",
        "finetune.freeze_batch_norm": "true",
    }.items():
        gone, new = override(params, f"{key}={value}")
        name = key.rpartition(".")[2]
        assert gone.split("#")[0].split(":")[0].split()[-1] == new.split("#")[0].split(":")[0].split()[-1] == name, key
        assert gone.partition("#")[2] == new.partition("#")[2], key
        assert yaml.safe_load(new[2:].strip().removeprefix("- "))[name] == yaml.safe_load(value), key


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("a: null\nb: 1\n", "a null that is written"),
        ("a:\n  - 1\nb: 1\n", "an indented list"),
        ("a: [1, 2]\nb: 1\n", "a list in one line"),
        ("a:\n- 1\n\nb: 1\n", "a blank line after a list"),
        ("a:\n- 1  # one\nb: 1\n", "a comment in a list"),
        ("a: 'x'\nb: 1\n", "needless quotes"),
    ],
)
def test_the_check_finds_what_dvc_would_change(tmp_path, text, what):
    path = tmp_path / "params.yaml"
    path.write_text(text)
    assert override(path, "b=1"), what


def test_a_list_that_is_set_keeps_the_comments_around_it(params):
    before = load_document(params.read_text())
    override(params, "pretrain.more_phases=[{image_size_px:64,epochs:1}]", "pretrain.milestones=[1,2]")
    text = params.read_text()
    assert "  more_phases:                  # further phases, trained in this order; each a mapping" in text
    assert "  loss_upscale: 1               # 1 | 2 | 4:" in text
    assert "\n\nfinetune:" in text
    assert list(load_document(text)) == list(before)
