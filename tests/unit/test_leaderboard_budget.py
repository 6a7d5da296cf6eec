"""The arithmetic of a budget: what each phase of a recipe gets of it, counted by hand."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from depthmask.base.errors import ParamsError
from depthmask.leaderboard.budget import apportion, cap_phases, count_samples, count_steps, divide_steps, spend_budget
from depthmask.leaderboard.params import BudgetParams
from depthmask.params import PhaseParams, load_params

ROOT = Path(__file__).resolve().parents[2]
PHASE = load_params(ROOT / "params.yaml").pretrain.phases()[0]


def make_phase(**changes) -> PhaseParams:
    return PhaseParams(**{name: getattr(PHASE, name) for name in PhaseParams.model_fields} | changes)


def make_budget(kind: str, amount: int) -> BudgetParams:
    return BudgetParams(kind=kind, amount=amount)


# 60 steps of 10 and 20 steps of 5: 600 and 100 samples
TWO = [
    make_phase(image_size_px=32, batch_size=10, samples_per_epoch=100, epochs=6),
    make_phase(image_size_px=64, batch_size=5, samples_per_epoch=50, epochs=2),
]


@pytest.mark.parametrize(
    ("total", "weights", "shares"),
    [
        (8, [60, 20], [6, 2]),
        (10, [1, 1, 1], [4, 3, 3]),
        (4, [1000, 1, 1], [2, 1, 1]),
        (3, [5, 5, 5], [1, 1, 1]),
        (7, [2, 1], [5, 2]),
    ],
)
def test_shares_by_hand(total, weights, shares):
    assert apportion(total, weights) == shares


def test_a_budget_of_less_than_one_for_each_phase_is_rejected():
    with pytest.raises(ParamsError, match=r"budget.amount: 2; allowed: at least 3"):
        apportion(2, [1, 1, 1])


@given(st.integers(1, 10**6), st.lists(st.integers(1, 10**9), min_size=1, max_size=8))
def test_shares_add_up_and_keep_the_order_of_the_weights(total, weights):
    if total < len(weights):
        return
    shares = apportion(total, weights)
    assert sum(shares) == total
    assert min(shares) >= 1
    by_weight = [share for _, share in sorted(zip(weights, shares))]
    assert all(later >= earlier - 1 for earlier, later in pairwise(by_weight))


def test_steps_are_shared_by_the_recipes_steps():
    first, second = spend_budget(TWO, make_budget("steps", 16))
    assert (first.epochs, first.samples_per_epoch, first.batch_size) == (6, 20, 10)
    assert (second.epochs, second.samples_per_epoch, second.batch_size) == (2, 10, 5)
    assert [count_steps(phase) for phase in (first, second)] == [12, 4]


def test_samples_are_shared_by_the_recipes_samples():
    planned = spend_budget(TWO, make_budget("samples", 140))
    assert [count_samples(phase) for phase in planned] == [120, 20]
    assert [phase.batch_size for phase in planned] == [10, 5]


def test_a_batch_is_no_larger_than_its_phases_share():
    planned = spend_budget(TWO, make_budget("samples", 7))
    assert [(count_steps(phase), phase.batch_size) for phase in planned] == [(1, 6), (1, 1)]


def test_seconds_are_shared_by_samples_times_pixels():
    # 600 x 32 x 32 to 100 x 64 x 64 is 3 to 2, so 60 s and 40 s
    planned = spend_budget(TWO, make_budget("seconds", 100), step_seconds=[0.5, 2.0])
    assert [count_steps(phase) for phase in planned] == [120, 20]


def test_every_phase_has_a_step_however_slow_it_is():
    planned = spend_budget(TWO, make_budget("seconds", 1), step_seconds=[50.0, 50.0])
    assert [count_steps(phase) for phase in planned] == [1, 1]


def test_what_a_phase_cannot_use_is_the_next_ones():
    # 58 samples in batches of 10 leave 8, to which 9 come
    planned = spend_budget(TWO, make_budget("samples", 67))
    assert [count_samples(phase) for phase in planned] == [50, 15]


def test_what_counts_in_epochs_is_scaled_and_all_else_is_kept():
    phase = make_phase(
        batch_size=10,
        samples_per_epoch=100,
        epochs=8,
        schedule="step",
        milestones=[4, 6],
        patience_epochs=4,
        cycle_epochs=2,
        early_stop_epochs=3,
        learning_rate=0.07,
        augment=False,
    )
    (planned,) = spend_budget([phase], make_budget("steps", 4))
    assert (planned.epochs, planned.samples_per_epoch) == (4, 10)
    assert (planned.milestones, planned.patience_epochs, planned.cycle_epochs) == ([2, 3], 2, 1)
    assert planned.early_stop_epochs is None
    changed = {"epochs", "samples_per_epoch", "milestones", "patience_epochs", "cycle_epochs", "early_stop_epochs"}
    for name in set(PhaseParams.model_fields) - changed:
        assert getattr(planned, name) == getattr(phase, name), name


def test_a_phase_without_patience_gets_none():
    (planned,) = spend_budget([make_phase(patience_epochs=0)], make_budget("steps", 100))
    assert planned.patience_epochs == 0


@pytest.mark.parametrize(
    ("steps", "epochs", "steps_max", "divided"),
    [
        (120, 6, None, (6, 20)),
        (125, 6, None, (5, 25)),  # 6 epochs would lose 5 of 125
        (1000, 6, None, (6, 166)),  # 4 of 1000 may be lost
        (1, 6, None, (1, 1)),
        (7, 3, None, (1, 7)),
        (100, 2, 10, (10, 10)),  # an epoch shows each pre-composited sample at most once
    ],
)
def test_steps_are_divided_into_epochs(steps, epochs, steps_max, divided):
    assert divide_steps(steps, epochs, steps_max) == divided


def test_no_epoch_asks_for_more_composites_than_there_are():
    planned = spend_budget(TWO, make_budget("steps", 80), num_available=25)
    assert [(phase.epochs, phase.samples_per_epoch) for phase in planned] == [(30, 20), (4, 25)]
    small = spend_budget(TWO, make_budget("steps", 80), num_available=3)
    assert [phase.batch_size for phase in small] == [3, 3]


def test_caps_cut_only_what_is_above_them():
    capped = cap_phases(TWO, 8, 48)
    assert [(phase.batch_size, phase.image_size_px) for phase in capped] == [(8, 32), (5, 48)]
    assert cap_phases(TWO, None, None) == TWO


@st.composite
def phases_and_budgets(draw):
    phases = []
    for _ in range(draw(st.integers(1, 5))):
        batch_size = draw(st.integers(1, 64))
        phases.append(
            make_phase(
                image_size_px=draw(st.sampled_from([32, 64, 112, 224])),
                batch_size=batch_size,
                samples_per_epoch=batch_size * draw(st.integers(1, 400)),
                epochs=draw(st.integers(1, 20)),
            )
        )
    return phases, draw(st.sampled_from(["steps", "samples"])), draw(st.integers(len(phases), 10**5))


@settings(max_examples=60, deadline=None)
@given(phases_and_budgets())
def test_no_recipe_gets_more_than_the_budget_and_next_to_nothing_is_left(given_phases_and_budget):
    phases, kind, amount = given_phases_and_budget
    planned = spend_budget(phases, make_budget(kind, amount))
    count = count_steps if kind == "steps" else count_samples
    used = sum(count(phase) for phase in planned)
    assert all(count_steps(phase) >= 1 for phase in planned)
    last = planned[-1]
    left_over = 0 if kind == "steps" else last.batch_size
    assert amount - left_over - 0.02 * count(last) - 1 <= used <= amount
