"""What holds of every composite, whatever the cut-out and wherever it stands."""

from __future__ import annotations

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from looking_at_samples import compose_one

from depthmask.compose.compose import prepare_background, prepare_cutout
from depthmask.compose.placing import NUM_DRAWS, Placement, place
from depthmask.data.sample import Background, Camera, Cutout
from depthmask.keyed_random import PLACEMENT, draw_uniforms
from depthmask.params.data import TRAINING_ONLY_OFF, ComposeParams

SIZE = 32
DEPTH_MAX = 10.0
SETTINGS = settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
SEEDS = st.integers(0, 2**32 - 1)
HALF_A_STEP = 0.5 / 255 + 1e-6


def _make_room(seed: int):
    """Noise for colours; a floor under a wall for depth, with boxes on it that stand nearer and holes of unknown depth."""
    rng = np.random.default_rng(seed)
    camera = Camera(focal_px=float(rng.uniform(20, 60)), height_m=1.5, pitch_rad=0.0)
    rows = np.arange(SIZE) + 0.5 - SIZE / 2
    wall = float(rng.uniform(3, 9))
    metres = np.where(rows > 0, np.minimum(camera.height_m * camera.focal_px / np.maximum(rows, 1e-3), wall), wall)
    depth = np.repeat(metres[:, None], SIZE, axis=1).astype(np.float32) / np.float32(DEPTH_MAX)
    top, left = rng.integers(0, SIZE - 8, 2)
    depth[top : top + 8, left : left + 8] *= np.float32(0.5)
    valid = rng.random((SIZE, SIZE)) > 0.1
    image = rng.integers(0, 256, (SIZE, SIZE, 3), np.uint8)
    return prepare_background(Background("b", image, np.where(valid, depth, 0), valid, camera), SIZE, "crop", DEPTH_MAX)


@st.composite
def cutouts(draw) -> Cutout:
    """Any alpha, soft or hard, with or without relief; about as tall as a person where its size is known."""
    height, width = draw(st.integers(2, 48)), draw(st.integers(1, 48))
    rng = np.random.default_rng(draw(SEEDS))
    rgba = rng.integers(0, 256, (height, width, 4), np.uint8)
    if draw(st.booleans()):
        rgba[..., 3] = np.where(rgba[..., 3] > 100, 255, 0)
    relief = rng.uniform(-2, 2, (height, width)).astype(np.float32) if draw(st.booleans()) else None
    return Cutout("c", rgba, relief, units_per_px=draw(st.sampled_from([None, 1.6 / height])))


@SETTINGS
@given(room=SEEDS, cutout=cutouts(), seed=SEEDS, placement=st.sampled_from(["floor", "uniform", "grid"]), flip=st.booleans())
def test_a_composite_is_its_background_outside_and_a_cutout_in_range_inside(room, cutout, seed, placement, flip):
    scene, figure = _make_room(room), prepare_cutout(cutout, SIZE)
    params = ComposeParams(
        placement=placement, fit="crop", field_of_view_deg=None, scale_min=0.1, scale_max=1.0,
        flip_background=float(flip), flip_cutout=0.5, shadow=0.0, **TRAINING_ONLY_OFF,
    )  # fmt: skip
    (placed,) = place([scene], [figure], params, draw_uniforms(seed, PLACEMENT, [0], [0], NUM_DRAWS))
    sample = compose_one(scene, figure, placed, params.shadow, with_background=True)
    original = {"image": scene.image, "depth": scene.depth, "valid": scene.valid}
    if flip:
        original = {name: values[:, ::-1] for name, values in original.items()}
    np.testing.assert_array_equal(sample.background, original["image"])

    outside, inside = sample.mask == 0, sample.mask >= 0.5
    np.testing.assert_array_equal(sample.image[outside], sample.background[outside])
    for name in ("depth", "valid"):
        np.testing.assert_array_equal(getattr(sample, name)[~inside], original[name][~inside])
    known = inside & sample.valid & original["valid"]
    assert (sample.depth[known] <= original["depth"][known]).all()
    if placed.on_floor:
        assert sample.valid[inside].all()

    assert sample.image.dtype == np.uint8 and sample.mask.dtype == sample.depth.dtype == np.float32
    for values in (sample.mask, sample.depth):
        assert np.isfinite(values).all() and 0 <= values.min() and values.max() <= 1
    assert (sample.depth[~sample.valid] == 0).all()


@SETTINGS
@given(room=SEEDS, cutout=cutouts(), left=st.integers(-60, 40), top=st.integers(-60, 40), flip=st.booleans())
def test_at_its_own_size_the_mask_is_the_alpha_where_it_is_visible(room, cutout, left, top, flip):
    scene = _make_room(room)
    figure = prepare_cutout(cutout, 64)  # larger than any of them: none is shrunk
    height, width = cutout.rgba.shape[:2]
    sample = compose_one(
        scene, figure, Placement(left, top, width, height, 0.1, flip_cutout=flip), shadow=0, with_background=True
    )
    shown = cutout.rgba[:, ::-1] if flip else cutout.rgba
    canvas = np.zeros((SIZE + 120, SIZE + 120, 4), np.float32)  # from -60 to SIZE + 60
    canvas[60 + top : 60 + top + height, 60 + left : 60 + left + width] = shown
    colour, alpha = canvas[60 : 60 + SIZE, 60 : 60 + SIZE, :3], canvas[60 : 60 + SIZE, 60 : 60 + SIZE, 3] / 255
    np.testing.assert_allclose(sample.mask, alpha, atol=1e-6)
    blended = alpha[..., None] * colour + (1 - alpha[..., None]) * scene.image
    assert np.abs(sample.image - blended).max() <= 255 * 2 * HALF_A_STEP  # colour times alpha, and the sum, are rounded once each


@SETTINGS
@given(room=SEEDS, cutout=cutouts(), seed=SEEDS, strength=st.floats(0, 1))
def test_a_shadow_only_darkens_and_leaves_mask_and_depth_alone(room, cutout, seed, strength):
    scene, figure = _make_room(room), prepare_cutout(cutout, SIZE)
    rng = np.random.default_rng(seed)
    left, top, width, height = (int(n) for n in rng.integers((-8, -8, 1, 1), (SIZE, SIZE, SIZE, SIZE)))
    placed = Placement(left, top, width, height, 0.2, on_floor=True)
    plain, shaded = (compose_one(scene, figure, placed, shadow, with_background=True) for shadow in (0.0, strength))
    outside = plain.mask == 0
    assert (shaded.image[outside] <= plain.image[outside]).all()
    for name in ("mask", "depth", "valid", "background"):
        np.testing.assert_array_equal(getattr(shaded, name), getattr(plain, name))
