"""A composite is its background outside the mask, and a cut-out that stands where it should inside."""

from __future__ import annotations

import numpy as np
import pytest
from looking_at_samples import compose_one

from depthmask.compose.compose import find_floor, prepare_background, prepare_cutout
from depthmask.compose.placing import NUM_DRAWS, Placement, place_on_floor, place_on_grid, place_uniformly
from depthmask.data.sample import Background, Camera, Cutout
from depthmask.keyed_random import PLACEMENT, draw_uniforms
from depthmask.sources import open_source

SIZE = 64


def _make_scene(depth_value=0.5, camera=None):
    image = np.full((SIZE, SIZE, 3), 100, np.uint8)
    depth = np.full((SIZE, SIZE), depth_value, np.float32)
    return prepare_background(Background("b", image, depth, np.ones_like(depth, bool), camera), SIZE, "crop", 10.0)


def _make_figure(height=20, width=10, **settings):
    rgba = np.zeros((height, width, 4), np.uint8)
    rgba[2:, 1:-1] = (200, 50, 0, 255)
    return prepare_cutout(Cutout("c", rgba, **settings), SIZE)


def _draw(num_samples):
    return draw_uniforms(1, PLACEMENT, [0] * num_samples, range(num_samples), NUM_DRAWS)


def test_outside_the_mask_the_image_is_the_background_exactly():
    sample = compose_one(_make_scene(), _make_figure(), Placement(10, 20, 10, 20, 0.3), shadow=0.5, with_background=True)
    outside = sample.mask == 0
    assert (sample.image[outside] == sample.background[outside]).all()
    assert (sample.image[sample.mask == 1] == (200, 50, 0)).all()
    assert sample.mask.sum() == 18 * 8


def test_depth_inside_is_the_foot_s_but_never_behind_the_background():
    near = compose_one(_make_scene(0.5), _make_figure(), Placement(10, 20, 10, 20, 0.3), 0, False)
    far = compose_one(_make_scene(0.5), _make_figure(), Placement(10, 20, 10, 20, 0.9), 0, False)
    np.testing.assert_allclose(near.depth[near.mask >= 0.5], 0.3, atol=1e-6)
    np.testing.assert_allclose(far.depth[far.mask >= 0.5], 0.5, atol=1e-6)
    np.testing.assert_allclose(near.depth[near.mask < 0.5], 0.5, atol=1e-6)


def test_relief_is_added_to_the_depth_of_the_foot():
    figure = _make_figure(relief=np.full((20, 10), -0.5, np.float32))
    sample = compose_one(_make_scene(0.9), figure, Placement(10, 20, 10, 20, 0.3), 0, False)
    np.testing.assert_allclose(sample.depth[sample.mask >= 0.5], 0.25, atol=1e-6)  # 0.5 of 10 units nearer


def test_a_cutout_of_unknown_depth_leaves_a_hole_in_valid():
    sample = compose_one(_make_scene(), _make_figure(), Placement(10, 20, 10, 20, None), 0, False)
    assert (sample.valid == (sample.mask < 0.5)).all()
    assert (sample.depth[~sample.valid] == 0).all()


def test_without_depth_nothing_is_valid():
    scene = prepare_background(Background("b", np.zeros((80, 100, 3), np.uint8), None, None), SIZE, "crop", 1.0)
    sample = compose_one(scene, _make_figure(), Placement(10, 20, 10, 20, None), 0, False)
    assert not sample.valid.any()
    assert sample.mask.any()


def test_a_cutout_partly_outside_is_cut_off_and_one_wholly_outside_is_not_there():
    sample = compose_one(_make_scene(), _make_figure(), Placement(-5, 54, 10, 20, 0.3), 0, False)
    assert sample.mask[:54].sum() == 0
    assert sample.mask[56:, :4].all()
    assert compose_one(_make_scene(), _make_figure(), Placement(200, 0, 10, 20, 0.3), 0, False).mask.sum() == 0


def test_flips_move_every_map_alike():
    placed = Placement(10, 20, 10, 20, 0.3)
    plain = compose_one(_make_scene(), _make_figure(), placed, 0, True)
    flipped = compose_one(_make_scene(), _make_figure(), Placement(10, 20, 10, 20, 0.3, flip_background=True), 0, True)
    for name in ("image", "mask", "depth", "valid", "background"):
        np.testing.assert_array_equal(getattr(flipped, name), getattr(plain, name)[:, ::-1])


