"""The parts of the variance, on made-up scores whose parts are known."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from depthmask.cross_validation.variance import PARTS, Design

SD = {"fold": 0.3, "seed": 0.2, "background": 0.4, "cutout": 0.25, "picture": 0.5, "rest": 0.35}


def make_levels(num_folds: int, num_seeds: int, sizes: list[tuple[int, int, int]]) -> dict[str, np.ndarray]:
    """sizes: of each fold (backgrounds, cut-outs, pictures); pictures pair them as the test composites do."""
    rows = []
    for fold, seed in itertools.product(range(num_folds), range(num_seeds)):
        backgrounds, cutouts, pictures = sizes[fold % len(sizes)]
        for i in range(pictures):
            other = (i + i // math.lcm(backgrounds, cutouts)) % cutouts
            rows.append((fold, fold * 100 + seed, fold * 1000 + i % backgrounds, fold * 1000 + other, fold * 10_000 + i))
    return dict(zip(("fold", "seed", "background", "cutout", "picture"), np.array(rows).T, strict=True))


def draw_scores(levels: dict[str, np.ndarray], sd: dict[str, float], rng: np.random.Generator) -> np.ndarray:
    scores = 5.0 + sd.get("rest", 0.0) * rng.standard_normal(len(levels["fold"]))
    for name, numbers in levels.items():
        _, numbers = np.unique(numbers, return_inverse=True)
        scores += sd.get(name, 0.0) * rng.standard_normal(numbers.max() + 1)[numbers]
    return scores


@pytest.mark.parametrize("sizes", [[(6, 5, 40)], [(6, 5, 40), (4, 7, 23), (9, 3, 31)]], ids=["balanced", "unbalanced"])
def test_every_part_is_found_on_average(sizes):
    """Unbiased: the mean of many estimates, before those below 0 are set to 0, is the truth."""
    levels, rng = make_levels(6, 3, sizes), np.random.default_rng(0)
    design, num_runs = Design(levels), 1500
    found = [design.solve(draw_scores(levels, SD, rng)) for _ in range(num_runs)]
    assert list(found[0]) == ["fold", "seed", "picture", "background", "cutout", "rest"]
    for name, sd in SD.items():
        values = np.array([one[name] for one in found])
        error = values.std() / math.sqrt(num_runs)
        assert abs(values.mean() - sd**2) < 4 * error, (name, values.mean(), sd**2, error)
        assert error < 0.1 * sd**2, "too few runs to say"


def test_balanced_scores_give_the_textbooks_analysis_of_variance():
    """Seeds within folds, crossed with the pictures of the fold: mean squares and their expectations, written out."""
    folds, seeds, pictures = 4, 3, 7
    levels = make_levels(folds, seeds, [(7, 7, 7)])
    levels = {name: levels[name] for name in ("fold", "seed", "picture")}
    y = draw_scores(levels, SD, np.random.default_rng(1))
    cube = y.reshape(folds, seeds, pictures)
    of_fold = cube.mean(axis=(1, 2), keepdims=True)
    of_run, of_picture = cube.mean(axis=2, keepdims=True), cube.mean(axis=1, keepdims=True)
    ms_fold = seeds * pictures * ((of_fold - cube.mean()) ** 2).sum() / (folds - 1)
    ms_run = pictures * ((of_run - of_fold) ** 2).sum() / (folds * (seeds - 1))
    ms_picture = seeds * ((of_picture - of_fold) ** 2).sum() / (folds * (pictures - 1))
    ms_rest = ((cube - of_run - of_picture + of_fold) ** 2).sum() / (folds * (seeds - 1) * (pictures - 1))
    expected = {
        "seed": (ms_run - ms_rest) / pictures,
        "fold": (ms_fold - ms_run - ms_picture + ms_rest) / (seeds * pictures),
        "picture": (ms_picture - ms_rest) / seeds,
        "rest": ms_rest,
    }
    found = Design(levels).estimate(y)
    assert {name: found.variances[name] for name in expected} == pytest.approx({n: max(0, v) for n, v in expected.items()})
    assert found.negative == tuple(name for name in PARTS if expected.get(name, 0) < 0)
    assert found.variances["background"] is None and found.variances["cutout"] is None
    kept = {name: max(0, value) for name, value in expected.items()}
    one_run = kept["fold"] + kept["seed"] + (kept["picture"] + kept["rest"]) / pictures
    assert found.one_run == pytest.approx(one_run)


def test_left_out_backgrounds_would_be_counted_as_the_folds():
    levels, rng = make_levels(5, 2, [(4, 4, 32)]), np.random.default_rng(2)
    sd = {"background": 1.0, "picture": 0.2, "rest": 0.1}
    without = {name: levels[name] for name in ("fold", "seed", "picture")}
    drawn = [draw_scores(levels, sd, rng) for _ in range(200)]
    whole, coarse = (
        np.mean([design.estimate(scores).variances["fold"] for scores in drawn]) for design in (Design(levels), Design(without))
    )
    assert coarse == pytest.approx(1 / 4, rel=0.2)  # the variance of a mean over four backgrounds
    assert whole < 0.5 * coarse


def test_a_single_runs_spread_is_predicted():
    """By what it does: many cross-validations, the first run of each."""
    levels, rng = make_levels(5, 2, [(6, 5, 40), (4, 7, 23)]), np.random.default_rng(3)
    design, first = Design(levels), levels["seed"] == 0
    means, predicted = [], []
    for _ in range(600):
        scores = draw_scores(levels, SD, rng)
        means.append(scores[first].mean())
        predicted.append(design.estimate(scores).one_run)
    assert math.sqrt(np.mean(predicted)) == pytest.approx(np.std(means), rel=0.12)


def test_one_seed_cannot_tell_the_seed_from_the_fold_nor_the_rest_from_the_picture():
    levels = make_levels(5, 1, [(6, 5, 40)])
    found = Design(levels).estimate(draw_scores(levels, SD, np.random.default_rng(4)))
    assert found.variances["seed"] is None and found.variances["rest"] is None
    assert all(found.variances[name] is not None for name in ("fold", "background", "cutout", "picture"))
    assert found.variances["picture"] > 0


def test_photos_are_their_own_backgrounds():
    levels = make_levels(3, 2, [(20, 20, 20)])
    levels["background"] = levels["picture"]
    del levels["cutout"]
    found = Design(levels).estimate(draw_scores(levels, SD, np.random.default_rng(5)))
    assert found.variances["background"] is None and found.variances["cutout"] is None
    assert found.variances["picture"] is not None


def test_no_spread_no_variance_and_nothing_negative():
    levels = make_levels(3, 2, [(4, 3, 12)])
    found = Design(levels).estimate(np.full(len(levels["fold"]), 0.7))
    assert set(found.variances.values()) == {0.0} and found.negative == () and found.one_run == 0.0


def test_too_few_scores_say_nothing():
    levels = {name: np.array([0]) for name in ("fold", "seed", "picture")}
    found = Design(levels).estimate(np.array([1.0]))
    assert set(found.variances.values()) == {None} and found.one_run is None
