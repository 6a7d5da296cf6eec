"""Changes values in a YAML file and keeps comments, order and quoting, with ruamel.yaml's round trip.

The layout is the one in which DVC writes a file for `dvc exp run -S`, also with ruamel.yaml, so that neither undoes the other's:
lists and mappings with an item a line, lists not indented, nothing where a value is null, lines folded beyond 80 columns.

The parser attaches every comment to the value before it. What follows a value's line (blank lines, comments above the next key)
is therefore moved along when that value is replaced. Comments inside a replaced list are lost.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import CommentMark, YAMLError
from ruamel.yaml.nodes import ScalarNode
from ruamel.yaml.representer import RoundTripRepresenter
from ruamel.yaml.scalarstring import SingleQuotedScalarString
from ruamel.yaml.tokens import CommentToken

from depthmask.base.errors import ParamsError, UserError
from depthmask.params.plain_yaml import is_plain_text, parse_yaml

Values = Mapping[str, Any]
KINDS = (bool, int, float, str, list, dict)


def change_values(text: str, wanted: Values, where: str) -> str:
    """Give a YAML text the values of `wanted`: missing keys are added, keys not in `wanted` are removed.

    text: YAML whose outermost mapping is in block style; where: its name, for errors.

    Raises:
        UserError: the text is not plain YAML, or not such a mapping.
    """
    try:
        if _is_same(parse_yaml(text, where), wanted):
            return text
        document = load_document(text)
    except (ParamsError, YAMLError) as error:
        raise UserError(f"{where}: cannot be changed ({' '.join(str(error).split())[:200]})") from error
    if not _is_block(document, CommentedMap):
        raise UserError(f"{where}: cannot be changed; allowed: a mapping of sections, in block style")
    _lay(document, wanted)
    return _dump(document)


def load_document(text: str) -> Any:
    """Load a document with its comments."""
    return _make_yaml().load(text)


def read_comment(node: CommentedMap, key: str) -> str:
    """The comment after a key, with the lines below that continue it in the same column; empty if there is none."""
    token = _find_token(node, key)
    if token is None or not token.value.startswith("#"):
        return ""
    column, (first, *following) = token.start_mark.column, token.value.splitlines()
    lines = [first]
    for line in following:
        if line[:column].strip() or line[column : column + 1] != "#":
            break
        lines.append(line)
    return " ".join(line.lstrip("# ") for line in lines)


def format_flow(value: Any) -> str:
    """Format a value as one line of YAML."""
    return _dump(_make_node(value, in_flow=True), width=1 << 20).removesuffix("\n").removesuffix("\n...")


class _Representer(RoundTripRepresenter):
    """Writes floats as in YAML 1.1, so that every reader agrees."""

    def represent_plain_float(self, number: float) -> ScalarNode:
        text = repr(number)
        return self.represent_scalar("tag:yaml.org,2002:float", text if "." in text else text.replace("e", ".0e"))


_Representer.add_representer(float, _Representer.represent_plain_float)


def _make_yaml() -> YAML:
    yaml = YAML()
    yaml.Representer = _Representer
    yaml.preserve_quotes = True
    return yaml


def _dump(document: Any, width: int | None = None) -> str:
    written, yaml = io.StringIO(), _make_yaml()
    yaml.width = width
    yaml.dump(document, written)
    return written.getvalue()


def _lay(node: CommentedMap, wanted: Values) -> None:
    """Give a mapping the values and order of `wanted`."""
    for key in [key for key in node if key not in wanted]:
        tail, before = _cut_tail(node, key), [*node].index(key) - 1
        del node[key]
        if before >= 0:
            _append_tail(node, [*node][before], tail)
    for key, value in wanted.items():
        if key not in node:
            node[key] = _make_node(value)
        elif not _is_same(node[key], value):
            tail = _cut_tail(node, key)
            if _is_block(node[key], CommentedMap) and isinstance(value, dict) and value:
                _lay(node[key], value)
            else:
                node[key] = _make_node(value)
                if slots := node.ca.items.get(key):
                    slots[3] = None  # of a list in block style; one in the line would be indented for it
            _append_tail(node, key, tail)
        node.move_to_end(key)


def _make_node(value: Any, *, in_flow: bool = False) -> Any:
    """A node for a value, in block style; in flow style if it is empty, or if asked for."""
    if isinstance(value, dict):
        mapping = CommentedMap((key, _make_node(item, in_flow=in_flow)) for key, item in value.items())
        if in_flow or not value:
            mapping.fa.set_flow_style()
        return mapping
    if isinstance(value, list):
        items = CommentedSeq(_make_node(item, in_flow=in_flow) for item in value)
        if in_flow or not value:
            items.fa.set_flow_style()
        return items
    return SingleQuotedScalarString(value) if isinstance(value, str) and not is_plain_text(value) else value


def _cut_tail(node: CommentedMap | CommentedSeq, key: Any) -> str:
    """Remove and return the text after the last line of an entry."""
    node, key = _find_last(node, key)
    token, tail = _find_token(node, key), ""
    if token is not None:
        head, _, tail = token.value.partition("\n")
        token.value = f"{head}\n"
    for below in node.ca.end or ():  # of a list
        tail += below.value
    node.ca.end = []
    return tail


def _append_tail(node: CommentedMap | CommentedSeq, key: Any, tail: str) -> None:
    """Append text after the last line of an entry."""
    node, key = _find_last(node, key)
    token = _find_token(node, key)
    if token is not None:
        token.value += tail
    elif tail:
        slots = node.ca.items.setdefault(key, [None] * 4)
        slots[_choose_slot(node)] = CommentToken(f"\n{tail}", CommentMark(0), None)


def _find_last(node: CommentedMap | CommentedSeq, key: Any) -> tuple[CommentedMap | CommentedSeq, Any]:
    """The mapping or list, and the key in it, that holds the last value of an entry."""
    value = node[key]
    if _is_block(value, CommentedMap):
        return _find_last(value, [*value][-1])
    return _find_last(value, len(value) - 1) if _is_block(value, CommentedSeq) else (node, key)


def _find_token(node: CommentedMap | CommentedSeq, key: Any) -> CommentToken | None:
    """The comment after a value, with everything up to the next value."""
    return node.ca.items.get(key, [None] * 4)[_choose_slot(node)]


def _choose_slot(node: CommentedMap | CommentedSeq) -> int:
    return 2 if isinstance(node, CommentedMap) else 0


def _is_block(node: Any, kind: type) -> bool:
    """Whether a node is a mapping, or list, in block style."""
    return isinstance(node, kind) and bool(node) and not node.fa.flow_style()


def _is_same(one: Any, other: Any) -> bool:
    """Equal with equal types throughout: 1 is neither 1.0 nor true."""
    if _find_kind(one) is not _find_kind(other):
        return False
    if isinstance(one, dict):
        return list(one) == list(other) and all(_is_same(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(_is_same, one, other))
    return one == other


def _find_kind(value: Any) -> type | None:
    """The plain type of a value, even if it remembers how it was written."""
    return next((kind for kind in KINDS if isinstance(value, kind)), None)
