"""Every key that a schema allows, with what it may hold; read from pydantic's JSON schema."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

Node = Mapping[str, Any]
KINDS = {
    "integer": "whole number",
    "number": "number",
    "string": "text",
    "boolean": "`true` or `false`",
    "object": "mapping",
    "array": "list",
}
UNITS = {"px": "px", "deg": "degrees", "epochs": "epochs"}


@dataclass(frozen=True)
class Key:
    """One key.

    name: dotted; of a transform LIST.TRANSFORM.KEY, where params.yaml has LIST.NUMBER.KEY; value: what it may hold, bounds: the
    range and the unit, both as Markdown; has_keys: it is a mapping whose own keys follow.
    """

    name: str
    value: str
    bounds: str = ""
    has_keys: bool = False


def walk_keys(schema: type[BaseModel]) -> Iterator[Key]:
    """Every key in the order of the schema, a mapping before its own keys; nothing below a key that is like a whole section."""
    whole = schema.model_json_schema()
    definitions = whole.get("$defs", {})
    sections = {node["$ref"]: name for name, node in whole["properties"].items() if "$ref" in node}
    for name, node in whole["properties"].items():
        yield from _walk(name, node, definitions, sections)


def _walk(name: str, node: Node, definitions: Node, sections: Mapping[str, str]) -> Iterator[Key]:
    options = [option for option in node.get("anyOf", [node]) if option.get("type") != "null"]
    words = [*map(_name_values, options[1:]), *["`null`"] * (len(options) < len(node.get("anyOf", [node])))]
    or_else = "".join(f" or {word}" for word in words)
    reference = options[0].get("$ref")
    if reference in sections and "." in name:
        yield Key(name, f"mapping like [{sections[reference]}](#{sections[reference]}){or_else}")
        return
    node = _follow(options[0], definitions)
    if "properties" in node:
        yield Key(name, f"mapping{or_else}", has_keys=True)
        for child, below in node["properties"].items():
            yield from _walk(f"{name}.{child}", below, definitions, sections)
    elif "discriminator" in node.get("items", {}):
        yield Key(name, f"list of transforms{or_else}", has_keys=True)
        for option in node["items"]["oneOf"]:
            transform = _follow(option, definitions)["properties"]
            for child, below in transform.items():
                yield from _walk(f"{name}.{transform['transform']['const']}.{child}", below, definitions, sections)
    elif node.get("type") == "array":
        items, least = _follow(node["items"], definitions), node.get("minItems", 0)
        bounds = filter(None, [f"at least {least}" if least else "", _name_bounds(name, items)])
        yield Key(name, f"list: {_name_values(items)}{or_else}", "; ".join(bounds))
    else:
        yield Key(name, _name_values(node) + or_else, _name_bounds(name, node))


def _follow(node: Node, definitions: Node) -> Node:
    return definitions[node["$ref"].rpartition("/")[2]] if "$ref" in node else node


def _name_values(node: Node) -> str:
    """The allowed values where they can be counted, else the kind of value."""
    if "anyOf" in node:
        return " or ".join(map(_name_values, node["anyOf"]))
    if "const" in node or "enum" in node:
        values = node.get("enum", [node.get("const")])
        return ", ".join(f"`{str(value).lower() if isinstance(value, bool) else value}`" for value in values)
    return KINDS[node["type"]]


def _name_bounds(name: str, node: Node) -> str:
    """The range with its unit, which the end of a key's name tells."""
    below, above = node.get("exclusiveMinimum"), node.get("exclusiveMaximum")
    least, most = node.get("minimum"), node.get("maximum")
    if least is not None and most is not None:
        parts = [f"{least} to {most}"]
    else:
        limits = {"above": below, "from": least, "under": above, "at most": most}
        parts = [" ".join([word, str(limit)]) for word, limit in limits.items() if limit is not None]
    if "multipleOf" in node:
        parts.append(f"multiples of {node['multipleOf']}")
    if "maxLength" in node:
        parts.append(f"{node.get('minLength', 0)} to {node['maxLength']} characters")
    elif "minLength" in node:
        parts.append("not empty")
    if "pattern" in node:
        parts.append(f"fits `{node['pattern']}`")
    unit = UNITS.get(name.rpartition(".")[2].rpartition("_")[2], "")
    return " ".join(filter(None, [", ".join(parts), unit]))
