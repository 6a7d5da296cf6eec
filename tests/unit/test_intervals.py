"""Confidence intervals: which images depend on each other, and what the bootstrap makes of it."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from depthmask.intervals import bootstrap as module
from depthmask.intervals.bootstrap import IMAGES, WHOLE, Bootstrap
from depthmask.intervals.clusters import find_clusters


def make_rows(pairs, **more):
    return [{"background": background, "cutout": cutout, **more} for background, cutout in pairs]


def cross(num_backgrounds: int, num_cutouts: int, num_images: int):
    """Pairs as the test set has them: each background and cut-out equally often."""
    return [(f"b{i % num_backgrounds}", f"c{(i + i // num_backgrounds) % num_cutouts}") for i in range(num_images)]


def test_images_of_one_background_or_cutout_are_clusters():
    clusters = find_clusters(make_rows([("a", "x"), ("a", "y"), ("b", "x"), ("b", "y")]))
    assert clusters.ways["background"].tolist() == [0, 0, 1, 1]
    assert clusters.ways["cutout"].tolist() == [0, 1, 0, 1]
    assert clusters.num == {"background": 2, "cutout": 2}


def test_groups_of_the_split_come_before_names():
    rows = make_rows([("a", "x"), ("b", "y"), ("c", "x"), ("d", "y")])
    for row, group in zip(rows, ["a", "a", "c", "c"], strict=True):
        row["background_group"] = group
    assert find_clusters(rows).ways["background"].tolist() == [0, 0, 1, 1]


def test_equal_names_of_two_sources_are_two_clusters():
    pairs = [("a", "x"), ("a", "y"), ("b", "x"), ("b", "y")]
    rows = make_rows(pairs, source="one") + make_rows(pairs, source="other")
    assert find_clusters(rows).num == {"background": 4, "cutout": 4}


def test_unknown_cutouts_leave_backgrounds_alone():
    clusters = find_clusters(make_rows([("a", ""), ("a", ""), ("b", "")]))
    assert list(clusters.ways) == ["background"]


def test_the_coarser_of_two_nested_ways_is_resampled():
    assert list(find_clusters(make_rows([("a", "x"), ("b", "x"), ("c", "y"), ("d", "y")])).ways) == ["cutout"]
    # photos: each its own background and foreground
    assert list(find_clusters(make_rows([("a", "a"), ("b", "b")])).ways) == ["background"]


def test_a_single_background_says_nothing_of_others():
    assert list(find_clusters(make_rows([("a", "x"), ("a", "y")])).ways) == ["cutout"]
    clusters = find_clusters(make_rows([("a", "x"), ("a", "x")]))
    assert clusters.ways == {} and clusters.num == {"background": 1, "cutout": 1}
    assert Bootstrap(clusters).find_intervals(np.array([[1.0], [2.0]])) == [None]


def test_independent_images_have_students_interval():
    values = np.random.default_rng(0).normal(5, 2, 40)
    clusters = find_clusters(make_rows([(str(i), str(i)) for i in range(40)]))
    (found,) = Bootstrap(clusters).find_intervals(values[:, None])
    half = stats.t.ppf(0.975, 39) * values.std(ddof=1) / math.sqrt(40)
    assert found.low == pytest.approx(values.mean() - half, abs=0.07 * half)
    assert found.high == pytest.approx(values.mean() + half, abs=0.07 * half)


def test_backgrounds_that_decide_everything_have_the_interval_of_their_means():
    means = np.random.default_rng(1).normal(0, 1, 12)
    pairs = cross(12, 12, 144)
    values = np.array([means[int(background[1:])] for background, _ in pairs])
    (found,) = Bootstrap(find_clusters(make_rows(pairs))).find_intervals(values[:, None])
    half = stats.t.ppf(0.975, 11) * means.std(ddof=1) / math.sqrt(12)
    assert found.high - found.low == pytest.approx(2 * half, rel=0.1)


def test_noise_of_single_images_is_counted_once():
    pairs = cross(24, 24, 384)
    values = np.random.default_rng(2).normal(0, 1, 384)
    (found,) = Bootstrap(find_clusters(make_rows(pairs))).find_intervals(values[:, None])
    half = 1.96 / math.sqrt(384)
    assert found.high - found.low == pytest.approx(2 * half, rel=0.3)  # the pigeonhole bootstrap alone: 1.73 times as wide


def test_undefined_images_have_no_part():
    pairs, random = cross(12, 12, 144), np.random.default_rng(3)
    values = random.random((144, 1))
    values[random.random(144) < 0.3] = np.nan
    clusters = find_clusters(make_rows(pairs))
    (found,) = Bootstrap(clusters).find_intervals(values)
    known = [pair for pair, value in zip(pairs, values[:, 0], strict=True) if not np.isnan(value)]
    (alone,) = Bootstrap(find_clusters(make_rows(known))).find_intervals(values[~np.isnan(values[:, 0])])
    assert found.low == pytest.approx(alone.low, abs=0.01) and found.high == pytest.approx(alone.high, abs=0.01)
    assert Bootstrap(clusters).find_intervals(np.full((144, 1), np.nan)) == [None]


def test_a_score_that_is_the_same_everywhere_has_an_interval_without_width():
    (found,) = Bootstrap(find_clusters(make_rows(cross(4, 4, 16)))).find_intervals(np.zeros((16, 1)))
    assert found == (0.0, 0.0)


def test_an_interval_stays_within_the_values():
    values = np.ones(64)
    values[0] = 0.9
    (found,) = Bootstrap(find_clusters(make_rows(cross(8, 8, 64)))).find_intervals(values[:, None])
    assert found.low < values.mean() < found.high <= 1


def test_draws_depend_on_the_seed_and_not_on_how_many_are_held_at_once(monkeypatch):
    clusters, values = find_clusters(make_rows(cross(6, 5, 60))), np.random.default_rng(4).random((60, 3))
    whole = Bootstrap(clusters, 7, 50).add_up(values)
    assert set(whole) == {WHOLE, IMAGES, "background", "cutout"}
    monkeypatch.setattr(module, "CHUNK_WEIGHTS", 7 * 60)
    for scheme, sums in Bootstrap(clusters, 7, 50).add_up(values).items():
        np.testing.assert_allclose(sums, whole[scheme], rtol=1e-12)
        assert not np.array_equal(Bootstrap(clusters, 8, 50).add_up(values)[scheme], sums)


@pytest.mark.slow
@pytest.mark.parametrize(("background", "cutout", "image"), [(1, 1, 1), (0, 0, 1)])
def test_the_interval_covers_the_truth_as_often_as_it_says(background, cutout, image):
    pairs = cross(24, 24, 384)
    clusters = find_clusters(make_rows(pairs))
    covered = naive = 0
    for run in range(400):
        random = np.random.default_rng([5, run])
        values = (
            background * random.normal(size=24)[clusters.ways["background"]]
            + cutout * random.normal(size=24)[clusters.ways["cutout"]]
            + image * random.normal(size=384)
        )
        (found,) = Bootstrap(clusters, run, 300).find_intervals(values[:, None])
        covered += found.low <= 0 <= found.high
        naive += abs(values.mean()) <= 1.96 * values.std(ddof=1) / math.sqrt(384)
    assert 0.92 <= covered / 400 <= 0.98
    assert (background, cutout) == (0, 0) or naive / 400 < 0.6
