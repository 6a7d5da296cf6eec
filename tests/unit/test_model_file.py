"""A model file is ours and whole, or refused in one line."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from depthmask.errors import UserError
from depthmask.models.model_file import HEADER_KEY, DepthMaskModel, ModelCard, load_model, make_model, save_model
from depthmask.params import ModelParams


@pytest.fixture
def path(tmp_path):
    settings = ModelParams(name="compact", width=8, dropout=0.5, background_input=False).model_dump()
    save_model(DepthMaskModel(ModelCard(settings, (0.5,) * 3, (0.2,) * 3, "metre", 20.0)), tmp_path / "m.safetensors")
    return tmp_path / "m.safetensors"


def _cut(path):
    path.write_bytes(path.read_bytes()[:-100])


def _foreign(path):
    save_file({"weight": torch.zeros(2)}, path)


def _pickle(path):
    torch.save({"weight": torch.zeros(2)}, path)


def _other_card(path):
    data = path.read_bytes()
    assert b'\\"width\\": 8' in data
    path.write_bytes(data.replace(b'\\"width\\": 8', b'\\"width\\": 4'))


def _remove(path):
    path.unlink()


@pytest.mark.parametrize("spoil", [_cut, _foreign, _pickle, _other_card, _remove])
def test_a_bad_file_is_one_line_that_names_it(path, spoil):
    spoil(path)
    with pytest.raises(UserError) as error:
        load_model(path)
    assert str(error.value).startswith(str(path))
    assert "\n" not in str(error.value)


def test_a_file_from_before_the_standards_is_read(path):
    with safe_open(path, framework="pt") as file:
        header = json.loads(file.metadata()[HEADER_KEY])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
    card = {name: value for name, value in header.items() if not name.startswith(("mask_", "depth_mean", "depth_std"))}
    save_file(tensors, path, metadata={HEADER_KEY: json.dumps(card)})
    card = load_model(path).card
    assert (card.mask_mean, card.mask_std, card.depth_mean, card.depth_std) == (0, 1, 0, 1)


IMAGE = {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.0, 0.2]}


@pytest.mark.parametrize(
    ("channels", "standards"),
    [
        ({}, (0, 1, 0, 1)),
        ({"mask": {"mean": [0.1], "std": [0.3]}, "depth": {"mean": [0.4], "std": [0.25]}}, (0.1, 0.3, 0.4, 0.25)),
        ({"mask": {"mean": [0.0], "std": [0.0]}, "depth": {"mean": None, "std": None}}, (0, 0.001, 0, 1)),
    ],
)
def test_the_card_has_the_statistics_of_the_training_part(channels, standards):
    settings = ModelParams(name="dilated_small", width=8, dropout=0.5, background_input=False)
    card = make_model(settings, {"image": IMAGE, **channels}, {"unit": "metre", "max": 20.0}).card
    assert (card.mask_mean, card.mask_std, card.depth_mean, card.depth_std) == standards
    assert card.image_mean == (0.5, 0.4, 0.3)
    assert card.image_std == (0.2, 0.001, 0.2)
