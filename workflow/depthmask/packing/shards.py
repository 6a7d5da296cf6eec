"""Makes one shard of the store, in one process: decoded, resized, and complete or absent in the working folder.

A shard NNNN is a folder with its arrays and shard.json: keys and origins of its composites, skipped samples, sanity checks, the
sha256 of each array, and one over all of that.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from filelock import FileLock

from depthmask.base.errors import UserError
from depthmask.base.files import hash_file, hash_json, read_json, write_json
from depthmask.compose.fitting import fit_picture, fit_values
from depthmask.params import DepthParams
from depthmask.sources.layout import BadSamples
from depthmask.sources.pre_composited import FileMaps, PreCompositedSource
from depthmask.sources.rows import RowWriter
from depthmask.sources.sanity_checks import SanityChecks
from depthmask.sources.store_format import KINDS, name_rows

SHARD_RECORD = "shard.json"


@dataclass(frozen=True)
class PackPlan:
    """Everything that determines a store besides source and code. sizes_px: in increasing order."""

    sizes_px: tuple[int, ...]
    fit: str
    num_shards: int

    def choose_rows(self, shard: int, num_rows: int) -> range:
        """The rows of one shard: shards are consecutive and differ in size by at most one."""
        return range(shard * num_rows // self.num_shards, (shard + 1) * num_rows // self.num_shards)


def make_shard(folder: Path, source: PreCompositedSource, plan: PackPlan, shard: int, advance: Callable[[], None]) -> Path:
    """Make a shard in `folder` unless it exists, and return its folder; `advance` is called before each composite.

    Waits for another process that is making the same shard.

    Raises:
        UserError: a composite is bad, and on_bad_sample is error.
    """
    target = folder / f"{shard:04d}"
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / f".{shard:04d}.lock"):
        if find_record(target) is None:
            cv2.setNumThreads(0)  # parallelism comes from processes
            half_made = folder / f".{shard:04d}.part"
            shutil.rmtree(half_made, ignore_errors=True)
            half_made.mkdir()
            _write_shard(half_made, source, plan, shard, advance)
            shutil.rmtree(target, ignore_errors=True)  # without a record it is not a shard
            os.replace(half_made, target)
    return target


def find_record(shard: Path) -> dict[str, Any] | None:
    """The record of a complete shard; None if it is missing or changed, or an array is missing or truncated."""
    try:
        record = read_json(shard / SHARD_RECORD)
        is_whole = record.pop("sha256") == hash_json(record) and all(
            (shard / name).stat().st_size == file["num_bytes"] for name, file in record["arrays"].items()
        )
        return record if is_whole else None
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def read_shard(folder: Path, shard: int) -> dict[str, Any]:
    """The record of a shard; raises UserError if it is not complete."""
    path = folder / f"{shard:04d}"
    record = find_record(path)
    if record is None:
        raise UserError(f"{path}: damaged; rerun the same command to make it again")
    return record


def count_made(folder: Path, plan: PackPlan) -> int:
    """How many shards exist in `folder`, from other processes or a killed run."""
    return sum(find_record(folder / f"{shard:04d}") is not None for shard in range(plan.num_shards))


def _write_shard(folder: Path, source: PreCompositedSource, plan: PackPlan, shard: int, advance: Callable[[], None]) -> None:
    rows = plan.choose_rows(shard, len(source.composites))
    composites = source.composites[rows.start : rows.stop]
    bad = BadSamples(source.root, source.download.on_bad_sample == "skip")
    checks, kept, heights_and_widths, known = SanityChecks(), [], [], []
    depth_dtype = choose_depth_dtype(source.scale, source.may_hold_floats)
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
            advance()
            try:
                maps = source.read_maps(composite.key)
            except UserError as error:
                bad.meet(name_origin(error, source), [composite.key])
                continue
            height, width = maps.size_px
            checks.look_at(source, composite, maps)
            kept.append(composite)
            heights_and_widths.append([height, width])
            known.append([maps.alpha is not None, maps.raw_depth is not None])
            for size_px in plan.sizes_px:
                rows_of_kinds = fit_maps(maps, size_px, plan.fit, depth_dtype)
                for kind in KINDS:
                    if (size_px, kind) in writers:
                        writer = writers[size_px, kind]
                        writer.add(rows_of_kinds.get(kind, np.zeros(writer.row_shape, writer.dtype)))
    names = [name_rows(size_px, kind, shard) for size_px, kind in writers]
    record = {
        "keys": [composite.key for composite in kept],
        "backgrounds": [composite.background for composite in kept],
        "cutouts": [composite.cutout for composite in kept],
        "heights_and_widths": heights_and_widths,
        "skipped": bad.listed,
        "checks": checks.to_json(),
        "arrays": {name: describe_file(folder / name) for name in names},
    }
    if source.may_lack_truth:
        record |= {"known": known, "has_clean": [source.has_clean(composite) for composite in kept]}
    write_json(folder / SHARD_RECORD, record | {"sha256": hash_json(record)})


def fit_maps(maps: FileMaps, size_px: int, fit: str, depth_dtype: np.dtype) -> dict[str, np.ndarray]:
    """A composite as a row of each kind that is known; depth_dtype: see `choose_depth_dtype`."""
    rows = {"image": fit_picture(maps.image, size_px, fit)}
    if maps.alpha is not None:
        rows["mask"] = np.round(fit_picture(maps.alpha, size_px, fit).clip(0, 1) * 255).astype(np.uint8)
    if maps.raw_depth is not None:
        raw_depth = fit_values(maps.raw_depth, size_px, fit)
        if depth_dtype.kind != "f":
            # widen first: 8-bit files may be declared with a 16-bit raw_max, and numpy would compare in 8 bits
            raw_depth = np.minimum(raw_depth.astype(np.uint16), np.iinfo(depth_dtype).max)
        rows["depth"] = raw_depth.astype(depth_dtype)
    return rows


def choose_depth_dtype(scale: DepthParams, may_hold_floats: bool) -> np.dtype:
    """The smallest type in which values decode the same as in the file; may_hold_floats: it may have floating-point values.

    Values above raw_max decode alike, so 8 bits may clip them to 255, unless 255 means unknown.
    """
    if may_hold_floats or scale.raw_max is None:
        return np.dtype(np.float32)
    return np.dtype(np.uint8 if scale.raw_max <= 255 and (scale.raw_unknown or 0) < 255 else np.uint16)


def name_origin(error: UserError, source: PreCompositedSource) -> UserError:
    """The same error, naming the user's own file instead of its copy if it was copied from a folder."""
    path, found, rest = str(error).partition(": ")
    with contextlib.suppress(ValueError):
        origin = Path(source.download.path) / Path(path).relative_to(source.root)
        if found and origin.is_file():
            return UserError(f"{origin}: {rest}")
    return error


def describe_file(path: Path) -> dict[str, Any]:
    """A file's size and sha256."""
    return {"num_bytes": path.stat().st_size, "sha256": hash_file(path)}


def _describe_rows(source: PreCompositedSource, size_px: int, kind: str) -> tuple[tuple[int, ...], np.dtype]:
    if kind == "depth":
        return (size_px, size_px), choose_depth_dtype(source.scale, source.may_hold_floats)
    return (size_px, size_px, 3) if kind == "image" else (size_px, size_px), np.dtype(np.uint8)
