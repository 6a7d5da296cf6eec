"""The section `loss`, and which networks and sizes its terms can be used with."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, create_model, model_validator

from depthmask.params.fields import FACTOR_MAX, Factor, Section, Weight
from depthmask.registry.losses import LOSSES, TASKS, Term
from depthmask.registry.networks import NETWORKS


def _make_section(name: str, task: str) -> type[Section]:
    """A section with a weight for each loss of a task; default 0."""
    weights = {term.name: (Weight, 0.0) for term in LOSSES if term.task == task}
    return create_model(name, __base__=Section, __module__=__name__, **weights)


MaskLossWeights = _make_section("MaskLossWeights", "mask")
DepthLossWeights = _make_section("DepthLossWeights", "depth")


class BalanceParams(Section):
    max: Annotated[float, Field(ge=1, le=FACTOR_MAX)]


class LossParams(Section):
    mask: MaskLossWeights
    depth: DepthLossWeights
    foreground: Annotated[float, Field(ge=1, le=100)]
    scale: Factor
    balance: BalanceParams | None

    @model_validator(mode="after")
    def _check(self):
        weighted = {task: self.has_terms(task) for task in TASKS}
        if not any(weighted.values()):
            raise ValueError("every weight is 0, so nothing would be learnt; allowed: at least one weight above 0")
        if self.balance is not None and not all(weighted.values()):
            raise ValueError(
                f"balance.max: {self.balance.max} balances mask against depth, but one of them has no weight; allowed: null"
            )
        return self

    def weigh(self, term: Term) -> float:
        """A term's weight, 0 if it is not used."""
        return getattr(getattr(self, term.task), term.name)

    def has_terms(self, task: str) -> bool:
        """Whether any term of a task, mask or depth, has a weight."""
        return any(self.weigh(term) for term in LOSSES if term.task == task)


def find_fault_of_terms(loss: LossParams, network: str) -> str | None:
    """Which term cannot be used with a network without mask logits or depth bins; None if all can."""
    spec = NETWORKS[network]
    lacking = {}
    if spec.mask_gives != "logits":
        lacking["logits"] = "outputs a mask of 0..1, not logits"
    if not spec.has_depth_bins:
        lacking["bins"] = "outputs no depth bins"
    for term, needed in LOSSES.items():
        weight = loss.weigh(term)
        if weight and needed.reads in lacking:
            instead = f", and {needed.instead} instead" if needed.instead else ""
            return f"loss.{term.task}.{term.name}: {weight:g}; model.name: {network} {lacking[needed.reads]}; allowed: 0{instead}"
    return None


def find_fault_of_loss_size(loss: LossParams, side_px: int) -> str | None:
    """Which term cannot be used with maps of this size, after upscaling; None if all can."""
    for term, spec in LOSSES.items():
        if loss.weigh(term) and side_px < spec.min_side_px:
            return f"loss.{term.task}.{term.name} needs images of at least {spec.min_side_px} px"
    return None
