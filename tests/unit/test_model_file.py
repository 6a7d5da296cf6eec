"""A model file is ours and whole, or refused in one line."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file

from depthmask.errors import UserError
from depthmask.models.model_file import DepthMaskModel, ModelCard, load_model, save_model
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
