"""What every section is made of."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

from depthmask.params.patterns import PATTERN_LENGTH_MAX, check_pattern

Probability = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=1)]
SizePx = Annotated[int, Field(ge=16, le=4096)]
Weight = Annotated[float, Field(ge=0)]


Pattern = Annotated[str, Field(max_length=PATTERN_LENGTH_MAX), AfterValidator(check_pattern)]


def refuse_look_alikes(*allowed: Any) -> BeforeValidator:
    """For a Literal of numbers or truth values: Python takes True and 1.0 for 1, the file means something else by them."""

    def check(value: Any) -> Any:
        if any(value == one and type(value) is not type(one) for one in allowed):
            listed = ", ".join("null" if one is None else str(one).lower() for one in allowed)
            raise PydanticCustomError("literal_error", "{expected}", {"expected": listed})
        return value

    return BeforeValidator(check)


class Section(BaseModel):
    """A mapping of params.yaml: frozen; an unknown key, a value of another type, infinity and NaN are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)
