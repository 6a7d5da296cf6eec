"""Answers that need no network, from samples small enough to average by hand."""

from __future__ import annotations

import numpy as np
import pytest

from depthmask.data.batch import ByteBatch
from depthmask.data.sample import Origin
from depthmask.evaluation.baselines import UNKNOWN_DEPTH, make_baselines


def make_batch(*samples: tuple[list, list, list]) -> ByteBatch:
    """Of mask (bytes), depth and valid of each sample."""
    mask, depth, valid = (
        np.array(values, kind) for values, kind in zip(zip(*samples), (np.uint8, np.float32, bool), strict=True)
    )
    image = np.zeros((*mask.shape, 3), np.uint8)
    return ByteBatch(image, mask, depth, valid, None, [Origin("key", "background")] * len(samples))


@pytest.fixture
def answers() -> dict[str, np.ndarray]:
    first = [[255, 0], [51, 0]], [[0.8, 0.6], [0.2, 0.0]], [[1, 1], [1, 0]]
    second = [[0, 0], [51, 255]], [[1.0, 0.0], [0.4, 0.3]], [[1, 0], [1, 1]]
    whole, *parts = ([make_batch(first, second)], [make_batch(first), make_batch(second)])
    answers, again = ({b.name: b.values_11HW.numpy()[0, 0] for b in make_baselines(batches)} for batches in (whole, *parts))
    assert all((answers[name] == again[name]).all() for name in answers), "whatever the batches"
    return answers


def test_masks(answers):
    assert (answers["mask_all_foreground"] == 1).all()
    assert (answers["mask_empty"] == 0).all()
    np.testing.assert_allclose(answers["mask_mean"], [[0.5, 0], [0.2, 0.5]])


def test_depths_average_known_pixels_alone(answers):
    np.testing.assert_allclose(answers["depth_mean"], (0.8 + 0.6 + 0.2 + 1.0 + 0.4 + 0.3) / 6, rtol=1e-6)
    np.testing.assert_allclose(answers["depth_row_mean"], [[0.8, 0.8], [0.3, 0.3]], rtol=1e-6)


def test_row_that_is_never_known_has_the_mean_depth():
    baselines = {b.name: b for b in make_baselines([make_batch(([[0, 0]] * 2, [[0, 0], [0.2, 0.4]], [[0, 0], [1, 1]]))])}
    np.testing.assert_allclose(baselines["depth_row_mean"].values_11HW[0, 0], 0.3, rtol=1e-6)


def test_without_any_known_depth_the_answer_is_the_middle():
    baselines = {b.name: b for b in make_baselines([make_batch(([[0, 0]] * 2, [[0, 0]] * 2, [[0, 0]] * 2))])}
    assert (baselines["depth_mean"].values_11HW == UNKNOWN_DEPTH).all()


def test_no_samples_are_an_error():
    with pytest.raises(ValueError, match="at least one"):
        make_baselines([])
