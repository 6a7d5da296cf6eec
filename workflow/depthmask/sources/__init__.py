"""Data sources; the layouts are listed in `registry.sources`.

A source has `backgrounds` and `cutouts` (keys, composed during training) or `composites` (pre-composited), says what it has
(`has_backgrounds`, `has_depth`), lists its `files()`, reads all of them once in `check()`, and reads single items by key. Bad
samples skipped by `check` are in `skipped`, suspicious findings in `warnings`; `list_folders` says which
folders are read. Pre-composited samples are read again only to be packed; the packed source is what is split, trained on and
scored.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from depthmask.base.errors import UserError
from depthmask.base.files import JsonError, read_json
from depthmask.params import DownloadParams
from depthmask.registry.sources import SOURCES
from depthmask.sources.assets import AssetsSource
from depthmask.sources.packed import PackedSource
from depthmask.sources.pre_composited import PreCompositedSource
from depthmask.sources.store_format import INDEX, RECORD

RECORD_KINDS = {"sha256": str, "warnings": list, "skipped": list}

Source = AssetsSource | PreCompositedSource | PackedSource


def open_source(folder: Path) -> Source:
    """Open the source in a folder written by the download or the pack stage.

    Raises:
        UserError: there is none, or a file is missing.
    """
    if (folder / INDEX).is_file():
        return PackedSource(folder)
    record = read_record(folder, "download")
    download = DownloadParams(**record["download"])
    return find_source_class(download.source)(folder, download)


def find_source_class(layout: str) -> type[AssetsSource | PreCompositedSource]:
    """The class that reads a layout."""
    spec = SOURCES[layout]
    return getattr(importlib.import_module(f"depthmask.sources.{spec.module}"), spec.cls)


def choose_folder(raw: Path, store: Path | None) -> Path:
    """The folder that samples are read from: the packed store for pre-composited samples, else what was downloaded.

    Raises:
        UserError: there is no such folder, or the store was packed from other data.
    """
    record = read_record(raw, "download")
    if not issubclass(find_source_class(record["download"]["source"]), PreCompositedSource):
        return raw
    if store is None:
        raise UserError(f"{raw}: pre-composited samples are read from the packed store; give its folder (--store)")
    if read_record(store, "pack")["sha256"] != record["sha256"]:
        raise UserError(f"{store}: packed from other data than {raw}; run the pack stage again")
    return store


def read_record(folder: Path, stage: str) -> dict[str, Any]:
    """Read the record of a source, written by the download and the pack stage; stage: the one that wrote the folder.

    Raises:
        UserError: there is none, or it is damaged.
    """
    path = folder / RECORD
    if not path.is_file():
        raise UserError(f"{path}: no such file; run the {stage} stage first")
    try:
        record = read_json(path)
        DownloadParams.model_validate(record["download"])
        if not all(isinstance(record[key], kind) for key, kind in RECORD_KINDS.items()):
            raise TypeError("a value has the wrong type")
    except JsonError as error:
        raise UserError(f"{path}: damaged ({error.reason}); run the {stage} stage again") from error
    except (KeyError, TypeError, ValidationError) as error:
        reason = " ".join(str(error).split())[:100]
        raise UserError(f"{path}: damaged ({reason}); run the {stage} stage again") from error
    return record


def print_findings(record: dict[str, Any], folder: Path, name: str = "") -> None:
    """Print warnings about a source, and how many samples were skipped; folder: of its record. name: of one of several."""
    from depthmask.base.terminal import count, warn  # late: checking params.yaml imports this module but prints nothing

    for line in record["warnings"]:
        warn(f"{name}: {line}" if name else line)
    if record["skipped"]:
        warn(f"{name + ': ' if name else ''}skipped {count(len(record['skipped']), 'bad sample')} (listed in {folder / RECORD})")
