"""Which folders samples are read from: one of a single source, or one for each of several."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from depthmask.base.errors import UserError
from depthmask.params.other_sets import name_other_set
from depthmask.sources import INDEX, RECORD, choose_folder, read_record

FIRST, MORE = "first", "more"  # of a store of several sources: the first one's store, and the folder of the others


@dataclass(frozen=True)
class MixedFolders:
    """The folder that each source is read from, from `choose_folder`, by its name; the first source first."""

    folders: dict[str, Path]


Data = Path | MixedFolders


def choose_data(raw: Path, store: Path | None, more: Path | None, names: Sequence[str]) -> Data:
    """What samples are read from. more: the folder of further sources; names: of all sources if there are several, else none.

    Raises:
        UserError: as `choose_folder`, or a source has not been downloaded.
    """
    if not names:
        return choose_folder(raw, store)
    if more is None:
        raise UserError(f"the split is of several sources ({', '.join(names)}); give the folder of the others (--more)")
    first, *others = names
    folders = {first: choose_folder(raw, None if store is None else store / FIRST)}
    for name in others:
        folders[name] = choose_folder(more / name, None if store is None else store / MORE / name)
    return MixedFolders(folders)


def list_downloaded(raw: Path, more: Path | None) -> dict[str, Path]:
    """The folders that the download stages wrote, by their place in a store of all; a single source has the place `.`."""
    others = sorted(path for path in more.iterdir() if (path / RECORD).is_file()) if more is not None and more.is_dir() else []
    return {FIRST: raw} | {f"{MORE}/{path.name}": path for path in others} if others else {".": raw}


def find_key(place: str, other: str | None = None) -> str:
    """The key in params.yaml of the source at a place in a store; other: the name of the other data set that the store is of."""
    if other is not None:
        return name_other_set(other)
    return "download" if place in (".", FIRST) else f"download.more_sources.{place.removeprefix(MORE + '/')}"


def find_name(place: str, record: Mapping[str, Any]) -> str:
    """The name of the source at a place in a store of several, with its record; of a single source, empty."""
    return {".": "", FIRST: record["download"]["source"]}.get(place, place.removeprefix(MORE + "/"))


def list_packed(store: Path) -> list[Path]:
    """The stores that hold pre-composited samples: of a single source `store` itself, whether or not there is anything."""
    if not (store / FIRST / INDEX).is_file():
        return [store]
    stores = [store / FIRST, *sorted((store / MORE).iterdir())]
    return [one for one in stores if (one / RECORD).is_file()]  # the store of what is composed during training has none


def list_folders(data: Data) -> dict[str, Path]:
    """Every folder by the name of its source; of a single source, by an empty name."""
    return data.folders if isinstance(data, MixedFolders) else {"": data}


def read_first_record(data: Data) -> dict[str, Any]:
    """The record of the source whose depth scale is the model's: the only or the first one."""
    return read_record(next(iter(list_folders(data).values())), "download")
