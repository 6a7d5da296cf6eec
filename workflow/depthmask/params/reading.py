"""From a YAML file to a checked section, for params.yaml and for the other files that have a schema."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from depthmask.errors import ParamsError
from depthmask.params.messages import describe, list_keys

Schema = TypeVar("Schema", bound=BaseModel)


class YamlLoader(yaml.SafeLoader):
    """YAML 1.2 numbers, as DVC reads them: 1e-3 is a number, which PyYAML's 1.1 takes for text."""


YamlLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)


def read_yaml(path: Path | str, schema: type[BaseModel]) -> dict[str, Any]:
    """The mapping that a YAML file holds; `schema` says which keys to name if there is none.

    Raises:
        ParamsError: the file is missing, is not YAML, or holds no mapping.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise ParamsError(f"{path}: cannot be read ({error.strerror}); run from the project's folder") from error
    try:
        values = yaml.load(text, YamlLoader)
    except yaml.YAMLError as error:
        raise ParamsError(f"{path}: is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(values, dict):
        raise ParamsError(f"{path}: has no sections; allowed: {list_keys(schema)}")
    return values


def fit_schema(schema: type[Schema], values: Mapping[str, Any], where: str) -> Schema:
    """Check a nested mapping; `where` names the file in the error.

    Raises:
        ParamsError: it does not fit; only the first mistake is told.
    """
    try:
        return schema(**values)
    except ValidationError as error:
        first = min(error.errors(), key=lambda problem: problem["type"] != "extra_forbidden")
        raise ParamsError(f"{where}: {describe(first, schema)}") from error
