"""Reads pre-composited samples from the packed store; store_format.py describes its files."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from depthmask.base.errors import UserError
from depthmask.base.files import JsonError, hash_file, read_json
from depthmask.data.batch import ByteBatch
from depthmask.data.images import decode_depth, make_depth_table
from depthmask.data.sample import Origin
from depthmask.params import DownloadParams
from depthmask.sources.rows import RowFile
from depthmask.sources.store_format import FORMAT, FORMAT_OF_PHOTOS, INDEX, KINDS, RECORD, name_clean, name_rows

REPAIR = "run the pack stage again"


@dataclass(frozen=True)
class CompositeIndex:
    """What each composite is made of. keys: N UTF-8 bytes; backgrounds, cutouts: N indices into the lists of names, or -1."""

    keys: np.ndarray
    backgrounds: np.ndarray
    cutouts: np.ndarray
    background_names: list[str]
    cutout_names: list[str]


class PackedSource:
    """Composites by row number, at the packed sizes; opening takes constant time and memory.

    Files are memory-mapped on first read. Pickled as its folder, so that each worker process opens it itself.

    Raises:
        UserError: a file is missing, damaged or of the wrong length, or the store has another format version.
    """

    backgrounds = cutouts = composites = ()

    def __init__(self, root: Path):
        self.root = root
        self._index = read_index(root)
        self.scale = DownloadParams(**_read(root / RECORD)["download"]).depth
        self.fit: str = self._index["fit"]
        self.sizes_px: tuple[int, ...] = tuple(self._index["sizes_px"])
        self.has_depth: bool = self._index["has_depth"]
        self.has_backgrounds: bool = self._index["has_backgrounds"]
        self.has_photos: bool = self._index["format"] == FORMAT_OF_PHOTOS
        self._ends = list(accumulate(self._index["rows"]))
        self._depth_table = make_depth_table(self.scale)
        self._files: dict[str, RowFile] = {}
        self._shards: dict[tuple[int, int], tuple[RowFile, RowFile, RowFile | None]] = {}

    def __reduce__(self) -> tuple[type, tuple[Path]]:
        return PackedSource, (self.root,)

    def __len__(self) -> int:
        return self._ends[-1]

    @cached_property
    def identity(self) -> str:
        """The sha256 of its index, which covers all content."""
        return hash_file(self.root / INDEX)

    def require(self, size_px: int, fit: str) -> None:
        """Raise UserError unless the composites were packed at that size and with that fit."""
        if size_px not in self.sizes_px or fit != self.fit:
            packed = f"{', '.join(map(str, self.sizes_px))} px, {self.fit}"
            raise UserError(f"{self.root}: packed at {packed}, but {size_px} px, {fit} is needed; {REPAIR}")

    def read(self, row: int, size_px: int, with_background: bool = False) -> ByteBatch:
        """Read the composite of a row as a batch of one, with its clean background if asked for; it must have one."""
        batch = ByteBatch.allocate(1, size_px, size_px, with_background)
        self.read_into(batch, 0, row)
        return batch

    def read_into(self, batch: ByteBatch, b: int, row: int) -> None:
        """Write the composite of a row, and its origin, into sample b."""
        size_px = batch.image.shape[1]
        shard, within = self._find_place(row)
        images, masks, depths = self._open_shard(size_px, shard)
        images.read_into(batch.image[b], within)
        masks.read_into(batch.mask[b], within)
        if depths is not None:
            self._decode_depth(depths.read(within), batch.depth[b], batch.valid[b])
        else:
            batch.depth[b], batch.valid[b] = 0, False
        if self.has_photos:
            batch.mask_known[b], depth_known = self.known[row]
            if not depth_known:
                batch.depth[b], batch.valid[b] = 0, False
        if batch.background is not None:
            self._open(name_clean(size_px)).read_into(batch.background[b], self._open("clean.npy").read(row).item())
        batch.origins[b] = self._read_origin(row)

    def _read_origin(self, row: int) -> Origin:
        # through memory maps, whose few bytes per row stay cached: training does this for every sample
        background, cutout = (self._open(f"{role}.npy").rows[row] for role in ("background", "cutout"))
        key = self._open("key.npy").rows[row].decode()
        return Origin(key, self._name("background", background), None if cutout < 0 else self._name("cutout", cutout))

    def _decode_depth(self, raw: np.ndarray, depth: np.ndarray, valid: np.ndarray) -> None:
        if raw.dtype != np.uint8:
            depth[...], valid[...] = decode_depth(raw, self.scale)
            return
        cv2.LUT(raw, self._depth_table, dst=depth)
        valid[...] = True if self.scale.raw_unknown is None else raw != self.scale.raw_unknown

    @property
    def known(self) -> np.ndarray:
        """N x 2 bool, of a source of photos: whether mask and depth are known."""
        return self._open("known.npy").rows

    def choose_rows_with_clean(self, rows: np.ndarray) -> np.ndarray:
        """Those of the rows that have a clean background: all but for photos."""
        return rows[self._open("clean.npy").rows[rows] >= 0] if self.has_photos else rows

    def read_index(self) -> CompositeIndex:
        """What each composite is made of; the arrays stay on disk until they are accessed."""
        rows = [self._open(f"{name}.npy").rows for name in ("key", "background", "cutout")]
        names = [[name.decode() for name in self._open(f"{role}_names.npy").rows.tolist()] for role in ("background", "cutout")]
        return CompositeIndex(*rows, *names)

    def read_clean(self, background: int) -> np.ndarray:
        """The clean background of that number at the smallest size, as used by its first composite."""
        return self._open(name_clean(self.sizes_px[0])).read(int(self._open("clean.npy").read(self._find_first(background))))

    def read_picture(self, background: int) -> np.ndarray:
        """The first picture with the background of that number, at the smallest size."""
        shard, within = self._find_place(self._find_first(background))
        return self._open_shard(self.sizes_px[0], shard)[0].read(within)

    def _find_place(self, row: int) -> tuple[int, int]:
        """The shard of a row, and its row there."""
        shard = bisect_right(self._ends, row)
        return shard, row - self._ends[shard] + self._index["rows"][shard]

    def _find_first(self, background: int) -> int:
        return int(np.argmax(self._open("background.npy").rows == background))

    def _name(self, role: str, number: int) -> str:
        return self._open(f"{role}_names.npy").rows[number].decode()

    def _open_shard(self, size_px: int, shard: int) -> tuple[RowFile, RowFile, RowFile | None]:
        """Images, masks and depth of one shard at one size."""
        key = size_px, shard
        if key not in self._shards:
            kinds = [self._open(name_rows(size_px, kind, shard)) for kind in KINDS[: 2 + self.has_depth]]
            self._shards[key] = (*kinds, *[None] * (3 - len(kinds)))
        return self._shards[key]

    def _open(self, name: str) -> RowFile:
        if name not in self._files:
            self._files[name] = RowFile(self.root / name)
        return self._files[name]


def read_index(root: Path) -> dict[str, Any]:
    """Read the index of a store and check that every file exists with its size; contents are not read.

    Raises:
        UserError: as `PackedSource`, or nothing was packed.
    """
    index = _read(root / INDEX)
    if index.get("format") not in (FORMAT, FORMAT_OF_PHOTOS):
        raise UserError(f"{root / INDEX}: store format {index.get('format')}, but this version reads format {FORMAT}; {REPAIR}")
    if not index["is_packed"]:
        raise UserError(f"{root}: nothing is packed here, because composites are made during training; use the downloaded folder")
    for name, file in index["arrays"].items():
        try:
            num_bytes = (root / name).stat().st_size
        except FileNotFoundError as error:
            raise UserError(f"{root / name}: no such file; {REPAIR}") from error
        if num_bytes != file["num_bytes"]:
            raise UserError(f"{root / name}: {num_bytes} bytes instead of {file['num_bytes']}; {REPAIR}")
    return index


def verify_store(root: Path) -> int:
    """Read every byte of a store and return how many files it has.

    Raises:
        UserError: as `read_index`, or a file does not have its sha256.
    """
    index = read_index(root)
    for name, file in index["arrays"].items():
        if hash_file(root / name) != file["sha256"]:
            raise UserError(f"{root / name}: damaged: its sha256 differs from the index; {REPAIR}")
    if hash_file(root / INDEX) != _read(root / RECORD).get("packed"):
        raise UserError(f"{root / INDEX}: damaged: its sha256 differs from {RECORD}; {REPAIR}")
    return len(index["arrays"])


def _read(path: Path) -> dict[str, Any]:
    try:
        return read_json(path)
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file; run the pack stage first") from error
    except JsonError as error:
        raise UserError(f"{path}: damaged ({error.reason}); {REPAIR}") from error
