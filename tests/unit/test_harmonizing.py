"""A cut-out is fitted to its background: colours, sharpness, noise and edge, as far as asked for and no farther."""

from __future__ import annotations

from functools import partial

import cv2
import numpy as np
import pytest
from looking_at_samples import compose_one

from depthmask.compose.compose import prepare_background, prepare_cutout
from depthmask.compose.harmonizing import (
    BLURS_PX,
    NOISE_MAX,
    SPREAD_MAX,
    Finish,
    draw_finishes,
    fit_to_background,
    harmonize,
    match_noise,
    match_sharpness,
    measure_noise,
    measure_sharpness,
    soften_edge,
)
from depthmask.compose.placing import Placement
from depthmask.data.sample import Background, Cutout
from depthmask.params.data import TRAINING_ONLY_OFF, ComposeParams

MARGIN = 12
PLAIN = {
    "placement": "uniform", "fit": "crop", "field_of_view_deg": None, "scale_min": 0.3, "scale_max": 0.6,
    "flip_background": 0.5, "flip_cutout": 0.5, "shadow": 0.0, **TRAINING_ONLY_OFF,
}  # fmt: skip


def _make_cutout(rgb: np.ndarray) -> np.ndarray:
    """Opaque colours in a transparent margin."""
    rgba = np.dstack([rgb, np.full(rgb.shape[:2], 255, np.uint8)])
    return cv2.copyMakeBorder(rgba, *[MARGIN] * 4, cv2.BORDER_CONSTANT)


def _make_colours(mean, spread, seed=0, side=40) -> np.ndarray:
    """Smooth colours of about that mean and spread in RGB."""
    noise = np.random.default_rng(seed).standard_normal((side, side, 3)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 2)
    return np.rint(mean + spread * smooth / smooth.std()).clip(0, 255).astype(np.uint8)


