"""Losses and their weighting.

A new one is one function (in `maps.py` if it serves any map, else in the task's file), one line in LOSSES and one key in
params.(Map|Mask|Depth)LossWeights.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Literal, NamedTuple

from torch import Tensor

from depthmask.losses import depth, maps, mask
from depthmask.losses.task_maps import Truth, view_depth, view_mask
from depthmask.models.prediction import Prediction
from depthmask.params import LossParams

__all__ = ["LOSSES", "TASKS", "Term", "name_terms", "weigh_losses"]

TASKS = ("mask", "depth")
SMALLEST_LOSS = 1e-12  # a mask loss of 0 is not divided by


class Term(NamedTuple):
    """A loss and what it compares.

    map: the network's map of 0..1 with the target. standardised_map: the same, after (map - mean) / std of both where the
    network learns by standards. logits, levels: those with the target. image: the map with the picture.
    """

    compute: Callable[[Tensor, Tensor, Tensor], Tensor]
    reads: Literal["map", "standardised_map", "logits", "levels", "image"] = "map"


_OF_ANY_MAP = {
    "l1": Term(maps.l1, "standardised_map"),
    "l1_sum": Term(maps.l1_sum, "standardised_map"),
    "mse": Term(maps.mse, "standardised_map"),
    "smooth_l1": Term(maps.smooth_l1, "standardised_map"),
    "gradient": Term(maps.gradient, "standardised_map"),
    "bce": Term(maps.bce),
    "ssim": Term(maps.ssim),
    "ms_ssim": Term(maps.ms_ssim),
}
LOSSES: dict[str, dict[str, Term]] = {
    "mask": {
        **_OF_ANY_MAP,
        "bce_with_logits": Term(mask.bce_with_logits, "logits"),
        "dice": Term(mask.dice),
        "dice_squared": Term(mask.dice_squared),
    },
    "depth": {
        **_OF_ANY_MAP,
        "log_l1": Term(depth.log_l1),
        "log_gradient": Term(depth.log_gradient),
        "smoothness": Term(depth.smoothness, "image"),
        "cross_entropy": Term(depth.cross_entropy, "levels"),
    },
}


def name_terms(weights: LossParams, tasks: Sequence[str] = TASKS) -> list[str]:
    """The terms that `weigh_losses` returns, in order: `mask_<name>`, then `depth_<name>`, those with a weight."""
    return [f"{task}_{name}" for task in TASKS if task in tasks for name in LOSSES[task] if getattr(getattr(weights, task), name)]


def weigh_losses(
    prediction: Prediction,
    batch: Truth,
    weights: LossParams,
    *,
    tasks: Sequence[str] = TASKS,
    upscale: int = 1,
    timer: Callable[[str], AbstractContextManager] | None = None,
) -> tuple[Tensor, dict[str, Tensor]]:
    """The weighted sum, and each unweighted term by name, as scalars on the device, computed in float32.

    tasks: which task's terms count. upscale: outputs and targets are enlarged that many times before the loss. timer:
    makes a context manager from a term's name, in which that term is computed.

    Raises:
        ValueError: no term of these tasks has a weight, or one wants what the network does not give.
    """
    views = {
        "mask": lambda: view_mask(prediction, batch, upscale),
        "depth": lambda: view_depth(prediction, batch, weights.foreground, upscale),
    }
    maps_of = {task: views[task]() for task in tasks}
    terms = {}
    for name in name_terms(weights, tasks):
        task, key = name.split("_", 1)
        term = LOSSES[task][key]
        with timer(name) if timer else nullcontext():
            terms[name] = term.compute(*maps_of[task].read(term.reads), maps_of[task].weight_B1HW)
    return _sum_up(terms, weights), terms


def _sum_up(terms: dict[str, Tensor], weights: LossParams) -> Tensor:
    """scale x (f x the mask's weighted terms + the depth's), f being 1 unless the two are balanced."""
    if not terms:
        raise ValueError("no loss of these tasks has a weight above 0")
    weighted = {}
    for name, value in terms.items():
        task, key = name.split("_", 1)
        weighted[name] = getattr(getattr(weights, task), key) * value
    if weights.balance is not None:
        factor = _balance(weighted, weights.balance.max)
        weighted = {name: factor * value if name.startswith("mask_") else value for name, value in weighted.items()}
    total = next(iter(terms.values())).new_zeros(())
    for value in weighted.values():
        total = total + value
    return weights.scale * total


def _balance(weighted: dict[str, Tensor], largest: float) -> Tensor | float:
    """System A's factor of the mask's loss: depth loss / mask loss, held within 1 and `largest`, not differentiated."""
    of_task = {task: [value.detach() for name, value in weighted.items() if name.startswith(f"{task}_")] for task in TASKS}
    if not all(of_task.values()):
        return 1.0
    return (sum(of_task["depth"]) / sum(of_task["mask"]).clamp(min=SMALLEST_LOSS)).clamp(1, largest)
