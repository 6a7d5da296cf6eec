"""YAML that every reader understands the same way: JSON's types, in a form on which YAML 1.1 and 1.2 agree.

The parser is DVC's, so that the structure of a file is what DVC sees; the meaning of scalars is decided here, by the table below.
Anything that YAML 1.1 and 1.2 read differently (`010`, `yes`, `1:30`), and anything outside JSON's types (dates, tags, anchors,
infinity), is rejected with its line and key.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Any, NoReturn

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import AliasEvent, DocumentStartEvent, Event, MappingStartEvent, ScalarEvent, SequenceStartEvent

from depthmask.base.errors import ParamsError

DEPTH_MAX = 32  # of nested lists and mappings
LENGTH_MAX = 4000  # of a text, in characters
SHOWN = 60  # characters of a key or a value in a message

CONSTANTS = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]{0,18})")
NUMBER = re.compile(r"[-+]?(0|[1-9][0-9]*)(\.[0-9]*)?([eE][-+]?[0-9]+)?")  # to some readers, +.5 and .5e3 are text
LOOKS_LIKE_NUMBER = re.compile(
    r"[-+]?(0[xX][0-9a-fA-F_]*|0[bBoO][0-9_]*|[0-9_]+(:[0-9]+)*(\.[0-9_]*)?([eE][-+]?[0-9]+)?|\.[0-9_]+([eE][-+]?[0-9]+)?)"
)
NOT_FINITE = re.compile(r"[-+]?\.(inf|nan)", re.IGNORECASE)
DATE = re.compile(r"[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}.*", re.DOTALL)
WORD = re.compile(r"y|n|yes|no|on|off", re.IGNORECASE)  # YAML 1.1 takes them for true and false
MARKS = ("=", "<<")  # which have a special meaning in YAML 1.1

# line breaks only in YAML 1.1, characters invalid in YAML, and byte order marks
NOT_ALLOWED = re.compile("[^\t\n\r\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]")
TAB = re.compile(r"^[^#\n]*\t", re.MULTILINE)  # tabs in comments are harmless
CONFLICT = re.compile(r"^<{7} ", re.MULTILINE)  # git's marker
CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def parse_yaml(text: str, where: str) -> Any:
    """Parse YAML into dict with string keys, list, str, int, float, bool or None; `where` names the file in errors.

    Raises:
        ParamsError: it is not YAML, or not plain; names the line and the key.
    """
    _validate_characters(text, where)
    try:
        return _Reader(text, where).read()
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f"line {mark.line + 1}: " if mark is not None else ""
        raise ParamsError(f"{where}: {line}is not YAML ({error.problem or error.context})") from error
    except YAMLError as error:
        raise ParamsError(f"{where}: is not YAML ({' '.join(str(error).split())[:200]})") from error


def is_plain_text(text: str) -> bool:
    """Whether unquoted text stays text, and is not read as a number or the like."""
    return text not in CONSTANTS and not _is_special(text)


def _is_special(text: str) -> bool:
    patterns = (NUMBER, LOOKS_LIKE_NUMBER, NOT_FINITE, DATE, WORD)
    return text in MARKS or any(pattern.fullmatch(text) for pattern in patterns)


def _validate_characters(text: str, where: str) -> None:
    conflict = CONFLICT.search(text)
    if conflict is not None:
        line = text.count("\n", 0, conflict.start()) + 1
        raise ParamsError(f"{where}: line {line}: a merge conflict starts here; keep one version and remove the conflict markers")
    found = NOT_ALLOWED.search(text)
    if found is not None:
        line = text.count("\n", 0, found.start()) + 1
        what = "a byte order mark" if found[0] == "\ufeff" else f"the character U+{ord(found[0]):04X}"
        raise ParamsError(f"{where}: line {line}: contains {what}, which is not allowed here; save it as UTF-8 without it")
    tab = TAB.search(text)
    if tab is not None:
        line = text.count("\n", 0, tab.end()) + 1
        raise ParamsError(f"{where}: line {line}: contains a tab, which YAML does not allow for indentation; use spaces")


class _Reader:
    """Turns the events of one document into values."""

    def __init__(self, text: str, where: str):
        self.where = where
        self.events: Iterator[Event] = YAML(typ="safe").parse(text)

    def read(self) -> Any:
        next(self.events)  # the stream's start
        start = next(self.events)
        if not isinstance(start, DocumentStartEvent):
            return None
        if start.version is not None or start.tags:
            self.fail(start, (), "a line that begins with %; remove it")
        value = self.read_value(next(self.events), ())
        next(self.events)  # the document's end
        more = next(self.events)
        if isinstance(more, DocumentStartEvent):
            self.fail(more, (), "a second document begins here; allowed: one document, without ---")
        return value

    def read_value(self, event: Event, way: tuple) -> Any:
        """The value that starts with an event; way: the keys that lead to it."""
        if isinstance(event, AliasEvent) or event.anchor is not None:
            self.fail(event, way, "anchors and aliases (& and *) are not supported; write the value out")
        if event.tag is not None:
            self.fail(event, way, f"{_shorten(_name_tag(event.tag))} is a tag, and tags are not supported; write the value only")
        if isinstance(event, ScalarEvent):
            return self.read_scalar(event, way)
        if len(way) == DEPTH_MAX:
            self.fail(event, way, f"more than {DEPTH_MAX} nested lists and mappings; nothing here needs that many")
        return self.read_list(way) if isinstance(event, SequenceStartEvent) else self.read_mapping(way)

    def read_list(self, way: tuple) -> list:
        values: list = []
        while isinstance(event := next(self.events), (AliasEvent, ScalarEvent, SequenceStartEvent, MappingStartEvent)):
            values.append(self.read_value(event, (*way, len(values))))
        return values

    def read_mapping(self, way: tuple) -> dict[str, Any]:
        values: dict[str, Any] = {}
        while isinstance(event := next(self.events), (AliasEvent, ScalarEvent, SequenceStartEvent, MappingStartEvent)):
            key = self.read_value(event, way) if isinstance(event, (AliasEvent, ScalarEvent)) else None
            if not isinstance(key, str):
                shown = _shorten(event.value) if isinstance(event, ScalarEvent) else "a list or a mapping"
                self.fail(event, way, f"{shown or 'nothing'}: key is not text; allowed: a name, or text in quotes")
            if key in values:
                self.fail(event, (*way, key), "duplicate key; remove one")
            values[key] = self.read_value(next(self.events), (*way, key))
        return values

    def read_scalar(self, event: ScalarEvent, way: tuple) -> Any:
        text = event.value
        if len(text) > LENGTH_MAX:
            self.fail(event, way, f"{len(text):,} characters; allowed: at most {LENGTH_MAX:,}")
        if event.implicit[0]:
            return self.read_plain(event, way)
        control = CONTROL.search(text)
        if control is not None:
            what = "more than one line" if control[0] == "\n" else f"the control character U+{ord(control[0]):04X}"
            self.fail(event, way, f"text with {what}; allowed: one line of text")
        return text

    def read_plain(self, event: ScalarEvent, way: tuple) -> Any:
        """An unquoted scalar: a constant, a number or text."""
        text = event.value
        if text in CONSTANTS:
            return CONSTANTS[text]
        if INTEGER.fullmatch(text):
            return int(text)
        shown = _shorten(text)
        if NUMBER.fullmatch(text):
            number = float(text)
            if re.fullmatch("[-+]?[0-9]+", text) or math.isinf(number) or (not number and re.match(r"[^eE]*[1-9]", text)):
                self.fail(event, way, f"{shown}: number out of range; correct it")
            return number
        if NOT_FINITE.fullmatch(text):
            self.fail(event, way, f"{shown}: allowed: a finite number; or in quotes, as text")
        if LOOKS_LIKE_NUMBER.fullmatch(text):
            self.fail(event, way, f"{shown}: is ambiguous; write it as 8, 0.5 or 1e-3, or in quotes")
        if DATE.fullmatch(text):
            self.fail(event, way, f"{shown}: would be a date, which is not supported; put it in quotes to make it text")
        if WORD.fullmatch(text) or text in MARKS:
            self.fail(event, way, f"{shown}: is ambiguous; write true or false, or put it in quotes")
        return text

    def fail(self, event: Event, way: tuple, what: str) -> NoReturn:
        key = _shorten(".".join(map(str, way)))
        raise ParamsError(f"{self.where}: line {event.start_mark.line + 1}: {key}{': ' if key else ''}{what}")


def _name_tag(tag: str) -> str:
    return str(tag).replace("tag:yaml.org,2002:", "!!")


def _shorten(text: str) -> str:
    """Shorten a key or value for a one-line message."""
    text = CONTROL.sub("?", str(text))
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."
