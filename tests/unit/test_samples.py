"""A sample is a pure function of (seed, epoch, index), whoever makes it."""

from __future__ import annotations

import pickle
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from looking_at_samples import look_at, make_sample
from torch.utils.data import DataLoader

from depthmask.augment import Augmenter
from depthmask.data.batch import ByteBatch
from depthmask.loading.dataset import open_samples
from depthmask.params import AugmentParams
from depthmask.params.augment import TRANSFORMS
from depthmask.training.loading import BatchIndexSampler

EVERY_TRANSFORM = {
    "geometric": [
        {"transform": "horizontal_flip", "probability": 0.5},
        {"transform": "rotate", "probability": 0.5, "limit_deg": 10},
        {"transform": "shift_scale_rotate", "probability": 0.5, "shift": 0.1, "scale": 0.2, "rotate_deg": 10},
        {"transform": "zoom", "probability": 0.5, "scale_max": 1.5},
        {"transform": "grid_distortion", "probability": 0.5, "num_steps": 5, "limit": 0.3},
    ],
    "photometric": [
        {"transform": "brightness_contrast", "probability": 0.5, "brightness": 0.3, "contrast": 0.3},
        {"transform": "hue_saturation", "probability": 0.5, "hue_deg": 20, "saturation": 30, "value": 20},
        {"transform": "blur", "probability": 0.5, "kernel_max_px": 5},
        {"transform": "grey", "probability": 0.5},
        {"transform": "noise", "probability": 0.5, "std_max": 0.1},
        {"transform": "jpeg", "probability": 0.5, "quality_min": 40},
    ],
}


def _open(raw, split, params, part="train", **changes):
    options = {
        "image_size_px": 48,
        "compose": params.compose,
        "seed": 5,
        "num_samples": 64,
        "augment": AugmentParams(**EVERY_TRANSFORM),
    }
    return open_samples(raw, split, part, **{**options, **changes})


def _same(one, other) -> bool:
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in ("image", "mask", "depth", "valid"))


def test_every_transform_of_the_schema_is_tried_here():
    named = {t["transform"] for group in EVERY_TRANSFORM.values() for t in group}
    assert named == set(TRANSFORMS)


def test_a_sample_does_not_depend_on_what_was_made_before(raw, split, params):
    one, other = _open(raw, split, params), _open(raw, split, params)
    forwards = [make_sample(one, i, epoch=2) for i in range(8)]
    backwards = [make_sample(other, i, epoch=2) for i in reversed(range(8))][::-1]
    assert all(_same(a, b) for a, b in zip(forwards, backwards, strict=True))
    assert not _same(forwards[0], forwards[1])
    assert not _same(forwards[0], make_sample(one, 0, epoch=3))
    assert not _same(forwards[0], make_sample(_open(raw, split, params, seed=6), 0, epoch=2))


@pytest.mark.parametrize("num_workers", [1, 3])
def test_workers_give_the_same_batches(raw, split, params, num_workers):
    samples = _open(raw, split, params)
    places = BatchIndexSampler(first_epoch=1, num_epochs=2, steps_per_epoch=3, batch_size=4, done=2)
    loaded = list(DataLoader(samples, sampler=places, batch_size=None, num_workers=num_workers))
    assert len(loaded) == len(places) == 4
    assert list(places)[:2] == [[(1, 8), (1, 9), (1, 10), (1, 11)], [(2, 0), (2, 1), (2, 2), (2, 3)]]
    for place, batch in zip(places, loaded, strict=True):
        _assert_same_batch(batch, samples[place])


def test_a_sample_does_not_depend_on_the_batch_that_it_is_made_in(raw, split, params):
    samples = _open(raw, split, params, with_background=True)
    places = [(epoch, index) for epoch in (0, 1) for index in range(250, 270)]  # across the edge of a block of draws
    whole = samples[places]
    for size in (1, 7):
        for start in range(0, len(places), size):
            part = slice(start, start + size)
            expected = {name: values[part] for name, values in _maps_of(whole).items()}
            _assert_same_batch(samples[places[part]], replace(whole, **expected, origins=whole.origins[part]))


def test_floats_are_the_bytes(raw, split, params):
    batch = _open(raw, split, params, with_background=True)[[(0, index) for index in range(5)]]
    floats = batch.to("cpu", channels_last=True)
    for name in ("image", "background"):
        expected = torch.from_numpy(getattr(batch, name)).permute(0, 3, 1, 2) / 255
        assert torch.equal(getattr(floats, f"{name}_B3HW"), expected), name
    for b in range(5):
        np.testing.assert_array_equal(floats.mask_B1HW[b, 0].numpy(), batch.read_alpha(b))
    np.testing.assert_array_equal(floats.depth_B1HW[:, 0].numpy(), batch.depth)
    np.testing.assert_array_equal(floats.valid_B1HW[:, 0].numpy(), batch.valid)


