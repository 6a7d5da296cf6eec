"""Sections of the data: where it comes from, how it is split and composed."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from depthmask.params.fields import Count, Pattern, Positive, Probability, Section


class DepthParams(Section):
    unit: Literal["metre", "relative"]
    polarity: Literal["near_is_small", "near_is_large"]
    max: Positive
    raw_max: Annotated[int, Field(ge=1, le=65535)]
    raw_unknown: Annotated[int, Field(ge=0, le=65535)] | None


class DownloadParams(Section):
    source: Literal["demo", "assets", "flat_numbered"]
    path: Annotated[str, Field(min_length=1)]
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None
    depth: DepthParams
    composites_per_background: Count
    composites_per_cutout: Count | None

    @model_validator(mode="after")
    def _check(self):
        per_cutout = self.composites_per_cutout
        if per_cutout is not None and self.composites_per_background % per_cutout:
            raise ValueError(
                f"composites_per_cutout: {per_cutout} must divide composites_per_background: {self.composites_per_background}"
            )
        return self


class SplitParams(Section):
    fraction: Annotated[float, Field(gt=0, le=1)]
    validation: Annotated[float, Field(gt=0, lt=1)]
    test: Annotated[float, Field(gt=0, lt=1)]
    background_group: Pattern | None
    cutout_group: Pattern | None

    @model_validator(mode="after")
    def _check(self):
        if self.validation + self.test >= 1:
            raise ValueError(
                f"validation: {self.validation} + test: {self.test} leave nothing to train on; allowed: a sum under 1"
            )
        return self


class ComposeParams(Section):
    placement: Literal["floor", "uniform", "grid"]
    fit: Literal["crop", "stretch"]
    field_of_view_deg: Annotated[float, Field(gt=0, lt=180)] | None
    scale_min: Annotated[float, Field(gt=0, le=1)]
    scale_max: Annotated[float, Field(gt=0, le=1)]
    flip_background: Probability
    flip_cutout: Probability
    shadow: Probability

    @model_validator(mode="after")
    def _check(self):
        if self.field_of_view_deg is not None and self.fit != "crop":
            raise ValueError(f"field_of_view_deg: {self.field_of_view_deg} needs fit: crop, not {self.fit}; allowed: null")
        if self.scale_min > self.scale_max:
            raise ValueError(f"scale_min: {self.scale_min} is above scale_max: {self.scale_max}; allowed: at most scale_max")
        return self
