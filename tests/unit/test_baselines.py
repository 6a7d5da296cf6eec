"""Answers that need no network, from samples small enough to average by hand."""

from __future__ import annotations

import numpy as np
import pytest

from depthmask.data.sample import Sample
from depthmask.evaluation.baselines import UNKNOWN_DEPTH, make_baselines


def make_sample(mask: list, depth: list, valid: list) -> Sample:
    image = np.zeros((2, 2, 3), np.uint8)
    return Sample("key", image, np.array(mask, np.float32), np.array(depth, np.float32), np.array(valid, bool))


@pytest.fixture
def answers() -> dict[str, np.ndarray]:
    first = make_sample([[1, 0], [0.5, 0]], [[0.8, 0.6], [0.2, 0.0]], [[1, 1], [1, 0]])
    second = make_sample([[0, 0], [0.5, 1]], [[1.0, 0.0], [0.4, 0.3]], [[1, 0], [1, 1]])
    return {baseline.name: baseline.answer_11HW.numpy()[0, 0] for baseline in make_baselines([first, second])}


def test_masks(answers):
    assert (answers["mask_all_foreground"] == 1).all()
    assert (answers["mask_empty"] == 0).all()
    np.testing.assert_allclose(answers["mask_mean"], [[0.5, 0], [0.5, 0.5]])


def test_depths_average_known_pixels_alone(answers):
    np.testing.assert_allclose(answers["depth_mean"], (0.8 + 0.6 + 0.2 + 1.0 + 0.4 + 0.3) / 6, rtol=1e-6)
    np.testing.assert_allclose(answers["depth_row_mean"], [[0.8, 0.8], [0.3, 0.3]], rtol=1e-6)


def test_row_that_is_never_known_has_the_mean_depth():
    baselines = {b.name: b for b in make_baselines([make_sample([[0, 0]] * 2, [[0, 0], [0.2, 0.4]], [[0, 0], [1, 1]])])}
    np.testing.assert_allclose(baselines["depth_row_mean"].answer_11HW[0, 0], 0.3, rtol=1e-6)


def test_without_any_known_depth_the_answer_is_the_middle():
    baselines = {b.name: b for b in make_baselines([make_sample([[0, 0]] * 2, [[0, 0]] * 2, [[0, 0]] * 2)])}
    assert (baselines["depth_mean"].answer_11HW == UNKNOWN_DEPTH).all()


def test_no_samples_are_an_error():
    with pytest.raises(ValueError, match="at least one"):
        make_baselines([])
