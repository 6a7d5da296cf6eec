"""The section `loss`."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from depthmask.params.fields import Section, Weight


class MaskLossWeights(Section):
    bce: Weight = 0.0
    dice: Weight = 0.0


class DepthLossWeights(Section):
    l1: Weight = 0.0
    log_l1: Weight = 0.0
    ssim: Weight = 0.0
    ms_ssim: Weight = 0.0
    gradient: Weight = 0.0
    log_gradient: Weight = 0.0


class LossParams(Section):
    mask: MaskLossWeights
    depth: DepthLossWeights
    foreground: Annotated[float, Field(ge=1, le=100)]

    @model_validator(mode="after")
    def _check(self):
        if not any([*self.mask.model_dump().values(), *self.depth.model_dump().values()]):
            raise ValueError("every weight is 0, so nothing would be learnt; allowed: at least one weight above 0")
        return self
