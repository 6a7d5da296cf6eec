"""The values of trials: what each method takes, that they are a function of params and results alone, and when trials stop."""

from __future__ import annotations

import math

import numpy as np
import pytest
from making_sweeps import make_result, write_sweep

from depthmask.sweep.checking import check_sweep
from depthmask.sweep.params import DimensionParams, PruneParams, SweepParams, load_sweep_params
from depthmask.sweep.results import EARLIER, read_earlier
from depthmask.sweep.space import count_trials, draw_values, list_values, place_in_space, set_values
from depthmask.sweep.suggesting import find_threshold, suggest_trials, suggest_values
from depthmask.sweep.trial import DIVERGED, STOPPED, read_trial, write_trial

RATE, EPOCHS, WORD = "pretrain.learning_rate", "pretrain.epochs", "pretrain.schedule"
SPACE = {
    RATE: {"low": 0.0001, "high": 0.1, "log": True},
    EPOCHS: {"low": 1, "high": 4, "integer": True},
    WORD: {"values": ["constant", "cosine"]},
}


def make_params(tmp_path, **changes) -> SweepParams:
    return load_sweep_params(write_sweep(tmp_path, **({"space": SPACE} | changes)))


def test_a_grid_has_every_combination_once(tmp_path):
    space = {RATE: {"low": 0.001, "high": 0.1, "log": True, "points": 3}, WORD: {"values": ["constant", "cosine"]}}
    params = make_params(tmp_path, space=space, method="grid", trials=None)
    assert count_trials(params) == 6
    drawn = [tuple(draw_values(params, number).values()) for number in range(6)]
    assert drawn == [(rate, word) for rate in (0.001, 0.01, 0.1) for word in ("constant", "cosine")]


def test_points_of_a_range_of_whole_numbers_are_whole_and_each_once():
    dimension = DimensionParams(low=1, high=3, integer=True, points=5)
    assert list_values(dimension) == [1, 2, 3]
    assert all(type(value) is int for value in list_values(dimension))


@pytest.mark.parametrize("method", ["random", "sobol"])
def test_values_are_within_their_range_and_do_not_depend_on_the_number_of_trials(tmp_path, method):
    few, many = (make_params(tmp_path / str(number), method=method, trials=number) for number in (8, 200))
    drawn = [draw_values(many, number) for number in range(200)]
    assert [draw_values(few, number) for number in range(8)] == drawn[:8]
    rates = np.array([values[RATE] for values in drawn])
    assert rates.min() >= 0.0001 and rates.max() <= 0.1
    assert abs(np.mean(np.log10(rates)) + 2.5) < 0.2, "in the middle of the range on a logarithmic scale"
    counts = np.bincount([values[EPOCHS] for values in drawn], minlength=5)
    assert counts[0] == 0 and (counts[1:] > 30).all()
    assert {values[WORD] for values in drawn} == {"constant", "cosine"}
    other = make_params(tmp_path / "other", method=method, trials=8, seed=1)
    assert [draw_values(other, number) for number in range(8)] != drawn[:8]


def test_sobol_covers_each_quarter_evenly(tmp_path):
    params = make_params(tmp_path, method="sobol", trials=16)
    quarters = [math.floor((math.log10(draw_values(params, number)[RATE]) + 4) / 3 * 4 - 1e-9) for number in range(16)]
    assert np.bincount(quarters, minlength=4).tolist() == [4, 4, 4, 4]


def test_the_ends_of_the_unit_cube_are_the_ends_of_the_ranges(tmp_path):
    space = make_params(tmp_path).space
    assert place_in_space(space, (0.0, 0.0, 0.0)) == {RATE: 0.0001, EPOCHS: 1, WORD: "constant"}
    assert place_in_space(space, (1 - 1e-9,) * 3) == {RATE: 0.1, EPOCHS: 4, WORD: "cosine"}


def test_values_are_set_at_dotted_keys_and_nowhere_else():
    before = {"a": {"b": 1, "c": 2}, "d": None}
    assert set_values(before, {"a.b": 5, "d.e": 6}) == {"a": {"b": 5, "c": 2}, "d": {"e": 6}}
    assert before == {"a": {"b": 1, "c": 2}, "d": None}


def make_results(params: SweepParams, count: int = 4) -> list:
    """Trials of the first rounds, good at a rate near 0.01."""
    drawn = [draw_values(params, number) for number in range(count)]
    return [make_result(f"t{n}", values, round(1 - abs(math.log10(values[RATE]) + 2) / 4, 4)) for n, values in enumerate(drawn)]


def test_tpe_is_a_function_of_seed_round_and_results(tmp_path):
    params = make_params(tmp_path, method="tpe", trials=12, round_size=4)
    results = make_results(params)
    first = suggest_values(params, 1, results)
    assert first == suggest_values(params, 1, results)
    assert len({tuple(values.values()) for values in first}) == 4, "trials of a round lie apart"
    assert suggest_values(params, 0, []) == [draw_values(params, number) for number in range(4)]
    other = [result.model_copy(update={"score": 1 - result.score}) for result in results]
    assert suggest_values(params, 1, other) != first
    assert suggest_values(make_params(tmp_path / "b", method="tpe", trials=12, round_size=4, seed=5), 1, results) != first


