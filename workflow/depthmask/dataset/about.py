"""The files about the whole: dataset.json, composites.csv, and COCO's annotations; written when every block is there."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from depthmask import __version__
from depthmask.base.errors import UserError
from depthmask.base.files import replace_file, write_csv, write_json
from depthmask.dataset.coco import describe_depth, format_annotations
from depthmask.dataset.plan import declare_download
from depthmask.dataset.writing import Job, find_note

RECORD = "dataset.json"
TABLE = "composites.csv"
COLUMNS = ("index", "image", "background", "cutout", "kind")


@dataclass(frozen=True)
class Summary:
    """What the folder holds, without the files about the whole. sha256: of all content, in the order of the blocks."""

    num_files: int
    num_bytes: int
    sha256: str


def write_about(job: Job) -> Summary:
    """Write the files about the whole, dataset.json last: where it is, everything is there.

    Raises:
        UserError: a block is missing.
    """
    plan, whole = job.plan, hashlib.sha256()
    num_files = num_bytes = 0
    for note in _read_notes(job):
        num_files += len(note["files"])
        num_bytes += sum(size for _, size in note["files"])
        whole.update(note["sha256"].encode())
    summary = Summary(num_files, num_bytes, whole.hexdigest())
    rows = ({key: row[key] for key in COLUMNS} for note in _read_notes(job) for row in note["rows"])
    write_csv(job.out / TABLE, COLUMNS, rows)
    if plan.request.layout == "coco":
        _write_annotations(job)
    declared = {key: value for key, value in declare_download(plan, job.out).items() if key != "path"}
    record = {
        "version": __version__,
        **{key: value for key, value in plan.settings.items() if key != "code"},
        "params": {"download": declared, "split": dict(plan.layout.groups or {})},
        "num_files": summary.num_files,
        "num_bytes": summary.num_bytes,
        "sha256": summary.sha256,
    }
    write_json(job.out / RECORD, record)
    for lock in job.own.glob("*.lock"):  # left by a killed process
        lock.unlink(missing_ok=True)
    return summary


def _read_notes(job: Job) -> Iterator[dict[str, Any]]:
    for block in range(job.plan.num_blocks):
        note = find_note(job.name_note(block), job.out)
        if note is None:
            raise UserError(f"{job.name_note(block)}: the files that it lists have changed; rerun the same command")
        yield note


def _write_annotations(job: Job) -> None:
    plan = job.plan
    side = plan.request.size_px
    info = {
        "description": f"{plan.request.count} {plan.request.part} composites of depthmask {__version__}",
        "depth": describe_depth(plan.encoder.scale),
    }

    def list_images() -> Iterator[dict[str, Any]]:
        for note in _read_notes(job):
            for row in note["rows"]:
                name = row["image"].partition("/")[2]
                stem = name.rpartition(".")[0]
                depth = {} if plan.encoder.scale is None else {"depth_file_name": f"{stem}.png"}
                clean = {"background_file_name": name} if plan.request.with_background else {}
                yield {
                    "id": row["index"] + 1,
                    "file_name": name,
                    "width": side,
                    "height": side,
                    "mask_file_name": f"{stem}.png",
                    **depth,
                    **clean,
                    "background": row["background"],
                    "cutout": row["cutout"],
                }

    def list_annotations() -> Iterator[dict[str, Any]]:
        return (row["instance"] for note in _read_notes(job) for row in note["rows"] if row["instance"] is not None)

    path = job.out / "annotations" / f"instances_{plan.request.part}.json"
    with replace_file(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        file.writelines(format_annotations(info, list_images(), list_annotations()))
