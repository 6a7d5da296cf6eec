"""Shared by the readers of the layouts: listing, pairing, and handling of bad samples."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import TypeVar

from depthmask.base.errors import UserError
from depthmask.base.paths import is_file, is_folder, is_utf8, name_special, show_path
from depthmask.data.formats import SUFFIXES
from depthmask.sources.unread import describe_content, find_misspelt

NAMES_SHOWN = 10
FOLDERS_IGNORED = ("__MACOSX",)  # added to archives by macOS

File = TypeVar("File", Path, str)
Item = TypeVar("Item")


class BadSamples:
    """Handles bad samples: each is an error or, with `skip`, is listed in `listed` and skipped.

    listed: {"key", "reason"} in the order found; file names are relative to the source's folder.
    """

    def __init__(self, root: Path, skip: bool):
        self.root, self.skip = root, skip
        self.listed: list[dict[str, str]] = []

    def meet(self, error: UserError, keys: Iterable[str], reason: str | None = None) -> None:
        """Raise `error`, or list each of `keys` with `reason` (default: the error's message)."""
        if not self.skip:
            raise error
        reason = (reason or str(error)).replace(f"{self.root}{os.sep}", "")
        self.listed += [{"key": key, "reason": reason} for key in keys]

    def require_most_good(self, num_left: int) -> None:
        """Raise UserError if more samples were skipped than are left: then the fault is not in single samples."""
        if len(self.listed) > num_left:
            first = self.listed[0]
            raise UserError(
                f"{self.root}: {len(self.listed)} samples are bad and only {num_left} are good; the first, {first['key']}:"
                f" {first['reason']}; check download.source and download.depth, or fix the files"
            )


def choose_spread(items: Sequence[Item], num: int) -> list[Item]:
    """At most `num` of the items, evenly spaced, in order."""
    num = min(num, len(items))
    return [items[k * len(items) // num] for k in range(num)]


def show_names(names: Collection[str]) -> str:
    """The first NAMES_SHOWN of the names, sorted, for a message."""
    return ", ".join(sorted(names)[:NAMES_SHOWN]) + (", ..." if len(names) > NAMES_SHOWN else "")


def scan_pictures(folder: Path, suffixes: Iterable[str] = SUFFIXES, bad: BadSamples | None = None) -> dict[str, str]:
    """File names of the images directly in `folder` by stem, sorted by name; hidden and other files are ignored.

    One pass over the directory's entries, without a stat per file: folders hold hundreds of thousands. Stems are normalised
    to composed Unicode, because systems store accents differently. bad: where names that are not UTF-8 go; None: an error.

    Raises:
        UserError: the folder is missing, an image is not a file, a name is not UTF-8, or files share a stem.
    """
    suffixes = tuple(suffixes)
    try:
        with os.scandir(folder) as entries:
            found = [e for e in entries if e.name.lower().endswith(suffixes) and not e.name.startswith(".")]
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UserError(f"{folder}: no such folder{find_misspelt(folder)}") from error
    for entry in found:
        # free except for links, because the listing has the type; a folder fails when it is read, but a pipe would block
        if not is_file(entry) and not is_folder(entry):
            what = name_special(entry.path) or "not a file"
            raise UserError(f"{Path(folder, entry.name)}: is {what}, not an image; remove it, or put an image in its place")
    pictures: dict[str, str] = {}
    twice = []
    for name in sorted(entry.name for entry in found):
        if not is_utf8(name):
            shown = show_path(name)
            error = UserError(f"{folder}/{shown}: a name that is not UTF-8; rename it")
            if bad is None:
                raise error
            bad.meet(error, [shown])
            continue
        stem = unicodedata.normalize("NFC", name.rpartition(".")[0])
        if stem in pictures:
            twice.append(f"{pictures[stem]} and {name}")
        pictures[stem] = name
    if twice:
        have = "image has" if len(twice) == 1 else "images have"
        raise UserError(f"{folder}: {len(twice)} {have} the same name as another: {show_names(twice)}; rename or remove one")
    return pictures


def list_pictures(folder: Path, suffixes: Iterable[str] = SUFFIXES, bad: BadSamples | None = None) -> dict[str, Path]:
    """The images directly in `folder` by stem, sorted by name.

    Raises:
        UserError: as `scan_pictures`, or there is no image.
    """
    pictures = scan_pictures(folder, suffixes, bad)
    if not pictures:
        raise UserError(f"{folder}: {describe_content(folder)}")
    return {stem: folder / name for stem, name in pictures.items()}


def list_folders(folder: Path) -> list[Path]:
    """The folders directly in `folder`, sorted by name, except hidden ones and those added to archives by macOS."""
    with os.scandir(folder) as entries:
        names = [e.name for e in entries if not e.name.startswith((".", *FOLDERS_IGNORED)) and is_folder(e)]
    return [folder / name for name in sorted(names)]


def find_folders(root: Path, name: str, depth: int = 2) -> list[Path]:
    """Folders of that name in `root` and up to `depth` levels below: each of several archives may have its own folder."""
    found = []
    for folder in list_folders(root):
        if folder.name == name:
            found.append(folder)
        elif depth:
            found += find_folders(folder, name, depth - 1)
    return found


def add_once(pictures: dict[str, File], key: str, file: File) -> None:
    """Add a file; raises UserError if the key exists already, in another folder or with another spelling."""
    if key in pictures:
        raise UserError(f"{file}: has the same name or number as {pictures[key]}; rename or remove one")
    pictures[key] = file


def match_partners(of: dict[str, File], partners: dict[str, File], folder: Path, what: str, bad: BadSamples) -> set[str]:
    """Names without a partner on either side, to be skipped.

    Raises:
        UserError: there are any, with count and first names; with `skip` they are listed and returned instead.
    """
    unmatched = set()
    for names, problem in ((of.keys() - partners.keys(), "missing"), (partners.keys() - of.keys(), "without a partner")):
        if names:
            error = UserError(
                f"{folder}: {what} {problem} for {len(names)} of {len(of)} images: {show_names(names)}; add or remove them"
            )
            bad.meet(error, sorted(names), f"{what} {problem}")
            unmatched |= names
    return unmatched


def match_names(pictures: dict[str, str], pattern: re.Pattern, folder: Path, form: str, bad: BadSamples) -> dict[str, re.Match]:
    """Match each image's stem; raises UserError with count and first names if some do not fit `form`."""
    matches = {stem: pattern.fullmatch(stem) for stem in pictures}
    unfit = [stem for stem, match in matches.items() if match is None]
    if unfit:
        names = [pictures[stem] for stem in unfit]
        error = UserError(
            f"{folder}: {len(names)} of {len(pictures)} names do not fit {form}: {show_names(names)}; rename or remove them"
        )
        bad.meet(error, sorted(names), f"{folder}: name does not fit {form}")
    return {stem: match for stem, match in matches.items() if match is not None}


def require_same_size(path: Path, shape: tuple[int, ...], partner: Path, partner_shape: tuple[int, ...], what: str) -> None:
    """Raise UserError unless both images have the same height and width."""
    if shape[:2] != partner_shape[:2]:
        (height, width), (partner_height, partner_width) = shape[:2], partner_shape[:2]
        raise UserError(
            f"{partner}: {what} has {partner_width} x {partner_height} px, but {path.name} has {width} x {height} px;"
            " make them the same size"
        )
