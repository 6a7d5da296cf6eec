"""Finds a layout in an unpacked archive, however the tool that packed it wrapped it."""

from __future__ import annotations

import os
import re
from pathlib import Path

from depthmask.base.errors import UserError
from depthmask.catalog.archives import is_junk
from depthmask.catalog.layouts import Layout
from depthmask.download.names import show_name

FOLDERS_MAX, DEPTH_MAX = 10_000, 12  # looked into
NAMES_SHOWN = 6
DOCUMENT = re.compile(
    r"(read[-_ ]?me|licen[cs]e|copying|copyright|notice|citation|authors|changelog|terms)\b.*"
    r"|.+\.(txt|md|rst|pdf|html?|url|webloc|docx?|rtf|bib|nfo|md5|sha1|sha256)",
    re.IGNORECASE,
)


def is_document(name: str) -> bool:
    """Whether a file beside data is a README, a licence or the like."""
    return DOCUMENT.fullmatch(name) is not None


def find_roots(folder: Path, layout: Layout) -> list[Path]:
    """The folders in `folder`, or `folder` itself, that are the source's: complete ones or, without any, parts of one.

    Of a source that searches, complete ones and parts alike. A folder inside one that was found is left out.
    """
    complete, partial = [], []
    waiting, num_seen = [(folder, 0)], 0
    while waiting and num_seen < FOLDERS_MAX:
        place, depth = waiting.pop(0)
        num_seen += 1
        names, folders = _list(place)
        known = [name for name in names if layout.knows(name)]
        if known:
            (complete if layout.is_complete(known) else partial).append(place)
        if depth < DEPTH_MAX:
            waiting += [(place / name, depth + 1) for name in folders if not layout.knows(name)]
    roots: list[Path] = []
    for place in sorted(complete + partial) if layout.searches else complete or partial:  # outer ones first
        if not any(place.is_relative_to(root) for root in roots):
            roots.append(place)
    return roots


def find_root(folder: Path, layout: Layout, shown: str) -> Path:
    """The source's folder in an unpacked tree, called `shown` in messages.

    Raises:
        UserError: there is none, or there are several.
    """
    roots = find_roots(folder, layout)
    if layout.searches and roots:
        return Path(os.path.commonpath(roots))
    require_one(roots, folder, shown)
    if not roots and layout.needs:
        raise UserError(
            f"{shown}: contains no {layout.describe()}, which download.source: {layout.name} needs; it contains"
            f" {_show_contents(folder)}; rename its folders, or correct download.source"
        )
    return roots[0] if roots else look_through(folder)


def require_one(roots: list[Path], folder: Path, shown: str) -> None:
    """Raise UserError if there is more than one root."""
    if len(roots) > 1:
        names = sorted(root.relative_to(folder).as_posix() for root in roots)
        listed = ", ".join(show_name(name) for name in names[:NAMES_SHOWN]) + (", ..." if len(names) > NAMES_SHOWN else "")
        raise UserError(
            f"{shown}: {len(names)} folders in it could be the source: {listed}; keep one of them, or unpack it and set"
            " download.path to one"
        )


def look_through(folder: Path, name: str | None = None) -> Path:
    """Follow folders that hold nothing but one folder, apart from documents; name: the only name that such a folder may have."""
    while True:
        names, folders = _list(folder)
        files = [one for one in names if one not in folders and not is_document(one)]
        if files or len(folders) != 1 or folders[0] != (name or folders[0]):
            return folder
        folder = folder / folders[0]


def skip_top_folder(folder: Path) -> Path:
    """The only entry of `folder` if that is a folder, else `folder`."""
    inside = [entry for entry in folder.iterdir() if not entry.name.startswith(".")]
    return inside[0] if len(inside) == 1 and inside[0].is_dir() else folder


def _list(folder: Path) -> tuple[list[str], list[str]]:
    """The names in a folder, and those of them that are folders, sorted; links are not followed."""
    with os.scandir(folder) as entries:
        found = [entry for entry in entries if not entry.name.startswith(".") and not is_junk(entry.name)]
    folders = sorted(entry.name for entry in found if entry.is_dir(follow_symlinks=False))
    return sorted(entry.name for entry in found), folders


def _show_contents(folder: Path) -> str:
    """What is in an unpacked tree, below folders that wrap everything."""
    inner = look_through(folder)
    prefix = "" if inner == folder else f"{inner.relative_to(folder).as_posix()}/"
    names, folders = _list(inner)
    names = [*(f"{name}/" for name in folders), *(name for name in names if name not in folders)]
    shown = [show_name(f"{prefix}{name}") for name in names]
    return ", ".join(shown[:NAMES_SHOWN]) + (", ..." if len(shown) > NAMES_SHOWN else "") if shown else "nothing"
