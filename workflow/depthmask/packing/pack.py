"""Makes the stores of all sources with as many processes as allowed, or a single shard of each.

Finished shards are kept for the next run, under either tool, until the stores are complete.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from PIL import Image

from depthmask.base.errors import UserError
from depthmask.base.failures import explain_failure
from depthmask.base.files import hash_file, replace_folder
from depthmask.base.terminal import Bar, note
from depthmask.execution.worker_processes import WORKERS
from depthmask.execution.working_folder import find_folder, hold_folder, remove_others
from depthmask.packing.gathering import gather, write_nothing_to_pack
from depthmask.packing.shards import PackPlan, count_made, make_shard
from depthmask.params.mixture import name_keys
from depthmask.sources import RECORD, Source, open_source
from depthmask.sources.folders import find_key, find_name

ROOT = Path(".shards")
REPORT_EVERY_S = 0.2


class Packed(NamedTuple):
    """The record of a store, how many of its shards existed before, and its folder. name: of one of several sources."""

    name: str
    record: dict[str, Any]
    num_found: int
    folder: Path


def pack(raw: Path, out: Path, plan: PackPlan, num_processes: int, root: Path = ROOT) -> Packed | None:
    """Make the store of a single source; None if there is nothing to pack. Raises UserError as `pack_sources` does."""
    return next(iter(pack_sources({".": raw}, out, plan, num_processes, root)), None)


def pack_sources(
    raws: Mapping[str, Path], out: Path, plan: PackPlan, num_processes: int, root: Path = ROOT, other: str | None = None
) -> list[Packed]:
    """Make the store `out`, completely or not at all, from what was downloaded, by its place in the store; `.` is `out` itself.

    Returns what was packed; sources that are composed during training are not. Shards in `root` from a killed run or other
    processes are reused, and kept until all stores are complete. other: the name of the data set in `evaluate.more` that is
    packed; None: what is trained on.

    Raises:
        UserError: a composite is bad and on_bad_sample is error, or more are bad than good.
    """
    sources = {place: open_source(raw) for place, raw in raws.items()}
    works = {place: find_work(raws[place], plan, root, other) for place, source in sources.items() if source.composites}
    packed = []
    with contextlib.ExitStack() as stack:
        for place, work in works.items():
            works[place] = stack.enter_context(hold_folder(work, "packing"))
        num_found = {place: count_made(work, plan) for place, work in works.items()}
        for place, work in works.items():
            if num_found[place]:
                note(f"{num_found[place]} of {plan.num_shards} shards already exist in {work}")
            with name_keys(find_key(place, other)):
                make_shards(work, sources[place], plan, num_processes)
        with contextlib.nullcontext(out) if set(raws) == {"."} else replace_folder(out) as whole:
            for place, raw in raws.items():
                store = whole / place
                store.parent.mkdir(parents=True, exist_ok=True)
                if place in works:
                    key = find_key(place, other)
                    with name_keys(key):
                        record = gather(works[place], sources[place], plan, store, num_processes, key)
                    name = find_name(place, record)
                    packed.append(Packed(name, record, num_found[place], out / place))
                else:
                    write_nothing_to_pack(raw, store)
    for work in works.values():
        remove_others(work)
    return packed


def pack_shard(raws: Mapping[str, Path], plan: PackPlan, shard: int, root: Path = ROOT, other: str | None = None) -> list[Path]:
    """Make one shard of each store and return their folders, none if there is nothing to pack. other: as in `pack_sources`.

    Raises:
        UserError: as `pack_sources`.
    """
    made = []
    for place, raw in raws.items():
        source = open_source(raw)
        if source.composites:
            with name_keys(find_key(place, other)):
                made.append(make_shard(find_work(raw, plan, root, other), source, plan, shard, advance=lambda: None))
    return made


def find_work(raw: Path, plan: PackPlan, root: Path, other: str | None = None) -> Path:
    """Where shards are made: only runs with the same source, plan, code and decoders can reuse them.

    other: as in `pack_sources`; each set's folders have a name of their own, or one would take another's for leftovers.
    """
    decoders = {"numpy": np.__version__, "opencv": cv2.__version__, "pillow": Image.__version__}
    decides = {"sizes_px": plan.sizes_px, "fit": plan.fit, "num_shards": plan.num_shards, "decoders": decoders}
    name = "pack" if other is None else f"pack_other_{other}"
    return find_folder(name, decides | {"source": hash_file(raw / RECORD)}, "stages.pack", root)


def make_shards(folder: Path, source: Source, plan: PackPlan, num_processes: int) -> None:
    """Make every shard; process k of N makes shards k, k + N, and so on. Raises UserError as `pack_sources` does."""
    num_processes = min(num_processes, plan.num_shards)
    if num_processes == 1:
        with Bar("packing", source.noun, len(source.composites)) as bar:
            for shard in range(plan.num_shards):
                make_shard(folder, source, plan, shard, bar.advance)
        return
    counts = WORKERS.Array("q", num_processes, lock=False)
    workers = []
    try:
        for number in range(num_processes):
            shards = range(number, plan.num_shards, num_processes)
            workers.append(Worker((folder, source, plan, shards, counts, number)))
        waiting = {worker.connection: worker for worker in workers}
        with Bar("packing", source.noun, len(source.composites)) as bar:
            while waiting:
                for connection in wait(list(waiting), REPORT_EVERY_S):
                    waiting.pop(connection).raise_error()
                bar.show(sum(counts))
    finally:
        for worker in workers:
            worker.stop()


class Worker:
    """A process that makes shards, and a pipe on which it reports the outcome."""

    def __init__(self, work: tuple):
        self.connection, theirs = WORKERS.Pipe(duplex=False)
        self._process = WORKERS.Process(target=_make_some, args=(theirs, *work), daemon=True)
        self._process.start()
        theirs.close()  # so that its end of the pipe closes when it dies

    def raise_error(self) -> None:
        """Wait for its outcome, and raise its error if there was one."""
        try:
            error = self.connection.recv()
        except EOFError:
            self._process.join()
            error = UserError(f"a packing process died (exit code {self._process.exitcode}); is there enough memory?")
        if error is not None:
            raise error

    def stop(self) -> None:
        self._process.terminate()
        self._process.join()


def _make_some(
    connection: Connection, folder: Path, source: Source, plan: PackPlan, shards: Sequence[int], counts: Any, number: int
) -> None:
    def advance() -> None:
        counts[number] += 1
        if not multiprocessing.parent_process().is_alive():
            os._exit(1)  # the parent is gone, and the system did not end this process: not Linux

    try:
        for shard in shards:
            make_shard(folder, source, plan, shard, advance)
    except Exception as error:
        known = error if isinstance(error, UserError | OSError) else explain_failure(error, "pack")
        if known is None:
            raise
        connection.send(known)
    else:
        connection.send(None)
