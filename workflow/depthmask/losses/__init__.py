"""Losses and their weighting; the terms are listed in `registry.losses`."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext

from torch import Tensor

from depthmask.losses.task_maps import Truth, view_depth, view_mask
from depthmask.models.prediction import Prediction
from depthmask.params import LossParams
from depthmask.registry.losses import LOSSES, TASKS, Term

__all__ = ["find_loss", "list_terms", "weigh_losses"]

SMALLEST_LOSS = 1e-12  # a mask loss of 0 is not divided by


def find_loss(task: str, name: str) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """The function of a term: (prediction, target, valid) -> scalar."""
    spec = LOSSES[task, name]
    return getattr(importlib.import_module(f"depthmask.losses.{spec.module}"), spec.name)


def list_terms(weights: LossParams, tasks: Sequence[str] = TASKS) -> list[Term]:
    """The terms with a weight that `weigh_losses` returns, in order: the mask's, then the depth's."""
    return [term for term in LOSSES if term.task in tasks and weights.weigh(term)]


def weigh_losses(
    prediction: Prediction,
    batch: Truth,
    weights: LossParams,
    *,
    tasks: Sequence[str] = TASKS,
    upscale: int = 1,
    timer: Callable[[str], AbstractContextManager] | None = None,
) -> tuple[Tensor, dict[Term, Tensor]]:
    """The weighted sum, and each unweighted term, as scalars on the device, computed in float32.

    tasks: which task's terms count. upscale: outputs and targets are enlarged that many times before the loss. timer:
    makes a context manager from a term's column, in which that term is computed.

    Raises:
        ValueError: no term of these tasks has a weight, or one needs an output that the network lacks.
    """
    views = {
        "mask": lambda: view_mask(prediction, batch, upscale),
        "depth": lambda: view_depth(prediction, batch, weights.foreground, upscale),
    }
    maps_of = {task: views[task]() for task in tasks}
    terms = {}
    for term in list_terms(weights, tasks):
        maps = maps_of[term.task]
        with timer(term.column) if timer else nullcontext():
            terms[term] = find_loss(*term)(*maps.read(LOSSES[term].reads), maps.weigh(LOSSES[term].reads))
    return _sum_up(terms, weights), terms


def _sum_up(terms: dict[Term, Tensor], weights: LossParams) -> Tensor:
    """scale x (f x the mask's weighted terms + the depth's), f being 1 unless the two are balanced."""
    if not terms:
        raise ValueError("no loss of these tasks has a weight above 0")
    weighted = {term: weights.weigh(term) * value for term, value in terms.items()}
    if weights.balance is not None:
        factor = _balance(weighted, weights.balance.max)
        weighted = {term: factor * value if term.task == "mask" else value for term, value in weighted.items()}
    total = next(iter(terms.values())).new_zeros(())
    for value in weighted.values():
        total = total + value
    return weights.scale * total


def _balance(weighted: dict[Term, Tensor], largest: float) -> Tensor | float:
    """System A's factor of the mask's loss: depth loss / mask loss, held within 1 and `largest`, not differentiated."""
    of_task = {task: [value.detach() for term, value in weighted.items() if term.task == task] for task in TASKS}
    if not all(of_task.values()):
        return 1.0
    return (sum(of_task["depth"]) / sum(of_task["mask"]).clamp(min=SMALLEST_LOSS)).clamp(1, largest)
