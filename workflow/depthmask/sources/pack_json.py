"""pack.json: what is known about the backgrounds and cut-outs in a folder; often written by hand."""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Collection
from pathlib import Path, PurePath
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from depthmask.base.errors import UserError
from depthmask.base.files import JsonError, read_json
from depthmask.sources.layout import show_names

SHAPES = {  # by the number of keys that lead there
    0: '{"cutouts": {"NAME": {"kind": "person"}}}',
    1: '{"NAME": {"kind": "person"}}',
    2: '{"kind": "person"}',
}
SIMILAR, SHOWN = 0.75, 40  # of difflib's ratio; characters of a key
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
    """A cut-out's size, if known: its resolution, or else the height of what is visible."""

    kind: Kind | None = None
    pixels_per_m: Annotated[float, Field(gt=0, le=1e6)] | None = None
    height_m: Annotated[float, Field(gt=0, le=1e4)] | None = None


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
        found, message = problem["input"], problem["msg"]
        if problem["type"] in ("model_type", "dict_type"):
            message = f"{type(found).__name__} where a mapping is expected, such as {SHAPES[len(problem['loc'])]}"
        else:
            message += f", not {str(found)[:40]!r}"
        key = "".join(character if character.isprintable() else "?" for character in ".".join(map(str, problem["loc"])))[:100]
        raise UserError(f"{path}: {key}{': ' if key else ''}{message}; correct it, or remove it") from error


def find_unknown_names(path: Path, pack: PackSpec, backgrounds: Collection[str], cutouts: Collection[str]) -> list[str]:
    """A warning for what in pack.json says nothing; path: of pack.json.

    Of each section, names that no file has, where files are also not named: those of files that were removed from a pack are no
    fault. Keys that are like a known one; others may be a user's own notes.

    Raises:
        UserError: a name has the suffix of a file: it would be ignored.
    """
    warnings = _find_unknown_keys(path, pack)
    for section, names, known in (("backgrounds", pack.backgrounds, backgrounds), ("cutouts", pack.cutouts, cutouts)):
        unknown = sorted(names.keys() - set(known))
        with_suffix = [name for name in unknown if PurePath(name).suffix and PurePath(name).stem in known]
        if with_suffix:
            name = with_suffix[0]
            raise UserError(f"{path}: {section}.{name}: has a suffix; write the name without it: {PurePath(name).stem}")
        if unknown and set(known) - names.keys():
            warnings.append(f"{path.name}: {section}: no file for {len(unknown)} of {len(names)} names: {show_names(unknown)}")
    return warnings


def _find_unknown_keys(path: Path, pack: PackSpec) -> list[str]:
    warnings = []
    for key, value in (pack.model_extra or {}).items():
        meant = _find_meant(key, PackSpec)
        if meant or isinstance(value, dict):
            warnings.append(f"{path.name}: {key[:SHOWN]}: not read; allowed: backgrounds, cutouts{_ask(meant)}")
    for section, specs, model in (("backgrounds", pack.backgrounds, BackgroundSpec), ("cutouts", pack.cutouts, CutoutSpec)):
        counts = Counter(key for spec in specs.values() for key in spec.model_extra or {})
        for key, num in counts.items():
            if (meant := _find_meant(key, model)) is not None:
                warnings.append(
                    f"{path.name}: {section}: {key[:SHOWN]} is not read, in {num:,} of {len(specs):,} names{_ask(meant)}"
                )
    return warnings


def _find_meant(key: str, model: type[BaseModel]) -> str | None:
    """The known key that an unknown one is like; None if it is like none."""
    plain = {name.replace("_", ""): name for name in model.model_fields}
    similar = difflib.get_close_matches(re.sub(r"[^a-z]", "", key.lower()), plain, 1, SIMILAR)
    return plain[similar[0]] if similar else None


def _ask(meant: str | None) -> str:
    return f"; did you mean {meant}?" if meant else ""