def test_floor_pixels_satisfy_the_pin_hole_equation():
    camera = Camera(focal_px=60.0, height_m=1.5, pitch_rad=-0.1)
    rows = np.arange(SIZE) + 0.5 - SIZE / 2
    drop = np.sin(0.1) + rows / camera.focal_px * np.cos(0.1)  # metres below the camera at 1 m of depth
    floor = np.where(drop > 0.16, camera.height_m / np.maximum(drop, 1e-3), 9.0)
    depth = np.repeat(floor[:, None], SIZE, axis=1).astype(np.float32)
    found = find_floor(depth, np.ones_like(depth, bool), camera)
    assert set(found[:, 0]) == set(np.flatnonzero(drop > 0.16))


def test_standing_on_the_floor_gives_size_and_depth_of_the_pixel_under_the_foot():
    camera = Camera(focal_px=60.0, height_m=1.5, pitch_rad=0.0)
    rows = np.arange(SIZE) + 0.5 - SIZE / 2
    floor = np.where(rows > 10, 1.5 * 60 / np.maximum(rows, 1e-3), 9.0)
    depth = np.repeat(floor[:, None], SIZE, axis=1).astype(np.float32) / 10
    image = np.zeros((SIZE, SIZE, 3), np.uint8)
    scene = prepare_background(Background("b", image, depth.clip(0, 1), depth < 1, camera), SIZE, "crop", 10.0)
    figure = _make_figure(units_per_px=1.6 / 20)
    for placement in place_on_floor([scene] * 20, [figure] * 20, [False] * 20, _draw(20)):
        foot_row = placement.top_px + placement.height_px - 1
        assert placement.on_floor
        assert placement.foot_depth * 10 == pytest.approx(float(scene.depth[foot_row, 0]) * 10, abs=1e-4)
        assert placement.height_px == pytest.approx(60 * 1.6 / (placement.foot_depth * 10), abs=1)


def test_uniform_sizes_and_centres_are_in_range():
    scene, figure = _make_scene(), _make_figure()
    placements = place_uniformly([scene] * 200, [figure] * 200, 0.3, 0.6, _draw(200))
    longer = np.array([max(p.width_px, p.height_px) for p in placements])
    assert longer.min() >= round(0.3 * SIZE) - 1 and longer.max() <= round(0.6 * SIZE) + 1
    assert np.ptp(longer) > 0.2 * SIZE
    centres = np.array([p.left_px + p.width_px / 2 for p in placements])
    assert centres.min() > -1 and centres.max() < SIZE + 1 and np.ptp(centres) > 0.9 * SIZE
    assert any(p.left_px < 0 or p.left_px + p.width_px > SIZE for p in placements)


def test_on_the_grid_higher_is_smaller():
    placements = place_on_grid([_make_scene()] * 200, [_make_figure()] * 200, _draw(200))
    by_foot = {p.top_px + p.height_px: p.height_px for p in placements}
    heights = [by_foot[foot] for foot in sorted(by_foot)]
    assert len({p.left_px for p in placements}) >= 5
    assert heights == sorted(heights) and heights[0] == round(60 / 150 * SIZE) and heights[-1] == round(90 / 150 * SIZE)


def test_backgrounds_of_known_camera_are_cropped_to_one_field_of_view():
    image, depth = np.zeros((100, 120, 3), np.uint8), np.full((100, 120), 0.5, np.float32)
    image[:, 60:] = 255
    focal = {}
    for focal_px in (80.0, 100.0, 300.0):
        background = Background("b", image, depth, depth > 0, Camera(focal_px, 1.5, 0.0))
        focal[focal_px] = prepare_background(background, SIZE, "crop", 10.0, field_of_view_deg=60.0).camera.focal_px
    canonical = SIZE / 2 / np.tan(np.radians(30))
    assert focal[80.0] == pytest.approx(canonical, rel=0.01)
    assert focal[300.0] == pytest.approx(300 * SIZE / 100)  # it sees less than that: the whole of it is taken
    unknown = prepare_background(Background("b", image, depth, depth > 0), SIZE, "crop", 10.0, field_of_view_deg=60.0)
    assert (
        unknown.camera is None
        and (unknown.image[:, : SIZE // 2 - 1] == 0).all()
        and (unknown.image[:, SIZE // 2 + 1 :] == 255).all()
    )


def test_the_demo_pack_s_floors_are_found_and_its_cutouts_fit_their_rooms(raw, params):
    source = open_source(raw)
    scenes = [prepare_background(source.read_background(key), 112, "crop", source.scale.max) for key in source.backgrounds]
    assert sum(len(scene.floor_px) > 50 for scene in scenes) >= 0.9 * len(scenes)
    figure = prepare_cutout(source.read_cutout(source.cutouts[0]), 112)
    assert 1.0 < figure.height_units < 2.5
