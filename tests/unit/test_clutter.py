"""Clutter is part of the scene: in image and clean background alike, with its depth, behind the foreground, and no foreground."""

from __future__ import annotations

import numpy as np
import pytest
from looking_at_samples import Seen, compose_one, look_at, make_sample
from torch.utils.data import DataLoader

from depthmask.compose.clutter import FINISH, PlacedCutout, choose_other, draw_clutter, keep_behind
from depthmask.compose.compose import prepare_background, prepare_cutout
from depthmask.compose.composer import Composer
from depthmask.compose.placing import Placement
from depthmask.data.batch import ByteBatch
from depthmask.data.sample import Background, Cutout
from depthmask.loading.dataset import open_samples
from depthmask.loading.split_files import read_part
from depthmask.params.data import TRAINING_ONLY_OFF
from depthmask.sources import open_source
from depthmask.split.statistics import measure_channels
from depthmask.training.loading import BatchIndexSampler

SIZE = 64
EVERYTHING = {"view_min": 0.7, "harmonize": 0.8, "soften_px": 1.5, "match_sharpness": 0.5, "match_noise": 0.5, "clutter": 3}
MAPS = ("image", "mask", "depth", "valid", "background")


def _make_scene(with_depth=True):
    image = np.full((SIZE, SIZE, 3), 100, np.uint8)
    depth = np.full((SIZE, SIZE), 0.8, np.float32)
    return prepare_background(Background("b", image, *([depth, depth > 0] if with_depth else [None, None])), SIZE, "crop", 10.0)


def _make_figure(colour):
    rgba = np.zeros((20, 20, 4), np.uint8)
    rgba[:] = (*colour, 255)
    return prepare_cutout(Cutout("c", rgba), SIZE)


RED, BLUE = _make_figure((200, 0, 0)), _make_figure((0, 0, 200))
FOREGROUND = Placement(30, 20, 20, 20, 0.3)
OVERLAPPED, BESIDE = np.s_[20:40, 30:40], np.s_[20:40, 20:30]  # of clutter 10 px to the left of the foreground


def _compose_with_clutter(foot_depth, scene=None, **changes) -> Seen:
    clutter = [PlacedCutout(BLUE, Placement(20, 20, 20, 20, foot_depth, **changes), None)]
    place = FOREGROUND._replace(**changes)
    return compose_one(scene or _make_scene(), RED, place, 0, True, clutter=clutter)


def test_clutter_is_in_image_and_clean_background_alike_and_not_in_the_mask():
    sample = _compose_with_clutter(0.6)
    outside = sample.mask == 0
    np.testing.assert_array_equal(sample.image[outside], sample.background[outside])
    for place in (OVERLAPPED, BESIDE):
        assert (sample.background[place] == (0, 0, 200)).all()
    assert (sample.image[BESIDE] == (0, 0, 200)).all() and not sample.mask[BESIDE].any()
    assert (sample.image[OVERLAPPED] == (200, 0, 0)).all(), "the foreground hides it"
    assert sample.mask.sum() == 20 * 20


def test_depth_is_clutter_s_beside_the_foreground_and_the_foreground_s_in_front_of_it():
    sample = _compose_with_clutter(0.6)
    np.testing.assert_allclose(sample.depth[BESIDE], 0.6, atol=1e-6)
    np.testing.assert_allclose(sample.depth[OVERLAPPED], 0.3, atol=1e-6)
    np.testing.assert_allclose(sample.depth[:20], 0.8, atol=1e-6)
    assert sample.valid.all()


def test_clutter_of_unknown_depth_leaves_a_hole_in_valid_but_for_what_stands_before_it():
    sample = _compose_with_clutter(None)
    assert not sample.valid[BESIDE].any() and (sample.depth[BESIDE] == 0).all()
    assert sample.valid[OVERLAPPED].all() and sample.valid.sum() == SIZE * SIZE - 20 * 10
    without = _compose_with_clutter(None, scene=_make_scene(with_depth=False))
    assert not without.valid.any() and (without.background[BESIDE] == (0, 0, 200)).all()


def test_a_flipped_background_moves_clutter_with_every_map():
    plain, flipped = _compose_with_clutter(0.6), _compose_with_clutter(0.6, flip_background=True)
    for name in MAPS:
        np.testing.assert_array_equal(getattr(flipped, name), getattr(plain, name)[:, ::-1])


def test_only_what_is_not_nearer_than_the_foreground_is_kept_from_far_to_near():
    things = {depth: PlacedCutout(BLUE, FOREGROUND._replace(foot_depth=depth), None) for depth in (0.5, None, 0.2, 0.9, 0.3)}
    kept = keep_behind(list(things.values()), FOREGROUND)
    assert [thing.box.foot_depth for thing in kept] == [None, 0.9, 0.5, 0.3]
    unknown = keep_behind(list(things.values()), FOREGROUND._replace(foot_depth=None))
    assert [thing.box.foot_depth for thing in unknown] == [None, 0.9, 0.5, 0.3, 0.2], "it is drawn last whatever its depth"


