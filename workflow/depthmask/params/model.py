"""The section `model`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from depthmask.params.fields import Section


class ModelParams(Section):
    name: Literal["compact"]
    width: Annotated[int, Field(ge=4, le=256, multiple_of=4)]
    dropout: Annotated[float, Field(ge=0, lt=1)]
    background_input: bool
