"""params.yaml and its schema: every mistake is one line that names section, key, value and what is allowed."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from depthmask.base.errors import ParamsError
from depthmask.params import Params, TrainParams, load_params, make_params

ROOT = Path(__file__).resolve().parents[2]
GOOD = yaml.safe_load((ROOT / "params.yaml").read_text())
REMOVED = object()


def change(key: str, value: Any) -> dict[str, Any]:
    """params.yaml's values with one of them changed, or removed; a number in the key is a place in a list."""
    values = copy.deepcopy(GOOD)
    *way, last = [int(part) if part.isdigit() else part for part in key.split(".")]
    section = values
    for part in way:
        section = section[part]
    if value is REMOVED:
        del section[last]
    else:
        section[last] = value
    return values


# (changed key, its value, every one of these is in the message)
MISTAKES = [
    ("sed", 1, ["sed: unknown key", "allowed keys: seed, download"]),
    ("download.depth_teacher", None, ["download.depth_teacher: renamed to download.pseudo_labels; use that name"]),
    ("download.mask", {"fg": [1]}, ["download.mask.fg: unknown key; allowed keys: foreground, background, ignore, invert"]),
    ("download.mask", {}, ["download.mask.foreground: no value is named", "or mask: null"]),
    ("download.mask", {"foreground": [1], "background": [0]}, ["download.mask.background: foreground is set too"]),
    ("download.mask", {"foreground": [1], "invert": True}, ["download.mask.invert: is for grey alpha"]),
    ("download.mask", {"foreground": [1, [0, 0, 0]]}, ["download.mask.foreground: numbers and colours are mixed"]),
    ("download.mask", {"foreground": [1], "ignore": [1]}, ["download.mask.ignore: 1 is named twice"]),
    (
        "download.mask",
        {"foreground": [[192, 128]]},
        ["download.mask.foreground.0: [192, 128]; allowed: number of 0 to 65535"],
    ),
    ("download.mask", {"foreground": [True]}, ["download.mask.foreground.0: true; allowed: number of 0 to 65535"]),
    ("download.depth.raw_max", 0, ["download.depth.raw_max: 0; allowed: greater than or equal to 1"]),
    ("compute.compile", "auto", ["compute.compile: 'auto' was removed; write true or false"]),
    ("compute.compile", "maybe", ["compute.compile: 'maybe'; allowed: valid boolean"]),
    ("pretrain.epoch", 1, ["pretrain.epoch: unknown key", "epochs"]),
    ("download.depth.units", "metre", ["download.depth.units: unknown key", "unit, polarity, max"]),
    ("loss.mask.focal", 1.0, ["loss.mask.focal: unknown key", "bce_with_logits, dice"]),
    ("augment.photometric.0.gamma", 1.0, ["augment.photometric.0.gamma: unknown key"]),
    ("evaluate", REMOVED, ["evaluate: missing key"]),
    ("compose.shadow", REMOVED, ["compose.shadow: missing key", "scale_min"]),
    ("compose.clutter", 9, ["compose.clutter: 9", "less than or equal to 8"]),
    ("compose.clutter", True, ["compose.clutter: true", "integer"]),
    ("compose.harmonize", 1.1, ["compose.harmonize: 1.1", "less than or equal to 1"]),
    ("compose.soften_px", -0.5, ["compose.soften_px: -0.5", "greater than or equal to 0"]),
    ("seed", -1, ["seed: -1", "greater than or equal to 0"]),
    ("seed", 2**32, ["seed: 4294967296", "less than 4294967296"]),
    ("seed", 1.5, ["seed: 1.5", "integer"]),
    ("seed", True, ["seed: true", "integer"]),
    ("seed", None, ["seed: null", "integer"]),
    ("pretrain.epochs", "10", ["pretrain.epochs: '10'", "integer"]),
    ("pretrain.epochs", 0, ["pretrain.epochs: 0", "greater than or equal to 1"]),
    ("pretrain.learning_rate", 0, ["pretrain.learning_rate: 0", "greater than or equal to 0.0000000001"]),
    ("pretrain.learning_rate", float("nan"), ["pretrain.learning_rate: nan", "finite"]),
    ("pretrain.learning_rate", float("inf"), ["pretrain.learning_rate: inf", "finite"]),
    ("finetune.optimizer", "adam", ["finetune.optimizer: 'adam'", "'adamw' or 'sgd'"]),
    ("finetune.augment", "yes", ["finetune.augment: 'yes'", "boolean"]),
    ("finetune.momentum", 1.0, ["finetune.momentum: 1.0", "less than 1"]),
    ("finetune.milestones", 3, ["finetune.milestones: 3", "list"]),
    ("download.source", "web", ["download.source: 'web'", "'demo', 'assets'"]),
    ("download.sha256", "abc", ["download.sha256: 'abc'", "[0-9a-f]{64}"]),
    ("download.path", "", ["download.path"]),
    ("download.depth.raw_max", 70000, ["download.depth.raw_max: 70000", "65535"]),
    ("split.background_group", "(", ["split.background_group: (", "not a regular expression"]),
    ("split.fraction", 0, ["split.fraction: 0", "greater than 0"]),
    ("model.width", 10, ["model.width: 10", "multiple of 4"]),
    ("model.name", "large", ["model.name: 'large'"]),
    ("augment.geometric.0.transform", "shear", ["augment.geometric.0.transform: shear", "shift_scale_rotate"]),
    ("augment.geometric.0", {"probability": 1.0}, ["augment.geometric.0", "transform"]),
    ("augment.geometric.0.probability", 1.5, ["augment.geometric.0.probability: 1.5", "less than or equal to 1"]),
    ("compute.device", "tpu", ["compute.device: 'tpu'", "'cuda'"]),
    ("pretrain", 3, ["pretrain: 3"]),
    ("evaluate.depth_crop", "garg", ["evaluate.depth_crop: 'garg'", "'eigen'"]),
    ("evaluate.depth_min", 0, ["evaluate.depth_min: 0", "greater than or equal to 0.000001"]),
    ("evaluate.depth_max", "10 m", ["evaluate.depth_max: '10 m'", "number"]),
    # combinations
    ("evaluate.depth_max", 80.0, ["evaluate.depth_max: 80 is beyond download.depth.max: 20", "at most that, or null"]),
    ("evaluate.depth_min", 20.0, ["evaluate.depth_min: 20 is beyond download.depth.max: 20", "below it, or null"]),
    ("split.test", 0.95, ["split", "validation: ", "test: 0.95", "sum below 1"]),
    ("compose.scale_min", 0.9, ["compose.scale_min: 0.9", "scale_max: 0.6"]),
    ("compose.fit", "stretch", ["compose.field_of_view_deg:", "needs fit: crop, not stretch"]),
    ("pretrain.batch_size", 9999, ["pretrain.batch_size: 9999", "samples_per_epoch"]),
    ("pretrain.schedule", "step", ["pretrain.schedule: step", "milestones"]),
    ("pretrain.milestones", [3, 2], ["pretrain.milestones: [3, 2]", "increasing"]),
    ("download.composites_per_cutout", 3, ["download.composites_per_cutout: 3", "composites_per_background: 4000"]),
    ("loss", {"mask": {}, "depth": {}, "foreground": 1.0, "scale": 1.0, "balance": None}, ["loss", "every weight is 0"]),
    ("loss.scale", 0, ["loss.scale: 0", "greater than or equal to 0.000001"]),
    ("loss.balance", {"max": 0.5}, ["loss.balance.max: 0.5", "greater than or equal to 1"]),
    ("loss.balance", {"min": 2.0}, ["loss.balance.m"]),
    ("loss.depth.cross_entropy", 1.0, ["loss.depth.cross_entropy: 1; model.name: encoder_decoder", "allowed: 0"]),
    (
        "pretrain.frozen_encoder_stages",
        101,
        ["pretrain.frozen_encoder_stages: 101 is not a number of stages", "allowed: all, or 0 to 100"],
    ),
    ("finetune.frozen_encoder_stages", "most", ["finetune.frozen_encoder_stages: most is not a number of stages"]),
    (
        "model.encoder_weights",
        "none",
        ["pretrain.frozen_encoder_stages: all; model.encoder_weights: none would freeze random weights"],
    ),
    ("finetune.more_phases", [{"epochs": 0}], ["finetune.more_phases.0.epochs: 0", "greater than or equal to 1"]),
    ("finetune.more_phases", [{"epochs": 1}, {"epoch": 1}], ["finetune.more_phases.1.epoch: unknown key"]),
]