def test_a_batch_comes_whole_out_of_another_process(raw, split, params):
    batch = _open(raw, split, params, with_background=True)[[(0, 1), (0, 2)]]
    again = pickle.loads(pickle.dumps(batch))
    _assert_same_batch(again, batch)
    assert all(isinstance(values, np.ndarray) and values.flags.writeable for values in _maps_of(again).values())


def _maps_of(batch):
    return {name: value for name, value in vars(batch).items() if isinstance(value, np.ndarray)}


def _assert_same_batch(batch, expected):
    assert batch.origins == expected.origins and _maps_of(batch).keys() == _maps_of(expected).keys()
    for name, values in _maps_of(expected).items():
        np.testing.assert_array_equal(getattr(batch, name), values, err_msg=name)


def test_samples_have_the_promised_types_and_ranges(raw, split, params):
    batch = _open(raw, split, params, with_background=True)[[(0, index) for index in range(16)]]
    for sample in (look_at(batch, b) for b in range(16)):
        assert sample.image.dtype == sample.background.dtype == np.uint8 and sample.image.shape == (48, 48, 3)
        assert sample.mask.dtype == sample.depth.dtype == np.float32 and sample.valid.dtype == bool
        assert 0 <= sample.mask.min() and sample.mask.max() <= 1
        assert 0 <= sample.depth.min() and sample.depth.max() <= 1
        assert (sample.depth[~sample.valid] == 0).all()


def _make_maps(size=48, num_samples=1):
    rng = np.random.default_rng(0)
    maps = ByteBatch.allocate(num_samples, size, size, with_background=True)
    for pixels in (maps.image, maps.mask, maps.background):
        pixels[...] = rng.integers(0, 256, pixels.shape)
    maps.depth[...], maps.valid[...] = rng.random(maps.depth.shape), rng.random(maps.valid.shape) > 0.2
    return maps


def test_geometry_moves_image_mask_depth_and_background_together():
    flips = Augmenter(AugmentParams(geometric=[{"transform": "horizontal_flip", "probability": 1.0}], photometric=[]))
    before, after = _make_maps(), _make_maps()
    flips.augment(after, seed=0, epochs=[0], indices=[3])
    for name in ("image", "mask", "depth", "valid", "background"):
        np.testing.assert_array_equal(getattr(after, name), getattr(before, name)[:, :, ::-1])


def test_colours_change_in_image_and_background_by_draws_of_their_own():
    brighten = {"transform": "brightness_contrast", "probability": 1.0, "brightness": 0.5, "contrast": 0.0}
    before, after = _make_maps(), _make_maps()
    Augmenter(AugmentParams(geometric=[], photometric=[brighten])).augment(after, seed=0, epochs=[0], indices=[3])
    change = after.image.mean() - before.image.mean()
    change_of_background = after.background.mean() - before.background.mean()
    assert abs(change) > 1 and abs(change - change_of_background) > 1
    np.testing.assert_array_equal(after.mask, before.mask)


def test_evaluation_sets_are_fixed_placements(raw, split, params):
    one = _open(raw, split, params, part="test", augment=None)
    other = _open(raw, split, params, part="test", augment=None, num_samples=10)
    assert all(_same(make_sample(one, i), make_sample(other, i)) for i in range(10))


def test_an_evaluation_set_uses_each_background_and_each_cutout_equally_often(raw, split, params):
    test = _open(raw, split, params, part="test", augment=None, num_samples=36)
    origins = test[[(0, index) for index in range(36)]].origins
    for name in ("background", "cutout"):
        counts = Counter(getattr(origin, name) for origin in origins)
        assert max(counts.values()) - min(counts.values()) <= 0, counts
    assert len({(origin.background, origin.cutout) for origin in origins}) == len(test.composer.backgrounds) * len(
        test.composer.cutouts
    )


def test_zoom_divides_depth_by_the_enlargement():
    size = 96
    zoom = Augmenter(AugmentParams(geometric=[{"transform": "zoom", "probability": 1.0, "scale_max": 1.5}], photometric=[]))
    seen = []
    for epoch in range(30):
        maps = ByteBatch.allocate(1, size, size, with_background=False)
        maps.image.fill(0), maps.mask.fill(0), maps.depth.fill(0.4), maps.valid.fill(True)
        maps.mask[:, 32:64, 32:64] = 255
        maps.depth[:, :8] = 1  # the maximum, or farther
        zoom.augment(maps, seed=0, epochs=[epoch], indices=[3])
        enlargement = np.sqrt((maps.mask == 255).sum() / 32**2)
        assert maps.depth[0, size // 2, size // 2] == pytest.approx(0.4 / enlargement, rel=0.06)
        assert maps.depth.max() == 1 or enlargement > 47.5 / 40 - 1 / 32  # it left the image
        seen.append(enlargement)
    assert min(seen) < 0.75 and max(seen) > 1.35
