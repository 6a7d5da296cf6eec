"""Turns a validation error into one line."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, get_args, get_origin

from pydantic import BaseModel

from depthmask.params.augment import TRANSFORMS

SHOWN_MAX = 200  # characters of a key or a value
RENAMED = {"download.depth_teacher": "download.pseudo_labels"}  # {old key: new key}, each kept for one version
REMOVED = {("compute.compile", "auto"): "write true or false"}  # {(key, old value): what to write}, each kept for one version


def describe(problem: Mapping[str, Any], model: type[BaseModel]) -> str:
    """One line: the full key, its value, and what is allowed."""
    loc = problem["loc"]
    loc = loc[:-2] if loc[-1:] == ("[key]",) else loc  # a name in a mapping, which is the input too
    keys = [part for part in loc if not _is_tag(part, loc)]
    key = _cut(".".join(map(str, keys)))
    if isinstance(problem["input"], str) and (key, problem["input"]) in REMOVED:
        return f"{key}: {_show(problem['input'])} was removed; {REMOVED[key, problem['input']]}"
    allowed = f"allowed keys: {list_keys(_section_of(model, problem['loc'][:-1]))}"
    match problem["type"]:
        case "extra_forbidden":
            return f"{key}: renamed to {RENAMED[key]}; use that name" if key in RENAMED else f"{key}: unknown key; {allowed}"
        case "missing":
            return f"{key}: missing key; {allowed}"
        case "value_error":
            message = str(problem["ctx"]["error"])
            if isinstance(problem["input"], str):
                return f"{key}: {_cut(problem['input'])} {message}"
            return f"{key}.{message}" if re.match(r"[a-z0-9_.]+:", message) and key else f"{key}: {message}".lstrip(": ")
        case "union_tag_invalid":
            return f"{key}.transform: {_cut(str(problem['input'].get('transform')))}; allowed: {problem['ctx']['expected_tags']}"
        case "union_tag_not_found":
            allowed = "a mapping with the keys transform and probability, and the transform's own keys"
            return f"{key}: has no transform; allowed: {allowed}"
    if problem["type"] in ("dict_type", "model_type"):
        section = _section_of(model, problem["loc"])
        return f"{key}: {_show(problem['input'])}; allowed: a mapping{'' if section is None else ' of ' + list_keys(section)}"
    if problem["type"] == "string_pattern_mismatch":
        return f"{key}: {_show(problem['input'])}; allowed: text matching {problem['ctx']['pattern']}"
    allowed = problem["msg"].removeprefix("Input should be ").removeprefix("a ")
    return f"{key}: {_show(problem['input'])}; allowed: {allowed}"


def _show(value: Any) -> str:
    """A value as in YAML, quoted if it could be mistaken for a number; long values are cut."""
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    shown = repr(value)
    return shown if len(shown) <= SHOWN_MAX else f"{shown[:SHOWN_MAX]}..."


def _cut(text: str) -> str:
    """A key or value without quotes, on one line."""
    text = "".join(character if character.isprintable() else "?" for character in text)  # nor marks that turn text around
    return text if len(text) <= SHOWN_MAX else f"{text[:SHOWN_MAX]}..."


def _is_tag(part: Any, loc: tuple) -> bool:
    """Pydantic puts the name of the chosen union member into the location, after the list index."""
    position = loc.index(part)
    return isinstance(part, str) and position > 0 and isinstance(loc[position - 1], int) and "augment" in loc


def _section_of(model: type[BaseModel], loc: tuple) -> type[BaseModel] | None:
    """The section or transform at a location."""
    named: type[BaseModel] | None = None  # the section behind each name of a mapping of sections
    for part in loc:
        if named is not None:
            model, named = named, None
            continue
        field = getattr(model, "model_fields", {}).get(part)
        annotation = TRANSFORMS.get(part) if field is None else _strip_optional(field.annotation)
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            model = annotation
        elif get_origin(annotation) is dict:
            named = get_args(annotation)[1]
        elif field is not None and part not in ("geometric", "photometric"):
            return None
    return model


def _strip_optional(annotation: Any) -> Any:
    """`A` of `A | None`."""
    others = [kind for kind in get_args(annotation) if kind is not type(None)]
    return others[0] if len(others) == 1 and type(None) in get_args(annotation) else annotation


def list_keys(model: type[BaseModel] | None) -> str:
    """The keys of a section, for a message; model: None if it is not a section."""
    return ", ".join(model.model_fields) if model is not None else "see params.yaml"
