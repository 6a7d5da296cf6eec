"""The section `loss`, and which networks and sizes its terms can be used with."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from depthmask.params.fields import FACTOR_MAX, Factor, Section, Weight

MS_SSIM_MIN_SIDE_PX = 33  # of which a window of 3 px still fits into a sixteenth


class MapLossWeights(Section):
    """Weights of the terms that mask and depth have alike."""

    l1: Weight = 0.0
    l1_sum: Weight = 0.0
    mse: Weight = 0.0
    smooth_l1: Weight = 0.0
    gradient: Weight = 0.0
    bce: Weight = 0.0
    ssim: Weight = 0.0
    ms_ssim: Weight = 0.0


class MaskLossWeights(MapLossWeights):
    bce_with_logits: Weight = 0.0
    dice: Weight = 0.0
    dice_squared: Weight = 0.0


class DepthLossWeights(MapLossWeights):
    log_l1: Weight = 0.0
    log_gradient: Weight = 0.0
    smoothness: Weight = 0.0
    cross_entropy: Weight = 0.0


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
        weighted = {task: self.has_terms(task) for task in ("mask", "depth")}
        if not any(weighted.values()):
            raise ValueError("every weight is 0, so nothing would be learnt; allowed: at least one weight above 0")
        if self.balance is not None and not all(weighted.values()):
            raise ValueError(
                f"balance.max: {self.balance.max} weighs the mask against the depth, but one has no weight; allowed: null"
            )
        return self

    def has_terms(self, task: str) -> bool:
        """Whether any term of a task, mask or depth, has a weight."""
        return any(getattr(self, task).model_dump().values())


def refuse_terms(loss: LossParams, network: str, *, gives_logits: bool, gives_levels: bool) -> str | None:
    """Which term cannot be used with a network that gives no mask logits, or no classes of depth; None if all can."""
    if loss.mask.bce_with_logits and not gives_logits:
        return (
            f"loss.mask.bce_with_logits: {loss.mask.bce_with_logits:g}; model.name: {network} gives a mask of 0..1 and no logits;"
            " allowed: 0, and bce instead"
        )
    if loss.depth.cross_entropy and not gives_levels:
        return (
            f"loss.depth.cross_entropy: {loss.depth.cross_entropy:g}; model.name: {network} gives no classes of depth; allowed: 0"
        )
    return None


def refuse_size_of_loss(loss: LossParams, side_px: int) -> str | None:
    """Which term cannot be used with maps of this side, counted after any enlargement; None if all can."""
    for task in ("mask", "depth"):
        if getattr(loss, task).ms_ssim and side_px < MS_SSIM_MIN_SIDE_PX:
            return f"loss.{task}.ms_ssim needs pictures of at least {MS_SSIM_MIN_SIDE_PX} px"
    return None
