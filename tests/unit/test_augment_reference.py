"""Each transform gives what albumentations gives with the same values."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from pydantic import TypeAdapter

from depthmask.augment import Augmenter
from depthmask.augment.geometric import GEOMETRIC, place_pixels
from depthmask.augment.photometric import PHOTOMETRIC, draw_noise
from depthmask.augment.reference import EDGES, TARGETS, A
from depthmask.base.errors import UserError
from depthmask.data.batch import ByteBatch
from depthmask.params.augment import TRANSFORMS

SIZE = 48

# name: its params, and albumentations' transform of exactly these values (uniforms 0..1)
GEOMETRIC_CASES = {
    "horizontal_flip": ({}, lambda v: A.HorizontalFlip(p=1)),
    "rotate": ({"limit_deg": 30}, lambda v: A.Rotate(limit=(_spread(v[0], 30),) * 2, p=1, **EDGES)),
    "shift_scale_rotate": (
        {"shift": 0.2, "scale": 0.3, "rotate_deg": 20},
        lambda v: A.Affine(
            translate_percent={"x": (_spread(v[0], 0.2),) * 2, "y": (_spread(v[1], 0.2),) * 2},
            scale={"x": (1 + _spread(v[2], 0.3),) * 2, "y": (1 + _spread(v[3], 0.3),) * 2},
            rotate=(_spread(v[4], 20),) * 2,
            p=1,
            **EDGES,
        ),
    ),
}


class GridOf(A.GridDistortion):
    """Given draws in place of its own."""

    def __init__(self, draws, **params):
        super().__init__(**params)
        self.draws = draws

    def get_params_dependent_on_data(self, params, data):
        draws = iter(self.draws)
        self.py_random = SimpleNamespace(uniform=lambda low, high: low + next(draws) * (high - low))
        return super().get_params_dependent_on_data(params, data)


class NoiseOf(A.GaussNoise):
    """A given map of noise in place of its own."""

    def __init__(self, std, key):
        super().__init__(p=1)
        self.std, self.key = std, key

    def get_params_dependent_on_data(self, params, data):
        return {"noise_map": draw_noise(data["image"].shape, self.std, self.key)}


GEOMETRIC_CASES["grid_distortion"] = (
    {"num_steps": 5, "limit": 0.3},
    lambda v: GridOf(v, num_steps=5, distort_limit=0.3, p=1, **EDGES),
)
PHOTOMETRIC_CASES = {
    "brightness_contrast": (
        {"brightness": 0.4, "contrast": 0.5},
        lambda v: A.RandomBrightnessContrast((_spread(v[0], 0.4),) * 2, (_spread(v[1], 0.5),) * 2, p=1),
    ),
    "hue_saturation": (
        {"hue_deg": 40, "saturation": 60, "value": 50},
        lambda v: A.HueSaturationValue((_spread(v[0], 20),) * 2, (_spread(v[1], 60),) * 2, (_spread(v[2], 50),) * 2, p=1),
    ),
    "blur": ({"kernel_max_px": 7}, lambda v: A.Blur(blur_limit=(3 + 2 * int(3 * v[0]),) * 2, p=1)),
    "grey": ({}, lambda v: A.ToGray(p=1)),
    "noise": ({"std_max": 0.2}, lambda v: NoiseOf(0.2 * v[0], v[1])),
    "jpeg": ({"quality_min": 40}, lambda v: A.ImageCompression(quality_range=(40 + int(61 * v[0]),) * 2, p=1)),
}


def _spread(value, limit):
    return (2 * value - 1) * limit


def _make_params(name, values):
    return TypeAdapter(TRANSFORMS[name]).validate_python({"transform": name, "probability": 1.0, **values})


def _make_picture(seed):
    """Something with edges and smooth parts."""
    rng = np.random.default_rng(seed)
    image = cv2.resize(rng.integers(0, 256, (7, 7, 3), np.uint8), (SIZE, SIZE), interpolation=cv2.INTER_CUBIC)
    image[10:20, 5:30] = rng.integers(0, 256, 3)
    return image


def test_what_has_a_form_of_its_own_is_compared():
    assert set(GEOMETRIC_CASES) == set(GEOMETRIC) - {"zoom"}  # to albumentations, depth is a mask like any other
    assert set(PHOTOMETRIC_CASES) == set(PHOTOMETRIC)


@pytest.mark.parametrize("name", GEOMETRIC_CASES)
def test_geometric(name):
    changes, make = GEOMETRIC_CASES[name]
    function, num_values = GEOMETRIC[name]
    num_values = num_values(_make_params(name, changes)) if callable(num_values) else num_values
    for seed in range(25):
        rng = np.random.default_rng(100 + seed)
        values = rng.random(num_values).tolist()
        maps = ByteBatch.allocate(1, SIZE, SIZE, with_background=True)
        maps.image[0], maps.background[0] = _make_picture(seed), _make_picture(1000 + seed)
        maps.mask[0], maps.depth[0] = rng.integers(0, 256, (SIZE, SIZE)), rng.random((SIZE, SIZE))
        maps.valid[0] = rng.random((SIZE, SIZE)) > 0.2
        before = {n: getattr(maps, n)[0].copy() for n in ("image", "mask", "depth", "background")}
        before["valid"] = maps.valid[0].astype(np.uint8)
        function(maps, 0, _make_params(name, changes), values)
        expected = A.Compose([make(values)], additional_targets=TARGETS)(**before)
        for kind, wanted in expected.items():
            got = getattr(maps, kind)[0]
            if kind in ("image", "background"):
                assert np.abs(got.astype(int) - wanted).max() <= 1, (kind, values)
            else:  # picked, not mixed: a pixel on the line between two others may go either way
                assert (got.astype(wanted.dtype) != wanted).mean() <= 0.002, (kind, values)


@pytest.mark.parametrize("name", PHOTOMETRIC_CASES)
def test_photometric(name):
    changes, make = PHOTOMETRIC_CASES[name]
    function, num_values = PHOTOMETRIC[name]
    for seed in range(25):
        values = np.random.default_rng(seed).random(num_values).tolist()
        image = _make_picture(seed)
        got = function(image.copy(), _make_params(name, changes), values)
        wanted = A.Compose([make(values)])(image=image.copy())["image"]
        assert got.dtype == np.uint8 and np.abs(got.astype(int) - wanted).max() <= 1, values


def test_every_transform_of_the_schema_is_native():
    assert set(TRANSFORMS) == set(GEOMETRIC) | set(PHOTOMETRIC)


@pytest.mark.parametrize(("size_px", "num_steps"), [(48, 5), (48, 20), (33, 1), (20, 20), (39, 20)])
def test_a_grid_fills_the_picture_whatever_its_cells(size_px, num_steps):
    stretches = np.random.default_rng(0).uniform(0.7, 1.3, num_steps + 1)
    places = place_pixels(size_px, num_steps, stretches)
    assert places[0] == 0 and places.max() == pytest.approx(places[-1]) and (np.diff(places) >= 0).all()
    assert size_px - 2 * 1.9 * size_px / num_steps <= places[-1] <= size_px + 1e-3


def test_without_albumentations_its_transforms_are_rejected_in_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "albumentations", None)
    monkeypatch.delitem(sys.modules, "depthmask.augment.reference", raising=False)
    monkeypatch.delattr("depthmask.augment.reference", raising=False)
    for params in (SimpleNamespace(transform="gamma", probability=0.5), _make_params("grey", {})):
        listed = SimpleNamespace(geometric=[], photometric=[params])
        if params.transform in PHOTOMETRIC:
            Augmenter(listed)
        else:
            with pytest.raises(UserError, match="transform: gamma needs the package albumentations"):
                Augmenter(listed)
