"""pack.json: what is known about the backgrounds and cut-outs in a folder; often written by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from depthmask.base.errors import UserError
from depthmask.base.files import JsonError, read_json

Kind = Annotated[str, Field(max_length=80, pattern=r"^[^\x00-\x1f\x7f]*$")]


class _Spec(BaseModel):
    """Unknown keys are allowed; known keys have types and bounds."""

    model_config = ConfigDict(extra="allow", strict=True, allow_inf_nan=False)


class BackgroundSpec(_Spec):
    """The camera is used only if all three of its values are given."""

    kind: Kind | None = None
    focal_px: Annotated[float, Field(gt=0, le=1e6)] | None = None
    camera_height_m: Annotated[float, Field(gt=0, le=1e4)] | None = None
    camera_pitch_rad: Annotated[float, Field(gt=-1.6, lt=1.6)] | None = None


class CutoutSpec(_Spec):
    """A cut-out's size, if known."""

    kind: Kind | None = None
    pixels_per_m: Annotated[float, Field(gt=0, le=1e6)] | None = None


class PackSpec(_Spec):
    """All of pack.json."""

    backgrounds: dict[str, BackgroundSpec] = {}
    cutouts: dict[str, CutoutSpec] = {}


def read_pack(path: Path) -> PackSpec:
    """Read pack.json.

    Raises:
        UserError: it cannot be read, is not JSON, or a value is invalid; names the key.
    """
    try:
        return PackSpec.model_validate(read_json(path))
    except JsonError as error:
        raise UserError(f"{path}: is not JSON ({error.reason}); correct it, or remove it") from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); correct it, or remove it") from error
    except ValidationError as error:
        problem = error.errors()[0]
        key = "".join(character if character.isprintable() else "?" for character in ".".join(map(str, problem["loc"])))[:100]
        raise UserError(f"{path}: {key}{': ' if key else ''}{problem['msg']}; correct it, or remove it") from error
