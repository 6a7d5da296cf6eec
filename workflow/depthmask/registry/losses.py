"""The losses: one line a term, which is a task and a name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

TASKS = ("mask", "depth")


class Term(NamedTuple):
    """The key of a loss: `loss.TASK.NAME` of params.yaml."""

    task: str
    name: str

    @property
    def column(self) -> str:
        """Its name in the history, after `train_` or `validation_`."""
        return f"{self.task}_{self.name}"


@dataclass(frozen=True)
class LossSpec:
    """What is to be known of a loss. The function `name` of losses/`module`.py computes it.

    reads: what it compares. map: the network's map of 0..1 with the target. standardised_map: the same, after (map - mean) /
    std of both where the network learns by normalization stats. logits, bins: those with the target. image: the map with the
    picture. A network that gives no logits or no depth bins cannot have it; instead: the term to use then.
    min_side_px: of the pictures, after any enlargement.
    """

    name: str
    module: str
    reads: Literal["map", "standardised_map", "logits", "bins", "image"] = "map"
    instead: str | None = None
    min_side_px: int = 1


_OF_ANY_MAP = (
    LossSpec("l1", "maps", "standardised_map"),
    LossSpec("l1_sum", "maps", "standardised_map"),
    LossSpec("mse", "maps", "standardised_map"),
    LossSpec("smooth_l1", "maps", "standardised_map"),
    LossSpec("gradient", "maps", "standardised_map"),
    LossSpec("bce", "maps"),
    LossSpec("ssim", "maps"),
    LossSpec("ms_ssim", "maps", min_side_px=33),  # a window of 3 px still fits into a sixteenth
)
_SPECS = {
    "mask": (
        *_OF_ANY_MAP,
        LossSpec("bce_with_logits", "mask", "logits", instead="bce"),
        LossSpec("dice", "mask"),
        LossSpec("dice_squared", "mask"),
    ),
    "depth": (
        *_OF_ANY_MAP,
        LossSpec("log_l1", "depth"),
        LossSpec("log_gradient", "depth"),
        LossSpec("smoothness", "depth", "image"),
        LossSpec("cross_entropy", "depth", "bins"),
    ),
}
LOSSES: dict[Term, LossSpec] = {Term(task, spec.name): spec for task in TASKS for spec in _SPECS[task]}
