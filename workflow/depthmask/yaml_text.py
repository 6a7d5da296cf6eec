"""Other values in a YAML file with its comments, order and spacing kept: text is changed where a value differs, nowhere else.

Comments within a value that is replaced as a whole, between the items of a list, are lost with it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from depthmask.base.errors import ParamsError, UserError
from depthmask.params.plain_yaml import is_plain_text, parse_yaml

INDENT = 2
Values = Mapping[str, Any]


class YamlLoader(yaml.SafeLoader):
    """YAML 1.2 numbers, as `parse_yaml` reads them: 1e-3 is a number, which PyYAML's 1.1 takes for text."""


YamlLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)


class _Dumper(yaml.SafeDumper):
    """Puts quotes around every text that some reader of YAML takes for something else."""


def _represent_text(dumper: _Dumper, text: str) -> yaml.Node:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=None if is_plain_text(text) else "'")


_Dumper.add_representer(str, _represent_text)


def change_values(text: str, wanted: Values, where: str) -> str:
    """The text with the values of `wanted`: keys that it lacks are added, keys that `wanted` lacks are removed.

    text: YAML whose outermost mapping is written in lines; where: its name, for the error.

    Raises:
        UserError: the text is not YAML, or is written in a way that cannot be changed line by line, as with anchors.
    """
    try:
        loader = YamlLoader(text)
        node = loader.get_single_node()
        if not _is_block_mapping(node):
            raise UserError(f"{where}: cannot be changed; allowed: a mapping of sections, written in lines")
        current = loader.construct_document(node)
        changed = "".join(f"{line}\n" for line in _change_mapping(text.splitlines(), node, current, wanted))
        if _is_same(parse_yaml(changed, where), wanted):
            return changed
    except (ParamsError, yaml.YAMLError, KeyError, TypeError) as error:
        raise UserError(f"{where}: cannot be changed ({' '.join(str(error).split())[:200]})") from error
    raise UserError(f"{where}: anchors, tags or mappings of several lines within braces cannot be changed; write them out")


def _change_mapping(lines: list[str], node: yaml.MappingNode, current: Values, wanted: Values) -> Iterator[str]:
    """The lines of a mapping in the order of `wanted`: entries as they are, with another value, or new.

    What stands between two entries stays behind the first of them.
    """
    places = [(key.value, key, value) for key, value in node.value]
    indent = places[0][1].start_mark.column
    starts = [key.start_mark.line for _, key, _ in places]
    above, entries, behind = lines[: starts[0]] if indent == 0 else [], {}, []
    for (name, key, value), following in zip(places, [*starts[1:], None]):
        first, last = key.start_mark.line, _find_last_line(value)
        between = lines[last + 1 : following] if following is not None else []
        if name not in wanted:
            (list(entries.values())[-1] if entries else above).extend(between)
            continue
        if _is_same(current[name], wanted[name]):
            entry = lines[first : last + 1]
        elif _is_block_mapping(value) and isinstance(wanted[name], dict) and wanted[name]:
            below = _change_mapping(lines, value, current[name], wanted[name])
            entry = [*lines[first : value.start_mark.line], *below]
        else:
            entry = list(_write_entry(name, wanted[name], indent, *find_comment(lines, key, value)))
        entries[name] = entry + between
    if indent == 0:
        behind = lines[_find_last_line(node) + 1 :]
    yield from above
    for name in wanted:
        yield from entries.get(name) or _write_entry(name, wanted[name], indent)
    yield from behind


def _write_entry(key: str, value: Any, indent: int, comment: str = "", column: int = 0) -> Iterator[str]:
    """An entry: what is short behind its key, mappings and lists of mappings below it, a line an item."""
    head = f"{' ' * indent}{key}:"
    below = list(_write_below(value, indent + INDENT))
    if not below:
        head = f"{head} {format_flow(value)}"
    yield f"{head.ljust(column - 1)} {comment}" if comment else head
    yield from below


def _write_below(value: Any, indent: int) -> Iterator[str]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _write_entry(key, item, indent)
    elif isinstance(value, list) and any(isinstance(item, dict | list) for item in value):
        for item in value:
            yield f"{' ' * indent}- {format_flow(item)}"


def format_flow(value: Any) -> str:
    """A value in one line of YAML."""
    text = yaml.dump(value, Dumper=_Dumper, default_flow_style=True, sort_keys=False, width=math.inf, allow_unicode=True)
    return text.removesuffix("\n").removesuffix("\n...")


def find_comment(lines: list[str], key: yaml.Node, value: yaml.Node) -> tuple[str, int]:
    """The comment behind a key, or behind its value where that ends in the same line, and the column that it begins in."""
    same_line = value.start_mark.line == key.start_mark.line and value.end_mark.line == key.start_mark.line
    end = value.end_mark.column if same_line else key.end_mark.column + 1
    line = lines[key.start_mark.line]
    rest = line[end:].strip()
    return (rest, line.index(rest, end)) if rest.startswith("#") else ("", 0)


def _find_last_line(node: yaml.Node) -> int:
    """The line in which the last scalar of a node ends; what PyYAML calls the end of a block is where the next one begins."""
    if isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        return _find_last_line(last[1] if isinstance(last, tuple) else last)
    return node.end_mark.line - (node.end_mark.column == 0 and node.end_mark.line > node.start_mark.line)


def _is_block_mapping(node: yaml.Node) -> bool:
    return isinstance(node, yaml.MappingNode) and not node.flow_style and bool(node.value)


def _is_same(one: Any, other: Any) -> bool:
    """Equal, and of equal types all through: 1 is not 1.0, nor true."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return list(one) == list(other) and all(_is_same(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(_is_same(a, b) for a, b in zip(one, other))
    return one == other