def test_a_longer_sweep_begins_with_the_same_trials(tmp_path):
    short, long = (make_params(tmp_path / str(number), method="tpe", trials=number, round_size=4) for number in (8, 20))
    assert suggest_values(short, 1, make_results(short)) == suggest_values(long, 1, make_results(long))


def test_tpe_looks_where_it_was_good(tmp_path):
    near, every = 0, 0
    for seed in range(5):
        params = make_params(tmp_path / str(seed), method="tpe", trials=40, round_size=20, seed=seed)
        suggested = suggest_values(params, 1, make_results(params, 20))
        near += sum(0.002 < values[RATE] < 0.05 for values in suggested)
        every += len(suggested)
    assert near / every > 0.6, "of the whole range it is 0.47"


@pytest.mark.parametrize("outcome", [DIVERGED, STOPPED])
def test_tpe_takes_the_best_of_the_trials_that_were_finished(tmp_path, outcome):
    params = make_params(tmp_path, method="tpe", trials=12, round_size=4)
    results = make_results(params)
    best = max(range(4), key=lambda number: results[number].score)
    ended = {"outcome": outcome, "steps": 50} | ({"score": None} if outcome == DIVERGED else {})
    changed = [result.model_copy(update=ended) if n == best else result for n, result in enumerate(results)]
    assert len(suggest_values(params, 1, changed)) == 4
    assert suggest_values(params, 1, changed) != suggest_values(params, 1, results)


def test_listed_values_of_any_kind_can_be_searched(tmp_path):
    values = [[], [{"transform": "grey", "probability": 0.1}]]
    space = {"augment.photometric": {"values": values}, "pretrain.clip_norm": {"values": [None, 1.0]}}
    params = make_params(tmp_path, space=space, method="tpe", trials=8, round_size=4)
    results = [make_result(f"t{n}", draw_values(params, n), n / 4) for n in range(4)]
    for suggested in suggest_values(params, 1, results):
        assert suggested["augment.photometric"] in values and suggested["pretrain.clip_norm"] in (None, 1.0)


PRUNE = PruneParams(at=[0.25, 0.5], keep=0.5, after=3)


def make_curve(name: str, *scores: float | None):
    """A trial whose score was measured after 25, 50, ... of 100 steps."""
    return make_result(name, {}, scores[-1], curve=[(25 * (n + 1), score) for n, score in enumerate(scores)])


def test_a_trial_has_to_reach_the_best_half_of_what_others_had_at_that_point():
    results = [make_curve("a", 0.1, 0.5), make_curve("b", 0.2, 0.4), make_curve("c", 0.3, 0.3), make_curve("d", 0.4)]
    assert find_threshold(PRUNE, 0.25, results) == 0.3  # of 0.4, 0.3, 0.2, 0.1
    assert find_threshold(PRUNE, 0.5, results) == 0.4  # of 0.5, 0.4, 0.3; d never came that far
    assert find_threshold(PRUNE, 0.3, results) == 0.4, "at the next epoch's end"
    assert find_threshold(PRUNE, 0.25, results[:2]) is None, "too few"
    assert find_threshold(PRUNE, 0.25, [*results[:2], make_curve("e", None)]) is None, "an unknown score does not count"


def test_trials_are_written_with_what_decides_them_alone(tmp_path):
    where = write_sweep(tmp_path, space=SPACE, method="tpe", trials=8, round_size=4)
    trials = suggest_trials(check_sweep(where), 0, [], None)
    more = suggest_trials(check_sweep(write_sweep(tmp_path, space=SPACE, method="tpe", trials=9, round_size=4)), 0, [], None)
    assert trials == more, "a longer sweep trains none of them again"
    assert trials[0].stop is None and trials[0].steps == sum(
        p.epochs * p.samples_per_epoch // p.batch_size for p in trials[0].phases
    )
    assert trials[0].phases[0].learning_rate == trials[0].values[RATE]
    write_trial(tmp_path / "t.json", trials[0])
    assert read_trial(tmp_path / "t.json") == trials[0]


def test_earlier_results_are_those_of_all_rounds_before(tmp_path):
    plan = check_sweep(write_sweep(tmp_path, space=SPACE, method="tpe", trials=6, round_size=2))
    assert read_earlier(tmp_path / "check.txt", tmp_path / "check.txt", plan, 0) == []
    results = make_results(plan.params, 4)
    from depthmask.base.files import write_json

    write_json(tmp_path / "before" / EARLIER, [result.model_dump() for result in results[:2]])
    for name, result in zip(("t002", "t003"), results[2:], strict=True):
        write_json(tmp_path / "scores" / f"{name}.json", result.model_dump())
    assert read_earlier(tmp_path / "before", tmp_path / "scores", plan, 2) == results
