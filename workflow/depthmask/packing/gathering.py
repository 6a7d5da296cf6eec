"""Joins shards to a store: the same bytes, however and in whatever order the shards were made."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from depthmask.base.errors import UserError
from depthmask.base.files import hash_file, read_json, replace_folder, write_json
from depthmask.compose.fitting import fit_picture
from depthmask.packing.shards import PackPlan, describe_file, read_shard
from depthmask.params.mixture import put_key
from depthmask.sources.layout import BadSamples
from depthmask.sources.plausibility import raise_errors
from depthmask.sources.pre_composited import PreCompositedSource
from depthmask.sources.rows import RowWriter
from depthmask.sources.sanity_checks import merge_checks
from depthmask.sources.store_format import FORMAT, FORMAT_OF_PHOTOS, INDEX, RECORD, name_clean

UNKNOWN = -1


def gather(
    folder: Path, source: PreCompositedSource, plan: PackPlan, out: Path, num_threads: int, key: str = "download"
) -> dict[str, Any]:
    """Join the shards in `folder` to the store `out`, verified byte for byte, and return its record.

    key: of the source in params.yaml, for messages.

    Raises:
        UserError: a shard is damaged (it is removed), more composites are bad than good, or all values cannot be right.
    """
    shards = [read_shard(folder, shard) for shard in range(plan.num_shards)]
    record = read_json(source.root / RECORD)
    bad = BadSamples(source.root, skip=True)
    skipped = (entry | {"reason": put_key(entry["reason"], key)} for shard in shards for entry in shard["skipped"])
    bad.listed = [*record["skipped"], *skipped]
    bad.require_most_good(sum(len(shard["keys"]) for shard in shards))
    checks = merge_checks(shard["checks"] for shard in shards)
    warnings = [*record["warnings"], *(put_key(line, key) for line in raise_errors(checks.judge(source), source.download))]
    for left in out.parent.glob(f".{out.name}.*.part"):  # left by a killed run
        shutil.rmtree(left)
    with replace_folder(out) as store:
        arrays = _take_arrays(folder, shards, store, num_threads)
        arrays |= _write_index_arrays(store, shards, source, plan)
        index = {
            "format": FORMAT_OF_PHOTOS if source.may_lack_truth else FORMAT,
            "is_packed": True,
            "sizes_px": list(plan.sizes_px),
            "fit": plan.fit,
            "rows": [len(shard["keys"]) for shard in shards],
            "has_depth": source.has_depth,
            "has_backgrounds": source.has_backgrounds,
            "source": record["sha256"],
            "arrays": arrays,
        }
        write_json(store / INDEX, index)
        record |= {"skipped": bad.listed, "warnings": warnings, "packed": hash_file(store / INDEX)}
        write_json(store / RECORD, record)
    return record


def write_nothing_to_pack(raw: Path, out: Path) -> None:
    """Write the store of a source of backgrounds and cut-outs."""
    with replace_folder(out) as store:
        why = "nothing to pack: composed during training"
        write_json(store / INDEX, {"format": FORMAT, "is_packed": False, "why": why, "source": read_json(raw / RECORD)["sha256"]})


def _take_arrays(folder: Path, shards: Sequence[dict], store: Path, num_threads: int) -> dict[str, dict]:
    """Hard-link the shards' arrays into the store, and read them all once."""
    arrays: dict[str, dict] = {}
    origins: dict[str, Path] = {}
    for number, shard in enumerate(shards):
        for name, file in shard["arrays"].items():
            arrays[name], origins[name] = file, folder / f"{number:04d}"
            (store / name).parent.mkdir(exist_ok=True)
            _link(origins[name] / name, store / name)
    with ThreadPoolExecutor(num_threads) as threads:
        hashes = dict(zip(arrays, threads.map(lambda name: hash_file(store / name), arrays)))
    damaged = sorted({str(origins[name]) for name, file in arrays.items() if hashes[name] != file["sha256"]})
    for shard in damaged:
        shutil.rmtree(shard)
    if damaged:
        raise UserError(f"{damaged[0]}: damaged and removed ({len(damaged)} in all); rerun the same command to make them again")
    return arrays


def _link(file: Path, second: Path) -> None:
    """Hard-link a file if the disk supports it, else copy it."""
    try:
        os.link(file, second)
    except OSError as error:
        if error.errno not in (errno.EXDEV, errno.EPERM, errno.ENOTSUP, errno.EMLINK):
            raise
        shutil.copyfile(file, second)


def _write_index_arrays(store: Path, shards: Sequence[dict], source: PreCompositedSource, plan: PackPlan) -> dict[str, dict]:
    """Write keys and origins of the composites, and the clean backgrounds."""

    def join(name: str) -> list:
        return [value for shard in shards for value in shard[name]]

    backgrounds, cutouts = join("backgrounds"), join("cutouts")
    names = sorted(set(backgrounds)), sorted(set(cutouts) - {None})
    arrays = {
        "key.npy": _encode(join("keys")),
        "background.npy": _number(backgrounds, names[0]),
        "cutout.npy": _number(cutouts, names[1]),
        "background_names.npy": _encode(names[0]),
        "cutout_names.npy": _encode(names[1]),
    }
    files = [*arrays]
    if source.has_backgrounds:
        views = [(background, *size) for background, size in zip(backgrounds, join("heights_and_widths"), strict=True)]
        if source.may_lack_truth:
            views = [view if has_clean else None for view, has_clean in zip(views, join("has_clean"), strict=True)]
        distinct = sorted(set(views) - {None})
        arrays["clean.npy"] = _number(views, distinct)
        files += ["clean.npy", *_write_clean(store, source, plan, distinct)]
    if source.may_lack_truth:
        arrays["known.npy"] = np.array(join("known"), bool).reshape(-1, 2)
        files.append("known.npy")
    for name, values in arrays.items():
        np.save(store / name, values)
    return {name: describe_file(store / name) for name in files}


def _write_clean(store: Path, source: PreCompositedSource, plan: PackPlan, views: Sequence[tuple[str, int, int]]) -> list[str]:
    """Write the clean backgrounds, each at every size that its composites have; returns the file names."""
    for size_px in plan.sizes_px:
        with RowWriter(store / name_clean(size_px), (size_px, size_px, 3), np.uint8) as writer:
            for background, height, width in views:
                writer.add(fit_picture(source.find_clean(background, height, width), size_px, plan.fit))
    return [name_clean(size_px) for size_px in plan.sizes_px]


def _encode(names: Sequence[str]) -> np.ndarray:
    encoded = [name.encode() for name in names]
    return np.array(encoded, dtype=f"S{max(map(len, encoded), default=1)}")


def _number(values: Sequence[Any], names: Sequence[Any]) -> np.ndarray:
    """The index of each value in `names`, int32; UNKNOWN for None."""
    places = {name: place for place, name in enumerate(names)} | {None: UNKNOWN}
    return np.array([places[value] for value in values], np.int32)
