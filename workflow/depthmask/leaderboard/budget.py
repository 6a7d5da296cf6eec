"""Turns a budget into the lengths of a recipe's phases, by arithmetic on params alone: no data, no clock.

A recipe's phases keep their order, sizes, losses, schedules and augmentations; only their lengths change, and each keeps its
share of all samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from depthmask.base.errors import ParamsError
from depthmask.leaderboard.params import BudgetParams
from depthmask.params import PhaseParams

STEPS_LOST_MAX = 0.01  # fraction of a phase's steps that may be lost to make its epochs equally long; the next phase gets them


def cap_phases(phases: Sequence[PhaseParams], batch_size_max: int | None, image_size_max_px: int | None) -> list[PhaseParams]:
    """The phases with batch and image sizes capped; None: no cap."""
    return [
        phase.change(
            batch_size=min(phase.batch_size, batch_size_max or phase.batch_size),
            image_size_px=min(phase.image_size_px, image_size_max_px or phase.image_size_px),
        )
        for phase in phases
    ]


def spend_budget(
    phases: Sequence[PhaseParams],
    budget: BudgetParams,
    *,
    num_available: int | None = None,
    step_seconds: Sequence[float] | None = None,
) -> list[PhaseParams]:
    """The phases with lengths that the budget allows, each at least one step.

    num_available: number of pre-composited training samples, which limits an epoch; None: samples are composed and never run
    out. step_seconds: of one step of each phase, for a budget in seconds.

    The budget is shared in proportion to the phases' steps, their samples or, in seconds, their samples times pixels, which is
    roughly proportional to time. What one phase cannot use goes to the next; at the end less than a batch, or a hundredth of
    the last phase's steps, is left.

    Raises:
        ParamsError: the budget is less than one step or sample per phase.
    """
    samples = [count_samples(phase) for phase in phases]
    batches = [min(phase.batch_size, num_available or phase.batch_size) for phase in phases]
    match budget.kind:
        case "steps":
            shares = apportion(budget.amount, [count_steps(phase) for phase in phases])
            costs = [1] * len(phases)
        case "samples":
            shares = apportion(budget.amount, samples)
            batches = [min(batch, share) for batch, share in zip(batches, shares)]  # a larger batch would overdraw the budget
            costs = batches
        case "seconds":
            work = [number * phase.image_size_px**2 for number, phase in zip(samples, phases)]
            shares = [budget.amount * amount / sum(work) for amount in work]
            costs = list(step_seconds)
    planned, left = [], 0.0
    for phase, batch, cost, share in zip(phases, batches, costs, shares, strict=True):
        left += share
        epochs, an_epoch = divide_steps(max(1, int(left / cost)), phase.epochs, num_available and num_available // batch)
        left = max(0.0, left - epochs * an_epoch * cost)
        lengths = {"batch_size": batch, "samples_per_epoch": an_epoch * batch, "epochs": epochs}
        planned.append(phase.change(**lengths, **_scale_epochs(phase, epochs)))
    return planned


def apportion(total: int, weights: Sequence[int]) -> list[int]:
    """Whole numbers, each at least 1, that sum to `total` and are as close as possible to the weights' proportions.

    Raises:
        ParamsError: `total` is less than one per weight.
    """
    if total < len(weights):
        raise ParamsError(f"budget.amount: {total}; allowed: at least {len(weights)}, one for each of its phases")
    whole = sum(weights)
    shares = [max(1, total * weight // whole) for weight in weights]
    lacking = total - sum(shares)
    # by largest remainder, exact in whole numbers; ties go to the first
    order = sorted(range(len(weights)), key=lambda i: shares[i] * whole - total * weights[i])
    for i in order[: max(0, lacking)]:
        shares[i] += 1
    for _ in range(-lacking):
        shares[shares.index(max(shares))] -= 1
    return shares


def count_steps(phase: PhaseParams) -> int:
    """Optimiser steps of a phase that gets all the samples it asks for."""
    return phase.epochs * (phase.samples_per_epoch // phase.batch_size)


def count_samples(phase: PhaseParams) -> int:
    """Samples that those steps use."""
    return count_steps(phase) * phase.batch_size


def divide_steps(steps: int, epochs: int, steps_max: int | None) -> tuple[int, int]:
    """Epochs and steps per epoch, for at most `steps` steps and at most steps_max per epoch (None: any number).

    As many epochs as wanted, or the nearest fewer, else more, such that at most STEPS_LOST_MAX of the steps are lost.
    """
    wanted = min(epochs, steps)
    for number in [*range(wanted, 0, -1), *range(wanted + 1, steps + 1)]:
        an_epoch = steps // number
        if an_epoch <= (steps_max or steps) and steps - number * an_epoch <= steps * STEPS_LOST_MAX:
            return number, an_epoch
    raise ValueError(f"{steps} steps cannot be divided; at least one is needed")


def _scale_epochs(phase: PhaseParams, epochs: int) -> dict[str, Any]:
    """The settings of a phase in epochs, scaled to another number of epochs, without early stopping."""

    def scale(number: int) -> int:
        return max(1, round(number * epochs / phase.epochs))

    return {
        "milestones": sorted({scale(milestone) for milestone in phase.milestones}),
        "cycle_epochs": scale(phase.cycle_epochs),
        "patience_epochs": scale(phase.patience_epochs) if phase.patience_epochs else 0,
        "early_stop_epochs": None,
    }
