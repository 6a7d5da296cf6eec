"""Types shared by all sections."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

from depthmask.params.patterns import PATTERN_LENGTH_MAX, check_pattern

# Bounds far beyond what anybody trains with, so that anything rejected is a typo or bound to fail. What this machine can do
# within them is estimated by `check`.
COUNT_MAX = 10**9  # of samples and files: their indices have 32 bits
EPOCHS_MAX = 10**6  # each has a checkpoint and a row of the history
SCORED_MAX = 10**7  # of samples whose rows are kept until all are scored
BATCH_MAX = 2**16  # twice the largest that ImageNet has been trained with
SIDE_MIN_PX, SIDE_MAX_PX = 16, 4096
FACTOR_MIN, FACTOR_MAX = 1e-6, 1e6  # of loss weights and norms: float32 keeps seven digits of their sum

Probability = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1, le=COUNT_MAX)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Epochs = Annotated[int, Field(ge=1, le=EPOCHS_MAX)]
ScoredCount = Annotated[int, Field(ge=1, le=SCORED_MAX)]
BatchSize = Annotated[int, Field(ge=1, le=BATCH_MAX)]
Threads = Annotated[int, Field(ge=1, le=256)]
SizePx = Annotated[int, Field(ge=SIDE_MIN_PX, le=SIDE_MAX_PX)]
Factor = Annotated[float, Field(ge=FACTOR_MIN, le=FACTOR_MAX)]


def _check_weight(weight: float) -> float:
    if 0 < weight < FACTOR_MIN:
        raise ValueError(f"{weight:g} is too small to matter in float32; allowed: 0, or {FACTOR_MIN:g} to {FACTOR_MAX:g}")
    return weight


Weight = Annotated[float, Field(ge=0, le=FACTOR_MAX), AfterValidator(_check_weight)]


Pattern = Annotated[str, Field(max_length=PATTERN_LENGTH_MAX), AfterValidator(check_pattern)]


def validate_exact_type(*allowed: Any) -> BeforeValidator:
    """For a Literal of numbers or booleans: to Python, True and 1.0 equal 1, but in the file they mean something else."""

    def check(value: Any) -> Any:
        if any(value == one and type(value) is not type(one) for one in allowed):
            listed = ", ".join("null" if one is None else str(one).lower() for one in allowed)
            raise PydanticCustomError("literal_error", "{expected}", {"expected": listed})
        return value

    return BeforeValidator(check)


class Section(BaseModel):
    """A mapping in params.yaml: frozen; unknown keys, wrong types, infinity and NaN are rejected."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)
