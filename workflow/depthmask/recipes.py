"""Recipes: named params of a system and its training regime, applied on top of params.yaml.

A recipe is a file of nested mappings that differ from the recipe `default`. Data, seed and machine settings belong to the user
and stay as they are in params.yaml. The file begins with a title and a header that says what to expect.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from depthmask.base.errors import ParamsError, UserError
from depthmask.params import Params, make_params
from depthmask.params.messages import RENAMED
from depthmask.params.reading import read_text, read_yaml

FOLDER = Path(__file__).parents[1] / "recipes"
BASE = "default"  # the base of every other recipe
HEADER_FIELDS = ("Command", "Reproduces", "Time", "Score")
NEEDS = "Needs"  # optional header field: a key of params.yaml that the user has to set, and what it is
ALL_TERMS = (("loss", "mask"), ("loss", "depth"))  # a recipe that sets losses sets all of them

Values = dict[str, Any]


@dataclass(frozen=True)
class Recipe:
    """title: one line; header: the text of each of HEADER_FIELDS, perhaps of NEEDS; values: what differs from `default`."""

    name: str
    path: Path
    title: str
    header: dict[str, str]
    values: Values

    def require_needed(self, values: Mapping[str, Any], where: str) -> None:
        """Raise UserError if `values`, of the file `where`, leave what the recipe needs at null."""
        key, _, what = self.header.get(NEEDS, "").partition(",")
        found: Any = values
        for part in filter(None, key.split(".")):
            found = found[part]
        if found is None:
            raise UserError(f"recipe {self.name} needs {key},{what}; set {key} in {where}, then apply the recipe again")


def list_names(folder: Path = FOLDER) -> list[str]:
    """The names of all recipes, `default` first."""
    names = sorted(path.stem for path in folder.glob("*.yaml"))
    return sorted(names, key=lambda name: name != BASE)


def read_recipe(name: str, folder: Path = FOLDER) -> Recipe:
    """Read a recipe and its header. name: in `folder`, or the path of a file elsewhere, which ends in .yaml.

    Raises:
        UserError: there is no such recipe; lists the known ones.
        ParamsError: the file is not YAML, or its header lacks something.
    """
    is_file = name.endswith(".yaml")
    path = Path(name) if is_file else folder / f"{name}.yaml"
    if not is_file and name not in list_names(folder):
        raise UserError(f"recipe {name}: unknown; known: {', '.join(list_names(folder))}; or the path of a .yaml file")
    values = read_yaml(path, Params)  # first: whatever its header, the file must be valid YAML
    title, header = _read_header(path)
    return Recipe(name, path, title, header, values)


def resolve_recipe(name: str, values: Mapping[str, Any], folder: Path = FOLDER) -> Values:
    """Apply a recipe: `values` (of params.yaml), then the recipe `default`, then the recipe.

    A recipe that the values held before leaves no trace. The result is not validated: see `check_recipe`.

    Raises:
        UserError, ParamsError: as `read_recipe`; or the recipe sets a key that recipes must not set.
    """
    base, recipe = read_recipe(BASE, folder), read_recipe(name, folder)
    for key, allowed in _find_foreign(recipe.values, base.values):
        if key in RENAMED:
            raise ParamsError(f"{recipe.path}: {key}: renamed to {RENAMED[key]}; use that name")
        raise ParamsError(f"{recipe.path}: {key}: a recipe cannot set this key; allowed: {', '.join(allowed)}")
    return lay_over(lay_over(values, base.values), recipe.values)


def check_recipe(name: str, values: Mapping[str, Any], folder: Path = FOLDER, where: str = "params.yaml") -> Params:
    """The validated result of `resolve_recipe`.

    Raises:
        UserError, ParamsError: as `resolve_recipe`; or a value is invalid: names the recipe's file, or `where` if it is invalid
            even without the recipe.
    """
    resolved, path = resolve_recipe(name, values, folder), read_recipe(name, folder).path
    try:
        return make_params(resolved, where=str(path))
    except ParamsError as error:
        _blame_values(values, where, str(error).removeprefix(f"{path}: "))
        raise


def _blame_values(values: Mapping[str, Any], where: str, mistake: str) -> None:
    """Raise ParamsError if the values contain the same mistake without the recipe."""
    try:
        make_params(values, where)
    except ParamsError as error:
        if str(error) == f"{where}: {mistake}":
            raise


def lay_over(values: Mapping[str, Any], changes: Mapping[str, Any], path: tuple[str, ...] = ()) -> Values:
    """A copy with the changes: mappings are merged key by key; everything else, and the terms of a loss, are replaced."""
    laid = copy.deepcopy(dict(values))
    for key, change in changes.items():
        here = (*path, key)
        joins = isinstance(change, dict) and isinstance(laid.get(key), dict) and here[-2:] not in ALL_TERMS
        laid[key] = lay_over(laid[key], change, here) if joins else copy.deepcopy(change)
    return laid


def _find_foreign(changes: Mapping[str, Any], base: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[str, list]]:
    """Keys that `default` lacks, each with the keys allowed there; loss terms may be added freely."""
    for key, change in changes.items():
        here = (*path, key)
        if key not in base:
            yield ".".join(here), list(base)
        elif isinstance(change, dict) and isinstance(base[key], dict) and here[-2:] not in ALL_TERMS:
            yield from _find_foreign(change, base[key], here)


def write_overrides(current: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """The overrides from `current` to `wanted` in Hydra's grammar, for `dvc exp run --set-param`.

    Raises:
        UserError: a value contains a space, which would split the argument in a shell.
    """
    overrides = list(_find_differences(current, wanted, ""))
    for override in overrides:
        if re.search(r"\s", override):
            raise UserError(f"{override}: contains a space, so it cannot be passed as an argument; use --write")
    return overrides


def _find_differences(current: Mapping[str, Any], wanted: Mapping[str, Any], path: str) -> Iterator[str]:
    for key in current:
        if key not in wanted:
            yield f"~{path}{key}"
    for key, value in wanted.items():
        if isinstance(value, dict) and isinstance(current.get(key), dict):
            yield from _find_differences(current[key], value, f"{path}{key}.")
        elif key not in current:
            yield f"+{path}{key}={_show(value)}"
        elif current[key] != value or type(current[key]) is not type(value):
            yield f"{path}{key}={_show(value)}"


def _show(value: Any) -> str:
    """A value in Hydra's grammar, without spaces."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{key}:{_show(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_show, value)) + "]"
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    if isinstance(value, str) and not re.fullmatch(r"(?!(null|true|false)$)[a-z_][a-z0-9_]*", value):
        return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
    return str(value)


def _read_header(path: Path) -> tuple[str, dict[str, str]]:
    """Title and header from the comment at the top of a recipe: `# Time: ...`, continued until the next field."""
    title, header, field = "", {}, None
    for line in read_text(path).splitlines():
        if not line.startswith("#"):
            break
        text = line.lstrip("#").strip()
        start = re.match(rf"({'|'.join((*HEADER_FIELDS, NEEDS))}):\s*(.*)", text)
        if start:
            field = start[1]
            header[field] = start[2]
        elif field and text:
            header[field] += f" {text}"
        elif text:
            title = f"{title} {text}".strip()
    missing = [name for name in HEADER_FIELDS if not header.get(name)]
    if missing or not title:
        raise ParamsError(
            f"{path}: its header lacks {missing[0] if missing else 'a title'}; allowed: a title, {', '.join(HEADER_FIELDS)}"
        )
    return title, header
