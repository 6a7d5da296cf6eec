"""Maps of clips are steadied where the picture stands still, and left as they are where it moves."""

from __future__ import annotations

import numpy as np
import pytest

from depthmask.video.smoothing import MOVED_DEPTH, MOVED_MASK, Smoother

SHAPE = (40, 60)


def run(images, masks, depths, seconds=0.5, rate=25.0) -> tuple[np.ndarray, np.ndarray]:
    smoother = Smoother(seconds)
    frames = [smoother.smooth(*frame, number / rate) for number, frame in enumerate(zip(images, masks, depths, strict=True))]
    return tuple(np.stack(maps) for maps in zip(*frames, strict=True))


def make_still(count: int) -> tuple[list[np.ndarray], list[np.ndarray], list[np.ndarray]]:
    """A still scene with the noise of a camera, and a network whose answers flicker."""
    rng = np.random.default_rng(0)
    scene = rng.integers(30, 220, (*SHAPE, 3)).astype(float)
    images = [np.clip(scene + rng.normal(0, 3, scene.shape), 0, 255).astype(np.uint8) for _ in range(count)]
    truth = np.zeros(SHAPE, np.float32)
    truth[10:30, 20:40] = 1
    masks = [np.clip(truth + rng.normal(0, 0.05, SHAPE), 0, 1).astype(np.float32) for _ in range(count)]
    depths = [(4 * np.exp(rng.normal(0, 0.01, SHAPE))).astype(np.float32) for _ in range(count)]
    return images, masks, depths


def measure_flicker(maps: np.ndarray) -> float:
    return float(np.abs(np.diff(maps[20:], axis=0)).mean())


def test_a_still_scene_flickers_much_less():
    images, masks, depths = make_still(80)
    smooth = run(images, masks, depths)
    for before, after in zip((masks, depths), smooth, strict=True):
        assert measure_flicker(after) < 0.2 * measure_flicker(np.stack(before))
        assert np.abs(after[-1] - np.mean(before, axis=0)).mean() < np.abs(before[-1] - np.mean(before, axis=0)).mean()


def test_what_moves_leaves_no_trail_and_is_not_late():
    images, masks, depths = [], [], []
    for number in range(40):
        image, mask, depth = np.full((*SHAPE, 3), 90, np.uint8), np.zeros(SHAPE, np.float32), np.full(SHAPE, 6.0, np.float32)
        place = slice(number, number + 15)
        image[8:32, place], mask[8:32, place], depth[8:32, place] = 160, 1.0, 3.0
        images.append(image), masks.append(mask), depths.append(depth)
    smooth_masks, smooth_depths = run(images, masks, depths, seconds=5.0)
    assert np.array_equal(smooth_masks, masks) and np.array_equal(smooth_depths, depths)


def test_what_moves_unseen_is_still_followed_within_the_bounds():
    """The subject has the room's colour, so that the picture does not change: the maps themselves say that it moves."""
    image = np.full((*SHAPE, 3), 90, np.uint8)
    rng = np.random.default_rng(0)
    masks = [rng.random(SHAPE).astype(np.float32) for _ in range(30)]
    depths = [rng.uniform(1, 8, SHAPE).astype(np.float32) for _ in range(30)]
    smooth_masks, smooth_depths = run([image] * 30, masks, depths, seconds=60.0)
    assert np.abs(smooth_masks - masks).max() < MOVED_MASK
    assert (np.abs(smooth_depths - depths) / np.maximum(smooth_depths, depths)).max() < MOVED_DEPTH


def test_light_that_changes_slowly_and_a_subject_that_then_leaves():
    images = [np.full((*SHAPE, 3), 60 + number // 2, np.uint8) for number in range(100)]
    gone = [image.copy() for image in images]
    for image in images[:80]:
        image[10:30, 20:40] = 230
    images = images[:80] + gone[80:]
    masks = [np.zeros(SHAPE, np.float32) for _ in images]
    for mask in masks[:80]:
        mask[10:30, 20:40] = 1
    smooth, _ = run(images, masks, [np.full(SHAPE, 4.0, np.float32)] * 100, seconds=3.0)
    assert np.array_equal(smooth[80], masks[80])


def test_the_time_constant_is_in_seconds_whatever_the_frame_rate():
    image, depth = np.full((*SHAPE, 3), 90, np.uint8), np.full(SHAPE, 4.0, np.float32)
    for rate in (10, 50):
        count = rate + 1
        masks = [np.zeros(SHAPE, np.float32)] + [np.full(SHAPE, 0.15, np.float32)] * (count - 1)
        smooth, _ = run([image] * count, masks, [depth] * count, seconds=0.5, rate=rate)
        assert smooth[-1].mean() == pytest.approx(0.15 * (1 - np.exp(-2)), rel=1e-3)


def test_the_state_is_all_that_it_remembers():
    images, masks, depths = make_still(12)
    whole = run(images, masks, depths)
    first, second = Smoother(0.5), Smoother(0.5)
    for number in range(6):
        first.smooth(images[number], masks[number], depths[number], number / 25.0)
    second.state = first.state
    for number in range(6, 12):
        mask, depth = second.smooth(images[number], masks[number], depths[number], number / 25.0)
        assert np.array_equal(mask, whole[0][number]) and np.array_equal(depth, whole[1][number])


def test_time_constants_that_are_none_are_rejected():
    for seconds in (0.0, -1.0, float("inf"), float("nan")):
        with pytest.raises(ValueError, match="time constant"):
            Smoother(seconds)
