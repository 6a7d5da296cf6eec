"""Where data come from; which layouts there are, `registry.sources` says.

A source has `backgrounds` and `cutouts` (keys; composed while training) or `composites` (pre-composited), says what it has
(`has_backgrounds`, `has_depth`), lists its `files()`, goes through all of them in `check()`, and reads one item by key. What
`check` left out is in `skipped`, what looks wrong without being an error in `warnings`. Pre-composited samples are read again
only to be packed; what is split, trained on and scored is the packed source.
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
    """The source that the download stage has put into a folder, or that the pack stage has made of it.

    Raises:
        UserError: there is none, or a file of it is missing.
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
    """Where samples are read from: the packed store of pre-composited samples; of other sources what was downloaded.

    Raises:
        UserError: there is no such folder, or the store was packed from other data.
    """
    record = read_record(raw, "download")
    if not issubclass(find_source_class(record["download"]["source"]), PreCompositedSource):
        return raw
    if store is None:
        raise UserError(f"{raw}: pre-composited samples, which are read from the packed store; name its folder (--store)")
    if read_record(store, "pack")["sha256"] != record["sha256"]:
        raise UserError(f"{store}: packed from other data than {raw}; run the pack stage again")
    return store


def read_record(folder: Path, stage: str) -> dict[str, Any]:
    """The record of a source, which the download stage wrote and the pack stage carries on; `stage` made the folder.

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
            raise TypeError("a value of another kind than it is written with")
    except JsonError as error:
        raise UserError(f"{path}: damaged ({error.reason}); run the {stage} stage again") from error
    except (KeyError, TypeError, ValidationError) as error:
        reason = " ".join(str(error).split())[:100]
        raise UserError(f"{path}: damaged ({reason}); run the {stage} stage again") from error
    return record


def print_findings(record: dict[str, Any], folder: Path) -> None:
    """What looks wrong in a source, and how much of it was left out; `folder` has the record."""
    from depthmask.base.terminal import count, warn  # late: a check of params.yaml comes by here, and prints nothing

    for line in record["warnings"]:
        warn(line)
    if record["skipped"]:
        warn(f"skipped {count(len(record['skipped']), 'bad sample')} (listed in {folder / RECORD})")