@pytest.mark.parametrize(("key", "value", "printed"), MISTAKES, ids=[f"{key}={str(value)[:20]}" for key, value, _ in MISTAKES])
def test_mistake_is_one_line_that_says_all(key, value, printed):
    with pytest.raises(ParamsError) as error:
        make_params(change(key, value), where="params.yaml")
    message = str(error.value)
    assert "\n" not in message
    assert message.startswith("params.yaml: ")
    for part in printed:
        assert part in message
    assert error.value.exit_code == 2


def test_background_input_needs_a_source_that_has_it():
    values = change("model.background_input", True)
    make_params(values)
    values["download"]["source"] = "flat_numbered"
    with pytest.raises(ParamsError, match=r"model\.background_input: true .* download\.source: flat_numbered"):
        make_params(values)


@pytest.mark.parametrize("task", ["mask", "depth"])
def test_ms_ssim_needs_large_enough_pictures(task):
    values = change(f"loss.{task}.ms_ssim", 1.0)
    make_params(values)
    values["pretrain"]["image_size_px"] = 16
    with pytest.raises(ParamsError, match=rf"loss\.{task}\.ms_ssim .* pretrain\.image_size_px: 16"):
        make_params(values)


def test_phases_inherit_from_their_section():
    values = change("finetune.more_phases", [{"image_size_px": 160}, {"epochs": 3}])
    phases = make_params(values).finetune.phases()
    assert [phase.image_size_px for phase in phases] == [
        GOOD["finetune"]["image_size_px"],
        160,
        GOOD["finetune"]["image_size_px"],
    ]
    assert [phase.epochs for phase in phases] == [GOOD["finetune"]["epochs"], GOOD["finetune"]["epochs"], 3]


