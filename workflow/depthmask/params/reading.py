"""Reads YAML files into validated sections: params.yaml, and other files with a schema."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from depthmask.base.errors import ParamsError
from depthmask.base.file_errors import describe_decoding, find_fault_of_text
from depthmask.base.files import read_regular_file
from depthmask.params.messages import describe, list_keys
from depthmask.params.plain_yaml import parse_yaml

Schema = TypeVar("Schema", bound=BaseModel)

BYTES_MAX = 1_000_000


def read_text(path: Path | str) -> str:
    """The text of a YAML file.

    Raises:
        ParamsError: it is missing, not a file, unreadable, too large or not UTF-8.
    """
    try:
        content = read_regular_file(Path(path), BYTES_MAX)
    except FileNotFoundError as error:
        raise ParamsError(f"{path}: cannot be read ({error.strerror}); run from the project's folder") from error
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        reason = getattr(error, "strerror", None) or str(error)
        raise ParamsError(f"{path}: cannot be read ({reason}); correct it, or choose another file") from error
    if (fault := find_fault_of_text(content)) is not None:
        raise ParamsError(f"{path}: {fault}")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ParamsError(f"{path}: {describe_decoding(error)}") from error


def read_yaml(path: Path | str, schema: type[BaseModel]) -> dict[str, Any]:
    """Read the mapping in a YAML file; `schema`: its keys are listed if there is none.

    Raises:
        ParamsError: as `read_text` and `parse_yaml`, or it contains no mapping.
    """
    values = parse_yaml(read_text(path), str(path))
    if not isinstance(values, dict):
        raise ParamsError(f"{path}: has no sections; allowed: {list_keys(schema)}")
    return values


def fit_schema(schema: type[Schema], values: Mapping[str, Any], where: str) -> Schema:
    """Validate a nested mapping; `where` names the file in the error.

    Raises:
        ParamsError: it does not fit; only the first mistake is reported.
    """
    try:
        return schema.model_validate(values)
    except ValidationError as error:
        first = min(error.errors(), key=lambda problem: problem["type"] != "extra_forbidden")
        raise ParamsError(f"{where}: {describe(first, schema)}") from error
