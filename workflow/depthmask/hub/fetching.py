"""Fetches a model file from the Hugging Face Hub into its cache, and says at which commit."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from depthmask import __version__
from depthmask.base.errors import UserError
from depthmask.base.paths import show_path
from depthmask.base.terminal import note
from depthmask.hub.address import is_address, parse_address
from depthmask.hub.failures import find_endpoint, import_hub, translate_errors

SNAPSHOTS = "snapshots"  # folder of the Hub's cache: SNAPSHOTS/COMMIT/PATH


@dataclass(frozen=True)
class FoundModel:
    """A model file on this machine. address: where it came from, with the commit; None for a file that was named by its path."""

    path: Path
    address: str | None = None


def find_model(named: str | Path) -> FoundModel:
    """The file that a path or an address names; a file of the Hub is fetched, unless it is in the cache.

    A commit that is in the cache needs no network. A branch is looked up again each time, where the Hub can be reached; else what
    was fetched of it last is used.

    Raises:
        UserError: the address is not one, or the file cannot be fetched.
    """
    if not is_address(named):
        return FoundModel(Path(named))
    address, hub = parse_address(named), import_hub()
    with translate_errors(named, address.repository):
        path = Path(
            hub.hf_hub_download(
                address.repository,
                address.path,
                revision=address.revision,
                endpoint=find_endpoint(),
                cache_dir=os.environ.get("HF_HUB_CACHE") or None,
                library_name="depthmask",
                library_version=__version__,
            )
        )
    return FoundModel(path, str(replace(address, revision=_find_commit(path, named))))


def name_origins(index: dict[str, Any], found: Sequence[FoundModel]) -> dict[str, Any]:
    """The content of predictions.json, with the address of each model that came from the Hub: `origin`, with its commit."""
    origins = {show_path(one.path): one.address for one in found if one.address is not None}
    for entry in index["models"]:
        if entry["file"] in origins:
            entry["origin"] = origins[entry["file"]]
            note(f"predicting with {entry['origin']}")
    return index


def _find_commit(path: Path, named: str) -> str:
    parts = path.parts
    for place, part in enumerate(parts[:-1]):
        if part == SNAPSHOTS:
            return parts[place + 1]
    raise UserError(f"{named}: {path} is not in a cache of the Hub, so its commit is unknown; update huggingface_hub")