def write(folder: Path, text: str) -> Path:
    path = folder / "params.yaml"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("text", "printed"),
    [("", "has no sections"), ("- 1", "has no sections"), ("seed: [", "is not YAML"), ("seed: 0\n\tx: 1", "contains a tab")],
)
def test_file_that_is_no_mapping_is_one_line(tmp_path, text, printed):
    with pytest.raises(ParamsError, match=printed) as error:
        load_params(write(tmp_path, text))
    assert "\n" not in str(error.value)


def test_missing_file_is_one_line(tmp_path):
    with pytest.raises(ParamsError, match=r"params\.yaml: cannot be read .* run from the project's folder"):
        load_params(tmp_path / "params.yaml")


@pytest.mark.parametrize("number", ["1e-3", "1E-3", "1.0e-3", "0.001", "+1e-3"])
def test_number_with_an_exponent_is_a_number_as_for_dvc(tmp_path, number):
    text = (ROOT / "params.yaml").read_text()
    text, count = re.subn(r"learning_rate: [0-9.]+", f"learning_rate: {number}", text)
    assert count
    assert load_params(write(tmp_path, text)).pretrain.learning_rate == 0.001


def test_loading_touches_nothing_on_disk(tmp_path):
    path = write(tmp_path, (ROOT / "params.yaml").read_text())
    before = path.stat()
    load_params(path)
    assert list(tmp_path.iterdir()) == [path]
    assert path.stat().st_mtime_ns == before.st_mtime_ns


def list_keys(values: Any, model: Any) -> tuple[set[str], set[str]]:
    """Dotted keys of a nested mapping, and those of the schema beside it."""
    ours, schema = set(values), set(model.model_fields)
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel) and name in values:
            below = list_keys(values[name], field.annotation)
            ours |= {f"{name}.{key}" for key in below[0]}
            schema |= {f"{name}.{key}" for key in below[1]}
    return ours, schema


def test_params_yaml_and_the_schema_have_the_same_keys():
    ours, schema = list_keys(GOOD, Params)
    optional = {key for key in schema if key.startswith(("loss.mask.", "loss.depth."))}
    assert ours - schema == set(), "take these out of params.yaml, or add them to the schema"
    assert schema - ours - optional == set(), "add these to params.yaml, or take them out of the schema"


def test_both_training_sections_have_the_same_keys_in_the_same_order():
    *fields, last, phases = TrainParams.model_fields
    # DVC drops the blank line after a list, so a list is not a section's last key
    assert list(GOOD["pretrain"]) == list(GOOD["finetune"]) == [*fields, phases, last]


@pytest.mark.parametrize(("own", "used"), [(None, 7), (3, 3), (0, 0)])
def test_the_split_has_the_seed_of_everything_or_its_own(own, used):
    values = copy.deepcopy(GOOD)
    values["seed"], values["split"]["seed"] = 7, own
    assert make_params(values, "params.yaml").split_seed == used