def _measure_lab(rgb: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    lab = cv2.cvtColor(rgb, cv2.COLOR_RGB2LAB).reshape(-1, 3).astype(float)
    return lab.mean(axis=0), lab.std(axis=0)


def _inner(rgba: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(rgba[MARGIN:-MARGIN, MARGIN:-MARGIN, :3])


def test_harmonising_moves_mean_and_spread_by_the_fraction_asked_for():
    cutout, around = _make_cutout(_make_colours((170, 120, 80), 12)), _make_colours((80, 110, 120), 18, seed=1)
    (mean, spread), (wanted_mean, wanted_spread) = _measure_lab(_inner(cutout)), _measure_lab(around)
    for strength in (0.25, 0.5, 1.0):
        moved = harmonize(cutout, around, strength)
        new_mean, new_spread = _measure_lab(_inner(moved))
        np.testing.assert_allclose(new_mean, mean + strength * (wanted_mean - mean), atol=2)
        np.testing.assert_allclose(new_spread, spread + strength * (wanted_spread - spread), atol=2)
        np.testing.assert_array_equal(moved[..., 3], cutout[..., 3])
        assert (moved[cutout[..., 3] == 0] == 0).all()


def test_harmonising_stretches_no_spread_beyond_its_limit():
    flat, lively = _make_colours((128, 128, 128), 4), _make_colours((128, 128, 128), 40, seed=1)
    stretched = _measure_lab(_inner(harmonize(_make_cutout(flat), lively, 1.0)))[1]
    assert stretched[0] == pytest.approx(SPREAD_MAX * _measure_lab(flat)[1][0], rel=0.15)
    squeezed = _measure_lab(_inner(harmonize(_make_cutout(lively), flat, 1.0)))[1]
    assert squeezed[0] == pytest.approx(_measure_lab(lively)[1][0] / SPREAD_MAX, rel=0.15)


def test_a_sharp_cutout_is_blurred_to_the_background_s_sharpness_and_a_blurred_one_is_left():
    sharp = np.random.default_rng(0).integers(0, 255, (60, 60, 3), np.uint8)
    soft = cv2.GaussianBlur(sharp, (0, 0), 1.0)
    cutout = _make_cutout(sharp)
    matched = match_sharpness(cutout, soft)
    inner = np.ascontiguousarray(_inner(matched)[8:-8, 8:-8])
    assert measure_sharpness(inner, None) <= 1.05 * measure_sharpness(soft, None) < 0.7 * measure_sharpness(sharp, None)
    assert measure_sharpness(inner, None) > 0.8 * measure_sharpness(soft, None), "no more than needed"
    np.testing.assert_array_equal(match_sharpness(_make_cutout(soft), sharp), _make_cutout(soft))


def test_sharpness_does_not_depend_on_contrast():
    image = _make_colours((128, 128, 128), 40)
    assert measure_sharpness(image // 2, None) == pytest.approx(measure_sharpness(image, None), rel=0.1)


@pytest.mark.parametrize("std", [3.0, 8.0])
def test_noise_is_added_until_it_is_the_background_s(std):
    clean = np.full((60, 60, 3), 128, np.uint8)
    grain = np.random.default_rng(0).normal(0, std, (80, 80, 1))
    noisy = np.rint(128 + grain).repeat(3, axis=2).astype(np.uint8)
    assert measure_noise(noisy, None) == pytest.approx(std, rel=0.15)
    matched = match_noise(_make_cutout(clean), noisy, (0.9, 0.9))
    assert _inner(matched).std() == pytest.approx(std, rel=0.15)
    np.testing.assert_array_equal(match_noise(_make_cutout(noisy), clean, (0.9, 0.9)), _make_cutout(noisy))
    other = match_noise(_make_cutout(clean), noisy, (0.1, 0.2))
    assert (_inner(other) != _inner(matched)).any(), "another place in the tile is other noise"


def test_texture_is_not_taken_for_more_noise_than_the_limit():
    rough = np.random.default_rng(0).integers(0, 255, (80, 80, 1), np.uint8).repeat(3, axis=2)
    matched = match_noise(_make_cutout(np.full((60, 60, 3), 128, np.uint8)), rough, (0, 0))
    assert _inner(matched).std() == pytest.approx(NOISE_MAX, rel=0.1)


def test_a_softened_edge_is_wider_and_what_is_inside_stays():
    cutout = _make_cutout(np.random.default_rng(0).integers(0, 255, (40, 40, 3), np.uint8))
    soft = soften_edge(cutout, 1.5)
    alpha = soft[MARGIN + 20, :, 3].astype(int)
    assert ((0 < alpha) & (alpha < 255)).sum() >= 8 and ((0 < cutout[..., 3]) & (cutout[..., 3] < 255)).sum() == 0
    assert (np.diff(alpha[: MARGIN + 20]) >= 0).all() and alpha[MARGIN - 1] < 128 <= alpha[MARGIN]
    np.testing.assert_array_equal(_inner(soft)[6:-6, 6:-6], _inner(cutout)[6:-6, 6:-6])


def test_the_mask_of_a_fitted_cutout_is_its_new_alpha():
    """A red cut-out on grey: the image is the mixture that the mask says, in the margin outside its box as well."""
    image = np.full((64, 64, 3), 100, np.uint8)
    depth = np.full((64, 64), 0.5, np.float32)
    scene = prepare_background(Background("b", image, depth, depth > 0), 64, "crop", 10.0)
    rgba = np.zeros((20, 20, 4), np.uint8)
    rgba[:] = (200, 50, 0, 255)
    figure = prepare_cutout(Cutout("c", rgba, relief=np.full((20, 20), 0.5, np.float32)), 64)
    place = Placement(20, 20, 20, 20, 0.3)
    hard = compose_one(scene, figure, place, 0, True)
    soft = compose_one(scene, figure, place, 0, True, finish=Finish(soften_px=1.5))
    a = soft.mask[..., None]
    np.testing.assert_allclose(soft.image, a * np.array([200, 50, 0]) + (1 - a) * 100, atol=3)
    assert soft.mask[18, 30] > 0 == hard.mask[18, 30]
    inside = soft.mask >= 0.5
    np.testing.assert_allclose(soft.depth[inside], 0.35, atol=1e-6)
    np.testing.assert_allclose(soft.depth[~inside], 0.5, atol=1e-6)
    np.testing.assert_array_equal(soft.background, scene.image)


def test_colours_never_exceed_alpha_whatever_the_finish():
    """They are premultiplied; else blending would saturate."""
    rng = np.random.default_rng(0)
    around = rng.integers(0, 255, (50, 50, 3), np.uint8)
    finish = Finish(harmonize=1.0, soften_px=2.0, match_sharpness=True, noise_at=(0.5, 0.5))
    for _ in range(20):
        alpha = rng.integers(0, 256, (30, 20, 1), np.uint8)
        rgb = (rng.integers(0, 256, (30, 20, 3)) * alpha // 255).astype(np.uint8)
        rgba = cv2.copyMakeBorder(np.dstack([rgb, alpha]), *[finish.margin_px] * 4, cv2.BORDER_CONSTANT)
        fitted = fit_to_background(rgba, around, finish)
        assert fitted.dtype == np.uint8 and fitted.shape == rgba.shape
        assert (fitted[..., :3].max(axis=2) <= fitted[..., 3]).all()
        assert fitted[[0, -1]].max() <= 1 and fitted[:, [0, -1]].max() <= 1, "nothing is cut off at the margin"


@pytest.mark.parametrize("change", [partial(harmonize, strength=1.0), match_sharpness, partial(match_noise, tile_at=(0, 0))])
def test_a_cutout_without_an_inside_is_left_alone(change):
    faint = np.full((20, 20, 4), 90, np.uint8)
    around = np.random.default_rng(0).integers(0, 255, (30, 30, 3), np.uint8)
    np.testing.assert_array_equal(change(faint, around), faint)


def test_draws_decide_the_finish():
    params = ComposeParams(**PLAIN | {"harmonize": 0.8, "soften_px": 2.0, "match_sharpness": 0.5, "match_noise": 0.25})
    low, high = draw_finishes(params, np.array([[0.5, 0.25, 0.49, 0.2, 0.6, 0.7], [0.0, 1.0, 0.5, 0.25, 0, 0]]))
    assert low == Finish(0.4, 0.5, True, (0.6, 0.7))
    assert high == Finish(0.0, 2.0, False, None) and high.margin_px == 6
    assert low.margin_px == np.ceil(3 * np.hypot(0.5, BLURS_PX[-1])) and Finish().margin_px == 0
    assert params.fits_cutouts and not params.plain().fits_cutouts and params.plain() == ComposeParams(**PLAIN)
