"""dvc.lock as a text of records, so that changing one does not parse and write all others.

DVC reads the whole file with a parser that keeps comments, and writes all of it, in pure Python: 0.4 s for ten stages, 40 s for
a thousand, under the lock that every other job waits for. Here the text of every other record is kept as it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, MutableMapping
from typing import Any

HEAD = "schema: '2.0'\nstages:\n"
# a record: its name, two spaces in, and lines further in; names that YAML would quote are left to DVC
RECORD = re.compile(r"  ([A-Za-z_][\w@.-]*):\n((?:(?:    .*)?\n)+)")


class Records(MutableMapping):
    """The stages of a dvc.lock by name; a record is parsed when it is asked for."""

    def __init__(self, texts: dict[str, str]):
        self._texts = texts

    def __getitem__(self, name: str) -> Any:
        from dvc.utils.serialize import parse_yaml

        return parse_yaml(self._texts[name], "dvc.lock")[name]

    def __setitem__(self, name: str, record: Any) -> None:
        from dvc.utils.serialize import dumps_yaml

        self._texts[name] = dumps_yaml({"stages": {name: record}}).removeprefix("stages:\n")

    def __delitem__(self, name: str) -> None:
        del self._texts[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._texts)

    def __len__(self) -> int:
        return len(self._texts)

    def format(self) -> str:
        """The whole file."""
        return HEAD + "".join(self._texts.values())


def read_records(text: str) -> Records | None:
    """The records of a dvc.lock; None if it holds anything that DVC does not write there, such as a comment."""
    if not text.startswith(HEAD) or "#" in text:
        return None
    texts, at = {}, len(HEAD)
    while at < len(text):
        found = RECORD.match(text, at)
        if found is None or found[1] in texts:
            return None
        texts[found[1]], at = found[0], found.end()
    return Records(texts)
