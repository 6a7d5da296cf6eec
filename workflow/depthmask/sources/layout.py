"""What the readers of the layouts share: listing, pairing, and the record beside the data."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from depthmask.errors import UserError
from depthmask.sources.images import SUFFIXES

NAMES_SHOWN = 10


@dataclass(frozen=True)
class Composite:
    """A ready-made composite of a source: its key and what it was made of, as far as the layout tells."""

    key: str
    background: str
    cutout: str | None


def list_pictures(folder: Path, suffixes: Iterable[str] = SUFFIXES) -> dict[str, Path]:
    """The pictures directly in `folder` by stem, sorted by name.

    Raises:
        UserError: the folder is missing or has no picture, or two files share a stem.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder")
    files = sorted(f for f in folder.iterdir() if f.suffix.lower() in tuple(suffixes) and not f.name.startswith("."))
    if not files:
        raise UserError(f"{folder}: an empty folder: no {', '.join(suffixes)} file in it")
    pictures: dict[str, Path] = {}
    for file in files:
        if file.stem in pictures:
            raise UserError(f"{file}: has the same name as {pictures[file.stem].name}; rename or remove one")
        pictures[file.stem] = file
    return pictures


def require_same_stems(of: dict[str, Path], partners: dict[str, Path], folder: Path, what: str) -> None:
    """Every picture has its partner in `folder`, and no partner is left over; UserError with count and first names."""
    for names, problem in ((of.keys() - partners.keys(), "missing"), (partners.keys() - of.keys(), "without a partner")):
        if names:
            shown = ", ".join(sorted(names)[:NAMES_SHOWN])
            raise UserError(f"{folder}: {what} {problem} for {len(names)} of {len(of)} pictures: {shown}; add or remove them")


def require_same_size(path: Path, shape: tuple[int, ...], partner: Path, partner_shape: tuple[int, ...], what: str) -> None:
    """UserError unless both pictures have the same height and width."""
    if shape[:2] != partner_shape[:2]:
        (height, width), (partner_height, partner_width) = shape[:2], partner_shape[:2]
        raise UserError(
            f"{partner}: a {what} of {partner_width} x {partner_height} px, but {path.name} has {width} x {height} px;"
            " make them the same size"
        )
