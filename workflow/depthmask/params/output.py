"""The sections `evaluate` and `report`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from depthmask.params.data import DepthParams
from depthmask.params.fields import BatchSize, ScoredCount, Section, SizePx
from depthmask.params.other_sets import OtherSets

Cap = Annotated[float, Field(ge=1e-6, le=1e6)]  # in the unit of download.depth, whose bounds these are


class EvaluateParams(Section):
    image_size_px: SizePx
    batch_size: BatchSize
    num_samples: ScoredCount
    baseline_samples: ScoredCount
    num_shown: Annotated[int, Field(ge=0, le=64)]
    photos: Annotated[str, Field(min_length=1)]
    depth_min: Cap | None
    depth_max: Cap | None
    depth_crop: Literal["eigen"] | None
    more: OtherSets
    flip: bool
    ensemble: Annotated[str, Field(min_length=1)]

    @model_validator(mode="after")
    def _check(self):
        if self.depth_min is not None and self.depth_max is not None and self.depth_min >= self.depth_max:
            raise ValueError(f"depth_min: {self.depth_min:g}; allowed: below depth_max: {self.depth_max:g}")
        return self

    def find_fault_of_caps(self, depth: DepthParams) -> str | None:
        """Why the caps leave nothing to score, or say more than is known; None if they do not. depth: of the first source."""
        for key in ("depth_min", "depth_max"):
            cap = getattr(self, key)
            if cap is not None and (cap > depth.max or (key == "depth_min" and cap == depth.max)):
                allowed = "below it" if key == "depth_min" else "at most that"
                return (
                    f"{key}: {cap:g} is beyond download.depth.max: {depth.max:g}, to which all depth is clipped; allowed:"
                    f" {allowed}, or null"
                )
        return None


class ReportParams(Section):
    title: Annotated[str, Field(min_length=1, max_length=80)]
    num_worst: Annotated[int, Field(ge=0, le=64)]
