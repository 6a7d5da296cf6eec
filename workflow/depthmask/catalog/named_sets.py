"""Named public sets: one line each in a CSV file, so that `download.source: NAME` is all a user has to write."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from depthmask.base.credentials import describe_secret
from depthmask.base.errors import UserError
from depthmask.base.files import iterate_lines

COLUMNS = ("name", "layout", "urls", "sha256", "licence", "citation", "folders")
UNKNOWN = "-"


@dataclass(frozen=True)
class NamedSet:
    """urls: one per archive; sha256s: one per URL, None if unknown; folders: {folder of the layout: where it comes from}."""

    name: str
    layout: str
    urls: tuple[str, ...]
    sha256s: tuple[str | None, ...]
    licence: str
    citation: str
    folders: dict[str, str]


def read_registry(path: Path, layouts: Collection[str]) -> dict[str, NamedSet]:
    """Read all sets of the file by name.

    Raises:
        UserError: the file is missing or lacks a column, or a line is invalid.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file; if download.source is a named set, download.path must be the list of sets")
    sets: dict[str, NamedSet] = {}
    for number, row in iterate_lines(path, COLUMNS):
        where = f"{path}: line {number}"
        if len(row) > len(COLUMNS) or None in row.values():
            what = "more" if len(row) > len(COLUMNS) else "fewer"
            raise UserError(f"{where}: {what} fields than the {len(COLUMNS)} columns; put text with a separator into quotes")
        named = _read_row(row, where, layouts)
        if named.name in sets:
            raise UserError(f"{where}: {named.name} is listed twice; remove one")
        sets[named.name] = named
    return sets


def find_set(path: Path, name: str, layouts: Collection[str]) -> NamedSet:
    """The set of that name; a UserError lists the others if there is none."""
    sets = read_registry(path, layouts)
    if name not in sets:
        raise UserError(f"download.source: no set {name} in {path}; it has: {', '.join(sets) or 'none'}")
    return sets[name]


def _read_row(row: dict[str, str], where: str, layouts: Collection[str]) -> NamedSet:
    urls, sha256s = row["urls"].split(), row["sha256"].split()
    if not re.fullmatch(r"[a-z0-9_]+", row["name"]) or row["name"] in layouts:
        raise UserError(f"{where}: {row['name']!r} is not a valid name; allowed: a-z, 0-9 and _, but not the name of a layout")
    if row["layout"] not in layouts:
        raise UserError(f"{where}: {row['layout']!r} is not a layout; allowed: {', '.join(layouts)}")
    if not urls or not row["licence"].strip():
        raise UserError(f"{where}: {row['name']} has no {'licence' if urls else 'urls'}; add it")
    if len(sha256s) not in (0, len(urls)) or not all(re.fullmatch("[0-9a-f]{64}|-", one) for one in sha256s):
        raise UserError(f"{where}: sha256 must be empty, or 64 hex digits or {UNKNOWN} for each of {len(urls)} urls")
    secrets = [reason for reason in map(describe_secret, urls) if reason is not None]
    if secrets:
        raise UserError(f"{where}: {secrets[0]}")
    pairs = [pair.partition("=") for pair in row["folders"].split()]
    if not all(origin and name and _is_inside(origin) and _is_inside(name) for origin, _, name in pairs):
        raise UserError(f"{where}: folders must be pairs FROM=TO of paths inside the archives")
    return NamedSet(
        row["name"],
        row["layout"],
        tuple(urls),
        tuple(None if one == UNKNOWN else one for one in sha256s) or (None,) * len(urls),
        row["licence"],
        row["citation"],
        {name: origin for origin, _, name in pairs},
    )


def _is_inside(path: str) -> bool:
    return not path.startswith("/") and ".." not in path.split("/")
