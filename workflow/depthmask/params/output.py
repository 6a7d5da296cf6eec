"""The sections `evaluate` and `report`."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from depthmask.params.fields import BatchSize, ScoredCount, Section, SizePx


class EvaluateParams(Section):
    image_size_px: SizePx
    batch_size: BatchSize
    num_samples: ScoredCount
    baseline_samples: ScoredCount
    num_shown: Annotated[int, Field(ge=0, le=64)]
    photos: Annotated[str, Field(min_length=1)]


class ReportParams(Section):
    title: Annotated[str, Field(min_length=1, max_length=80)]
    num_worst: Annotated[int, Field(ge=0, le=64)]
