"""A sample is a pure function of (seed, epoch, index), whoever makes it."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from depthmask.augment import MAKERS, Augmenter
from depthmask.dataset import collate, open_samples
from depthmask.params import AugmentParams
from depthmask.sample import Sample

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


def test_every_transform_of_the_schema_has_a_maker():
    named = {t["transform"] for group in EVERY_TRANSFORM.values() for t in group}
    assert named == set(MAKERS)


def test_a_sample_does_not_depend_on_what_was_made_before(raw, split, params):
    one, other = _open(raw, split, params), _open(raw, split, params)
    forwards = [one.sample(i, epoch=2) for i in range(8)]
    backwards = [other.sample(i, epoch=2) for i in reversed(range(8))][::-1]
    assert all(_same(a, b) for a, b in zip(forwards, backwards, strict=True))
    assert not _same(forwards[0], forwards[1])
    assert not _same(forwards[0], one.sample(0, epoch=3))
    assert not _same(forwards[0], _open(raw, split, params, seed=6).sample(0, epoch=2))


@pytest.mark.parametrize("num_workers", [1, 3])
def test_workers_give_the_same_batches(raw, split, params, num_workers):
    samples = _open(raw, split, params)
    places = [[(1, 4 * batch + i) for i in range(4)] for batch in range(3)]
    loaded = list(DataLoader(samples, batch_sampler=places, collate_fn=collate, num_workers=num_workers))
    for place, batch in zip(places, loaded, strict=True):
        expected = collate([samples[p] for p in place])
        assert batch.keys == expected.keys
        for name in ("image_B3HW", "mask_B1HW", "depth_B1HW", "valid_B1HW"):
            assert torch.equal(getattr(batch, name), getattr(expected, name))


def test_samples_have_the_promised_types_and_ranges(raw, split, params):
    for sample in (_open(raw, split, params, with_background=True).sample(i) for i in range(16)):
        assert sample.image.dtype == sample.background.dtype == np.uint8 and sample.image.shape == (48, 48, 3)
        assert sample.mask.dtype == sample.depth.dtype == np.float32 and sample.valid.dtype == bool
        assert 0 <= sample.mask.min() and sample.mask.max() <= 1
        assert 0 <= sample.depth.min() and sample.depth.max() <= 1
        assert (sample.depth[~sample.valid] == 0).all()


def test_geometry_moves_image_mask_depth_and_background_together(raw, split, params):
    plain = _open(raw, split, params, augment=None, with_background=True)
    flips = Augmenter(AugmentParams(geometric=[{"transform": "horizontal_flip", "probability": 1.0}], photometric=[]))
    before = plain.sample(3)
    after = flips.augment(before, seed=0, epoch=0, index=3)
    for name in ("image", "mask", "depth", "valid", "background"):
        np.testing.assert_array_equal(getattr(after, name), getattr(before, name)[:, ::-1])


def test_colours_change_in_image_and_background_by_draws_of_their_own(raw, split, params):
    plain = _open(raw, split, params, augment=None, with_background=True)
    brighten = {"transform": "brightness_contrast", "probability": 1.0, "brightness": 0.5, "contrast": 0.0}
    before = plain.sample(3)
    after = Augmenter(AugmentParams(geometric=[], photometric=[brighten])).augment(before, seed=0, epoch=0, index=3)
    outside = before.mask == 0
    change = after.image[outside].astype(int).mean() - before.image[outside].mean()
    change_of_background = after.background[outside].astype(int).mean() - before.background[outside].mean()
    assert abs(change - change_of_background) > 1
    np.testing.assert_array_equal(after.mask, before.mask)


def test_evaluation_sets_are_fixed_placements(raw, split, params):
    one = _open(raw, split, params, part="test", augment=None)
    other = _open(raw, split, params, part="test", augment=None, num_samples=10)
    assert all(_same(one.sample(i), other.sample(i)) for i in range(10))


def test_an_evaluation_set_uses_each_background_and_each_cutout_equally_often(raw, split, params):
    test = _open(raw, split, params, part="test", augment=None, num_samples=36)
    samples = [test.sample(i) for i in range(36)]
    for name in ("background_key", "cutout_key"):
        counts = Counter(getattr(s, name) for s in samples)
        assert max(counts.values()) - min(counts.values()) <= 0, counts
    assert len({(s.background_key, s.cutout_key) for s in samples}) == len(test.backgrounds) * len(test.cutouts)


def test_zoom_divides_depth_by_the_enlargement():
    size = 96
    mask = np.zeros((size, size), np.float32)
    mask[32:64, 32:64] = 1
    depth = np.full((size, size), 0.4, np.float32)
    depth[:8] = 1  # the maximum, or farther
    sample = Sample("s", np.zeros((size, size, 3), np.uint8), mask, depth, np.ones((size, size), bool))
    zoom = Augmenter(AugmentParams(geometric=[{"transform": "zoom", "probability": 1.0, "scale_max": 1.5}], photometric=[]))
    seen = []
    for epoch in range(30):
        after = zoom.augment(sample, seed=0, epoch=epoch, index=3)
        enlargement = np.sqrt(after.mask.sum() / mask.sum())
        assert after.depth[size // 2, size // 2] == pytest.approx(0.4 / enlargement, rel=0.06)
        assert after.depth.max() == 1 or enlargement > 1.19  # it left the picture
        seen.append(enlargement)
    assert min(seen) < 0.75 and max(seen) > 1.35
