"""Random views of training backgrounds: where they are taken from, and what becomes of depth, floor and camera."""

from __future__ import annotations

import numpy as np
import pytest

from depthmask.compose.compose import find_floor, prepare_background
from depthmask.compose.composer import Composer
from depthmask.compose.views import NUM_VIEW_DRAWS, prepare_panorama, take_view
from depthmask.data.batch import ByteBatch
from depthmask.data.sample import Background, Camera
from depthmask.sources import open_source

HEIGHT, WIDTH, SIZE = 48, 64, 16
CAMERA = Camera(focal_px=40.0, height_m=1.4, pitch_rad=-0.2)


def make_background(camera: Camera | None = None) -> Background:
    """Every pixel has its own colour and depth; the uppermost row is at the maximum."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    image = np.stack([rows * 5, columns * 3, rows + columns], axis=-1).astype(np.uint8)
    depth = (0.2 + rows / 100 + columns / 1000).astype(np.float32)
    depth[0] = 1
    return Background("room", image, depth, np.ones((HEIGHT, WIDTH), bool), camera)


def view(background: Background, view_min: float, draws: tuple[float, ...], size=SIZE, fit="crop", fov=None):
    return take_view(prepare_panorama(background, size, fit, 10.0, fov, view_min), size, view_min, np.array(draws))


def test_the_whole_view_in_the_middle_is_what_is_seen_without_views():
    background = make_background()
    whole, same = prepare_background(background, HEIGHT, "crop", 10.0), view(background, 1.0, (0.0, 0.5, 0.5), size=HEIGHT)
    assert np.array_equal(same.image, whole.image)
    assert np.array_equal(same.depth, whole.depth)
    assert np.array_equal(same.valid, whole.valid)


def test_a_view_half_as_wide_shows_half_the_depth_and_where_the_draws_say():
    background = make_background()
    near = view(background, 0.5, (0.0, 1.0, 0.0))  # lower left, 24 x 24 of 48 x 48
    assert near.depth.shape == (SIZE, SIZE)
    lower_left = background.depth[HEIGHT // 2 :, : HEIGHT // 2]
    assert near.depth.min() >= lower_left.min() / 2 - 1e-6
    assert near.depth.max() <= lower_left.max() / 2 + 1e-6
    assert near.image[..., 0].min() >= background.image[HEIGHT // 2, 0, 0] - 5
    right = view(background, 0.5, (0.0, 1.0, 1.0))
    assert right.image[..., 1].min() > near.image[..., 1].max()


def test_what_is_at_the_maximum_or_farther_stays_there():
    assert view(make_background(), 0.5, (0.0, 0.0, 0.5)).depth[0].tolist() == [1.0] * SIZE


def test_a_stretched_view_may_be_wider_than_high():
    whole = view(make_background(), 1.0, (0.0, 0.0, 0.0), size=WIDTH, fit="stretch")
    assert np.array_equal(whole.depth, prepare_background(make_background(), WIDTH, "stretch", 10.0).depth)


def test_the_floor_of_a_view_is_the_floor_of_the_whole():
    """Also off the centre, where the camera alone would put it elsewhere."""
    rows = (np.arange(HEIGHT) + 0.5 - HEIGHT / 2)[:, None] / CAMERA.focal_px
    below = np.sin(-CAMERA.pitch_rad) + rows * np.cos(CAMERA.pitch_rad)
    depth = np.where(below > 0.15, CAMERA.height_m / np.maximum(below, 0.15), 9.9) / 10 * np.ones((1, WIDTH))
    background = make_background(CAMERA)
    background = Background("hall", background.image, depth.astype(np.float32), background.valid, CAMERA)
    floor = find_floor(background.depth * 10, background.valid, CAMERA)
    assert 0 < len(floor) < HEIGHT * WIDTH
    low, high = (view(background, 0.5, (0.0, row, 0.5), fov=50.0) for row in (1.0, 0.0))
    assert len(low.floor_px) == SIZE * SIZE
    assert len(high.floor_px) == 0
    assert low.camera.focal_px == pytest.approx(SIZE / 2 / np.tan(np.radians(25)))


def compose_all(raw, params, indices, size_px=32) -> ByteBatch:
    source = open_source(raw)
    composer = Composer(source, source.backgrounds, source.cutouts, size_px, params, seed=0, shuffle=True)
    batch = ByteBatch.allocate(len(indices), size_px, size_px, True)
    composer.fill(batch, [0] * len(indices), indices)
    return batch


def test_a_view_does_not_depend_on_the_batch(raw, params):
    wide = params.compose.model_copy(update={"view_min": 0.4})
    whole = compose_all(raw, wide, range(6))
    for b in range(6):
        one = compose_all(raw, wide, [b])
        for name in ("image", "mask", "depth", "valid", "background"):
            assert np.array_equal(getattr(one, name)[0], getattr(whole, name)[b]), name


def test_views_are_for_training_only(params):
    assert params.compose.model_copy(update={"view_min": 0.4}).plain() == params.compose
    assert NUM_VIEW_DRAWS == 3
