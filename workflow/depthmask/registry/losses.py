"""The losses: one line per term, which is a task and a name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

TASKS = ("mask", "depth")


class Term(NamedTuple):
    """Identifies a loss: `loss.TASK.NAME` in params.yaml."""

    task: str
    name: str

    @property
    def column(self) -> str:
        """Its column in the history, after `train_` or `validation_`."""
        return f"{self.task}_{self.name}"


@dataclass(frozen=True)
class LossSpec:
    """A loss. The function `name` in losses/`module`.py computes it.

    reads: what it compares with the target. map: the network's map of 0..1. standardised_map: the same, with both as
    (map - mean) / std if the network is trained with normalization stats. logits, bins: the network's logits or depth bins; a
    network without them cannot use the loss. image: the map, compared with the image. shape: the map and the truth up to a scale
    and a shift of each image, also where only these are known, as of relative sources beside others. instead: the term to use
    if the network lacks them. min_side_px: of the images, after upscaling.
    """

    name: str
    module: str
    reads: Literal["map", "standardised_map", "logits", "bins", "image", "shape"] = "map"
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
    LossSpec("ms_ssim", "maps", min_side_px=33),  # a 3 px window still fits at a sixteenth of the size
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
        LossSpec("scale_shift_invariant", "depth", "shape"),
        LossSpec("smoothness", "depth", "image"),
        LossSpec("cross_entropy", "depth", "bins"),
    ),
}
LOSSES: dict[Term, LossSpec] = {Term(task, spec.name): spec for task in TASKS for spec in _SPECS[task]}
