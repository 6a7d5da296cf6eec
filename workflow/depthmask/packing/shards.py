"""One part of the store, made by one process: decoded, resized, and whole or absent in the folder of the work under way.

A part NNNN is a folder with its arrays and shard.json: what its composites are called and made of, what was left out, what
they look like, the sha256 of each array, and one of all that.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from filelock import FileLock

from depthmask.base.errors import UserError
from depthmask.base.files import hash_file, hash_json, read_json, write_json
from depthmask.compose.fitting import fit_picture, fit_values
from depthmask.packing.sanity_checks import Looks
from depthmask.params import DepthParams
from depthmask.sources.layout import BadSamples
from depthmask.sources.pre_composited import FileMaps, PreCompositedSource
from depthmask.sources.rows import RowWriter
from depthmask.sources.store_format import KINDS, name_rows

SHARD_RECORD = "shard.json"


@dataclass(frozen=True)
class PackPlan:
    """All that decides a store, beside the source and the code. sizes_px: rising."""

    sizes_px: tuple[int, ...]
    fit: str
    num_shards: int

    def choose_rows(self, shard: int, num_rows: int) -> range:
        """Of num_rows composites, those of one part: parts follow each other and differ in number by at most one."""
        return range(shard * num_rows // self.num_shards, (shard + 1) * num_rows // self.num_shards)


def make_shard(folder: Path, source: PreCompositedSource, plan: PackPlan, shard: int, tell: Callable[[], None]) -> Path:
    """Make a part in `folder` unless it is there, and return its folder; `tell` is called before each composite.

    A process that makes the same part at the same time is waited for.

    Raises:
        UserError: a composite is bad, and bad ones are not to be skipped.
    """
    target = folder / f"{shard:04d}"
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / f".{shard:04d}.lock"):
        if find_record(target) is None:
            cv2.setNumThreads(0)  # processes are the parallelism
            half_made = folder / f".{shard:04d}.part"
            shutil.rmtree(half_made, ignore_errors=True)
            half_made.mkdir()
            _write_shard(half_made, source, plan, shard, tell)
            shutil.rmtree(target, ignore_errors=True)  # what has no record is no part
            os.replace(half_made, target)
    return target


def find_record(part: Path) -> dict[str, Any] | None:
    """The record of a part that is complete; None if it is not there, or has changed, or an array is missing or cut off."""
    try:
        record = read_json(part / SHARD_RECORD)
        is_whole = record.pop("sha256") == hash_json(record) and all(
            (part / name).stat().st_size == facts["num_bytes"] for name, facts in record["arrays"].items()
        )
        return record if is_whole else None
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def read_shard(folder: Path, shard: int) -> dict[str, Any]:
    """The record of a part; raises UserError if it is not complete."""
    part = folder / f"{shard:04d}"
    record = find_record(part)
    if record is None:
        raise UserError(f"{part}: damaged; run the same command again: it makes it again")
    return record


def count_made(folder: Path, plan: PackPlan) -> int:
    """How many parts are in `folder`, made by other processes or by a run that was killed."""
    return sum(find_record(folder / f"{shard:04d}") is not None for shard in range(plan.num_shards))


def _write_shard(folder: Path, source: PreCompositedSource, plan: PackPlan, shard: int, tell: Callable[[], None]) -> None:
    rows = plan.choose_rows(shard, len(source.composites))
    composites = source.composites[rows.start : rows.stop]
    bad = BadSamples(source.root, source.download.on_bad_sample == "skip")
    looks, kept, heights_and_widths = Looks(), [], []
    with contextlib.ExitStack() as stack:
        writers = {
            (size_px, kind): stack.enter_context(
                RowWriter(folder / name_rows(size_px, kind, shard), *_describe_rows(source, size_px, kind))
            )
            for size_px in plan.sizes_px
            for kind in KINDS
            if kind != "depth" or source.has_depth
        }
        for composite in composites:
            tell()
            try:
                maps = source.read_maps(composite.key)
            except UserError as error:
                bad.meet(name_origin(error, source), [composite.key])
                continue
            height, width = maps.alpha.shape
            wants_bare = source.has_backgrounds and looks.wants_bare(composite.background)
            bare = source.find_bare(composite.background, height, width) if wants_bare else None
            looks.look(composite, maps, source.decode_depth(maps), bare)
            kept.append(composite)
            heights_and_widths.append([height, width])
            for size_px in plan.sizes_px:
                for kind, row in fit_maps(maps, size_px, plan.fit, source.scale).items():
                    writers[size_px, kind].add(row)
    names = [name_rows(size_px, kind, shard) for size_px, kind in writers]
    record = {
        "keys": [composite.key for composite in kept],
        "backgrounds": [composite.background for composite in kept],
        "cutouts": [composite.cutout for composite in kept],
        "heights_and_widths": heights_and_widths,
        "skipped": bad.listed,
        "looks": asdict(looks),
        "arrays": {name: describe_file(folder / name) for name in names},
    }
    write_json(folder / SHARD_RECORD, record | {"sha256": hash_json(record)})


def fit_maps(maps: FileMaps, size_px: int, fit: str, scale: DepthParams) -> dict[str, np.ndarray]:
    """A composite's row of each kind."""
    alpha = fit_picture(maps.alpha, size_px, fit).clip(0, 1)
    rows = {"image": fit_picture(maps.image, size_px, fit), "mask": np.round(alpha * 255).astype(np.uint8)}
    if maps.raw_depth is not None:
        raw_depth, dtype = fit_values(maps.raw_depth, size_px, fit), choose_depth_dtype(scale)
        # wide first: 8-bit files may be declared with a raw_max of 16 bits, and numpy compares in the files' own type
        rows["depth"] = np.minimum(raw_depth.astype(np.uint16), np.iinfo(dtype).max).astype(dtype)
    return rows


def choose_depth_dtype(scale: DepthParams) -> np.dtype:
    """The smallest type in which values decode to what they decode to in the file.

    Those above raw_max decode alike, so that 8 bits clip a larger one to 255; but not where 255 stands for unknown.
    """
    return np.dtype(np.uint8 if scale.raw_max <= 255 and (scale.raw_unknown or 0) < 255 else np.uint16)


def name_origin(error: UserError, source: PreCompositedSource) -> UserError:
    """The same error with the user's own file in place of its copy, where the copy was made from a folder."""
    path, found, rest = str(error).partition(": ")
    with contextlib.suppress(ValueError):
        origin = Path(source.download.path) / Path(path).relative_to(source.root)
        if found and origin.is_file():
            return UserError(f"{origin}: {rest}")
    return error


def describe_file(path: Path) -> dict[str, Any]:
    """What a file is known by: its number of bytes and its sha256."""
    return {"num_bytes": path.stat().st_size, "sha256": hash_file(path)}


def _describe_rows(source: PreCompositedSource, size_px: int, kind: str) -> tuple[tuple[int, ...], np.dtype]:
    if kind == "depth":
        return (size_px, size_px), choose_depth_dtype(source.scale)
    return (size_px, size_px, 3) if kind == "image" else (size_px, size_px), np.dtype(np.uint8)
