"""Makes the files of one block of composites, whole or not at all.

OUT/.dataset/settings.json   all that decides the result
             NNNNNN.json     the note of a block, written after its files: their sizes and sha256, and what they were made of
             NNNNNN.lock     held while a block is made
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from depthmask.base.files import read_json, write_text
from depthmask.data.batch import ByteBatch
from depthmask.dataset.coco import describe_instance
from depthmask.dataset.encoding import CleanCache
from depthmask.dataset.layouts import Spot
from depthmask.dataset.plan import Plan

OWN = ".dataset"
COMPOSED_AT_ONCE = 20  # composites in memory

File = tuple[str, bytes]  # path relative to the dataset's folder, content


@dataclass
class Job:
    """A plan and the folder that is written."""

    plan: Plan
    out: Path

    def __post_init__(self):
        self.own = self.out / OWN
        self._clean = CleanCache(self.plan.encoder)

    def name_note(self, block: int) -> Path:
        return self.own / f"{block:06d}.json"

    def make_files(self, indices: range) -> Iterator[tuple[list[File], dict[str, Any]]]:
        """The files of each composite, and its row: index, keys of what it was made of, and its instance for COCO."""
        for start in range(indices.start, indices.stop, COMPOSED_AT_ONCE):
            some = indices[start - indices.start :][:COMPOSED_AT_ONCE]
            batch = self.plan.samples[[(self.plan.request.epoch, index) for index in some]]
            for b, index in enumerate(some):
                yield self._encode(batch, b, index)

    def _encode(self, batch: ByteBatch, b: int, index: int) -> tuple[list[File], dict[str, Any]]:
        plan, origin = self.plan, batch.origins[b]
        backgrounds, cutouts = plan.numbers
        spot = Spot(index, backgrounds[origin.background], cutouts[origin.cutout], index // plan.grid.num_pairs)
        names, encoder = plan.layout.name(spot, plan.grid), plan.encoder
        files = [
            (f"{names['image']}.{encoder.format}", encoder.encode_image(batch.image[b])),
            (f"{names['mask']}.{encoder.map_format}", encoder.encode_map(batch.mask[b])),
        ]
        if encoder.scale is not None:
            content = encoder.encode_depth(batch.depth[b], batch.valid[b], origin.key)
            files.append((f"{names['depth']}.{encoder.map_format}", content))
        if batch.background is not None and not plan.layout.is_published:
            files.append((f"{names['background']}.{encoder.format}", self._clean.encode(batch.background[b])))
        row = {
            "index": index,
            "image": files[0][0],
            "background": origin.background,
            "cutout": origin.cutout,
            "kind": origin.kind,
        }
        if plan.request.layout == "coco":
            row["instance"] = describe_instance(batch.mask[b], index + 1, origin.kind)
        return files, row

    def make_clean_files(self) -> list[File]:
        """The clean backgrounds that composites share; composite number b is of background b, because pairing is even."""
        plan, files = self.plan, []
        for number in range(plan.num_clean):
            batch = plan.samples[[(plan.request.epoch, number)]]
            name = f"{plan.layout.name_clean(number)}.{plan.encoder.format}"
            files.append((name, plan.encoder.encode_image(batch.background[0])))
        return files

    def make_block(self, block: int) -> None:
        """Make a block unless it exists. Waits for another process that is making it."""
        lock = self.own / f"{block:06d}.lock"
        with FileLock(lock):
            if find_note(self.name_note(block), self.out) is None:
                self._write_block(block)
            lock.unlink(missing_ok=True)  # who waits for it finds the note

    def _write_block(self, block: int) -> None:
        indices, rows, files, content_hash = self.plan.list_indices(block), [], [], hashlib.sha256()

        def write(made: list[File]) -> None:
            for name, content in made:
                write_whole(self.out / name, content)
                content_hash.update(content)
                files.append([name, len(content)])

        for made, row in self.make_files(indices):
            write(made)
            rows.append(row)
        if not indices:
            write(self.make_clean_files())
        note = {"rows": rows, "files": files, "sha256": content_hash.hexdigest()}
        write_text(self.name_note(block), json.dumps(note, separators=(",", ":")))


def find_note(path: Path, out: Path) -> dict[str, Any] | None:
    """The note of a block, if it is whole and each of its files has the size it was written with; else None.

    Files are not synced one by one, which would take longer than making them: after a power failure a file may be shorter than
    its note says, and its block is made again.
    """
    try:
        note = read_json(path)
        is_whole = all((out / name).stat().st_size == num_bytes for name, num_bytes in note["files"])
        return note if is_whole else None
    except (OSError, ValueError, TypeError, KeyError):
        return None


def write_whole(path: Path, content: bytes) -> None:
    """Write a file under a temporary name, then rename it. The name is fixed, so a killed write is overwritten by the next."""
    _make_folder(path.parent)
    temporary = path.with_name(f".{path.name}.part")
    try:
        temporary.write_bytes(content)
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        error.filename, error.filename2 = str(path), None
        raise


@functools.lru_cache(maxsize=4096)
def _make_folder(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
