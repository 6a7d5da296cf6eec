"""Makes the blocks that are missing, several at once, or one shard's share of them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import cv2

from depthmask.base.errors import UserError
from depthmask.base.files import TEMPORARY, JsonError, read_json, write_json
from depthmask.base.terminal import Bar
from depthmask.dataset.about import RECORD
from depthmask.dataset.plan import BLOCK, describe_differences
from depthmask.dataset.writing import OWN, Job, find_note
from depthmask.download.space import require_space
from depthmask.execution.worker_processes import WORKERS
from depthmask.sources.layout import choose_spread

SETTINGS = "settings.json"
NUM_MEASURED = 8  # composites that are encoded to learn how many bytes one takes
DISK_BLOCK = 4096  # bytes: a file takes whole ones on most disks


def prepare_folder(job: Job) -> None:
    """Check that the folder is new, or of an earlier call with the same settings, finished or not; then claim it.

    Raises:
        UserError: there are files of somebody else's, or of a call with other settings.
    """
    out, settings = job.out, job.plan.settings
    if out.exists() and not out.is_dir():
        raise UserError(f"--out {out}: is not a folder; name a folder")
    path = job.own / SETTINGS
    if not path.is_file():
        found = sorted(entry.name for entry in out.iterdir() if not _is_ours(entry)) if out.is_dir() else []
        if not found:
            write_json(path, settings)
            return
        if not path.is_file():  # not of another shard that has begun since
            raise UserError(f"--out {out}: contains {found[0]}, which this command did not write; name another folder")
    try:
        earlier = read_json(path)
    except JsonError as error:
        raise UserError(f"{path}: damaged ({error.reason}); remove {out}, or name another folder") from error
    differences = describe_differences(earlier if isinstance(earlier, dict) else {}, settings)
    if differences:
        raise UserError(f"--out {out}: was made with other settings ({differences}); remove it, or name another folder")


def _is_ours(entry: Path) -> bool:
    return entry.name == OWN or TEMPORARY.fullmatch(entry.name) is not None


def choose_blocks(num_blocks: int, shard: tuple[int, int] | None) -> range:
    """All blocks, or those of a shard (K, N), K from 1: consecutive, and a share that differs by at most one block."""
    if shard is None:
        return range(num_blocks)
    number, of = shard
    return range((number - 1) * num_blocks // of, number * num_blocks // of)


def make_missing(job: Job, blocks: Sequence[int], num_processes: int) -> tuple[int, int]:
    """Make the blocks that are not there yet; how many composites are made and how many were there.

    The bytes are the same with any number of processes, and after any number of kills.

    Raises:
        UserError: the disk lacks space, a process died, or an asset cannot be read.
    """
    missing = [block for block in blocks if find_note(job.name_note(block), job.out) is None]
    num = sum(len(job.plan.list_indices(block)) for block in blocks)
    num_missing = sum(len(job.plan.list_indices(block)) for block in missing)
    if missing:
        (job.out / RECORD).unlink(missing_ok=True)  # it says that everything is there
        _require_room(job, missing, num_missing)
        made = _make_in_processes(job, missing, num_processes) if num_processes > 1 and len(missing) > 1 else _make(job, missing)
        with Bar("writing", "composites", num) as bar:
            bar.start(num - num_missing, num)
            for block in made:
                bar.advance(len(job.plan.list_indices(block)))
    return num_missing, num - num_missing


def _require_room(job: Job, missing: Sequence[int], num_missing: int) -> None:
    """Raise UserError unless the disk has room, measured on a few of the composites themselves."""
    num_files, num_bytes = 0, 0
    indices = choose_spread([index for block in missing for index in job.plan.list_indices(block)], NUM_MEASURED)
    for index in indices:
        for files, _ in job.make_files(range(index, index + 1)):
            num_files += len(files)
            num_bytes += sum(-(-len(content) // DISK_BLOCK) * DISK_BLOCK for _, content in files)
    scale = num_missing / max(1, len(indices))
    require_space(job.out, round(num_bytes * scale))
    status, wanted = os.statvfs(job.out), round(num_files * scale)
    if status.f_files and status.f_favail < wanted:
        raise UserError(
            f"{job.out}: {wanted:,} files needed, and the disk has room for {status.f_favail:,} (inodes); name a folder on"
            " another disk"
        )


def _make(job: Job, blocks: Sequence[int]) -> Iterator[int]:
    cv2.setNumThreads(0)
    for block in blocks:
        job.make_block(block)
        yield block


def _make_in_processes(job: Job, blocks: Sequence[int], num_processes: int) -> Iterator[int]:
    """The blocks in the order in which they are finished."""
    pool = ProcessPoolExecutor(min(num_processes, len(blocks)), WORKERS, initializer=_start_worker, initargs=(job,))
    try:
        for future in as_completed([pool.submit(_make_one, block) for block in blocks]):
            yield future.result()
    except BrokenProcessPool as error:
        raise UserError(
            f"a worker process was killed, probably out of memory; blocks of {BLOCK} composites that are finished are kept;"
            " DEPTHMASK_WORKERS=1 takes least"
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


_job: Job | None = None  # of a worker process


def _start_worker(job: Job) -> None:
    global _job
    cv2.setNumThreads(0)  # processes share the cores; 1 would wait forever for threads that a fork has not copied
    _job = job


def _make_one(block: int) -> int:
    assert _job is not None
    _job.make_block(block)
    return block