def test_each_number_of_objects_is_as_frequent_as_the_others_and_each_object_has_its_own_draws():
    owners, draws = draw_clutter(3, 0, [0] * 2000, range(2000))
    numbers = np.bincount(owners, minlength=2000)
    np.testing.assert_allclose(np.bincount(numbers, minlength=4) / 2000, 0.25, atol=0.04)
    assert draws.shape == (len(owners), FINISH.stop) and len(np.unique(draws[:, 0])) == len(owners)
    fewer, fewer_draws = draw_clutter(3, 0, [0], [7])
    np.testing.assert_array_equal(fewer_draws, draws[[n for n, owner in enumerate(owners) if owner == 7]])
    assert len(fewer) == numbers[7] and draw_clutter(0, 0, [0] * 9, range(9))[0] == []


def test_clutter_is_another_cutout_than_the_foreground():
    chosen = {choose_other(draw, 2, 5) for draw in np.linspace(0, 1, 200, endpoint=False)}
    assert chosen == {0, 1, 3, 4}
    assert choose_other(0.99, 1, 2) == 0


def _open(raw, split, params, part="train", size_px=48, **changes):
    compose = params.compose.model_copy(update=changes)
    common = {"image_size_px": size_px, "seed": 5, "num_samples": 24, "with_background": True}
    return open_samples(raw, split, part, compose=compose, **common)


def _assert_same(one: Seen, other: Seen) -> None:
    assert one.origin == other.origin
    for name in MAPS:
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


def test_training_composites_keep_their_foregrounds_when_clutter_is_added(raw, split, params):
    shadowless = {"shadow": 0.0}
    plain, cluttered = _open(raw, split, params, **shadowless), _open(raw, split, params, **shadowless, clutter=3)
    num_changed = 0
    for index in range(24):
        before, after = make_sample(plain, index), make_sample(cluttered, index)
        assert after.origin == before.origin
        np.testing.assert_array_equal(after.mask, before.mask)
        outside = after.mask == 0
        np.testing.assert_array_equal(after.image[outside], after.background[outside])
        changed = (after.background != before.background).any(axis=2)
        num_changed += changed.any()
        seen = after.valid & before.valid
        assert (after.depth[seen] <= before.depth[seen]).all(), "clutter stands before the background"
        known = seen & (after.mask >= 0.5)
        np.testing.assert_allclose(after.depth[known], before.depth[known], atol=0.05)  # their reliefs may overlap: 1 m
    assert 8 <= num_changed <= 22, "a quarter has none, in some more all of it would stand nearer"


@pytest.mark.parametrize("part", ["validation", "test"])
def test_other_parts_are_as_if_every_option_were_off(raw, split, params, part):
    plain, with_options = _open(raw, split, params, part), _open(raw, split, params, part, **EVERYTHING)
    for index in range(8):
        _assert_same(make_sample(with_options, index), make_sample(plain, index))


def test_statistics_do_not_depend_on_the_options(raw, split, params, monkeypatch):
    monkeypatch.setattr("depthmask.split.statistics.NUM_COMPOSITES", 6)
    source, train = open_source(raw), read_part(split, "train")
    plain = measure_channels(source, train, params.compose, 0)
    assert measure_channels(source, train, params.compose.model_copy(update=EVERYTHING), 0) == plain


@pytest.mark.parametrize("option", list(TRAINING_ONLY_OFF))
def test_each_option_changes_training_images_and_off_is_as_before(raw, split, params, option):
    places = [(0, index) for index in range(16)]
    batch = _open(raw, split, params, size_px=80)[places]
    changed = _open(raw, split, params, size_px=80, **{option: EVERYTHING[option]})[places]
    assert (changed.image != batch.image).any()
    if option in ("harmonize", "match_noise"):
        np.testing.assert_array_equal(changed.mask, batch.mask)
    if option not in ("clutter", "view_min"):
        np.testing.assert_array_equal(changed.background, batch.background)


def test_a_sample_does_not_depend_on_its_batch(raw, split, params):
    whole = _open(raw, split, params, **EVERYTHING)[[(2, index) for index in range(24)]]
    alone = _open(raw, split, params, **EVERYTHING)
    for index in reversed(range(24)):
        _assert_same(look_at(whole, index), make_sample(alone, index, epoch=2))
    assert (whole.image != alone[[(3, index) for index in range(24)]].image).any()


@pytest.mark.parametrize("num_workers", [0, 2])
def test_workers_give_the_same_batches(raw, split, params, num_workers):
    samples = _open(raw, split, params, **EVERYTHING)
    places = BatchIndexSampler(first_epoch=1, num_epochs=1, steps_per_epoch=3, batch_size=4)
    loaded = list(DataLoader(samples, sampler=places, batch_size=None, num_workers=num_workers))
    for place, batch in zip(places, loaded, strict=True):
        expected = _open(raw, split, params, **EVERYTHING)[place]
        for b in range(len(batch)):
            _assert_same(look_at(batch, b), look_at(expected, b))
    assert len(loaded) == 3


def test_a_single_cutout_has_no_clutter(raw, params):
    source = open_source(raw)
    made = []
    for clutter in (0, 3):
        compose = params.compose.model_copy(update={"clutter": clutter})
        composer = Composer(source, source.backgrounds[:2], source.cutouts[:1], 32, compose, seed=0, shuffle=True)
        batch = ByteBatch.allocate(8, 32, 32, with_background=True)
        composer.fill(batch, [0] * 8, range(8))
        made.append(batch)
    for name in MAPS:
        np.testing.assert_array_equal(getattr(made[0], name), getattr(made[1], name))
