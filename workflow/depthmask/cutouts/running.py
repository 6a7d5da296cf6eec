"""Makes all pictures, several at once, and resumes where an earlier call stopped."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from itertools import islice

import cv2

from depthmask.base.errors import Interrupted, UserError
from depthmask.base.files import hold_lock
from depthmask.base.terminal import Bar
from depthmask.cutouts.making import make
from depthmask.cutouts.objects import Picture
from depthmask.cutouts.plan import Plan, Result, Task
from depthmask.cutouts.workplace import Workplace
from depthmask.data.images import silence_pillow
from depthmask.execution.worker_processes import WORKERS

BEGUN_PER_WORKER = 4
ADVICE = "set --workers lower, or shrink the pictures"


@dataclass(frozen=True)
class Job:
    """All pictures, and a task for each."""

    plan: Plan
    pictures: Sequence[Picture]
    tasks: Sequence[Task]


@dataclass(frozen=True)
class Outcome:
    """Results in the order of the pictures; num_resumed: how many of them an earlier call made."""

    results: list[Result]
    num_resumed: int


def run(job: Job, workplace: Workplace, num_workers: int, replace: bool) -> Outcome:
    """Make what is not there yet. The result is the same with any number of workers, and after any number of kills.

    Raises:
        UserError: the folder is somebody else's or in use, a process died, or the network cannot be loaded.
        Interrupted: Ctrl-C or a signal to stop; finished pictures are kept.
    """
    workplace.validate(replace)
    with hold_lock(workplace.own, refusal=f"--out {workplace.out}: another process is writing there; wait for it or stop it"):
        workplace.prepare(replace)
        done = workplace.read_done(job.pictures, job.tasks)
        workplace.write_journal(done, job.pictures, job.tasks)
        num_resumed = len(done)
        missing = [task for task in job.tasks if task.number not in done]
        try:
            _make_missing(job, workplace, missing, done, num_workers)
        except KeyboardInterrupt:
            kept = f"{len(done):,} of {len(job.tasks):,} pictures are done; rerun the same command to continue"
            raise Interrupted.by_signal("cutouts", kept) from None
        results = [done[task.number] for task in job.tasks]
        workplace.remove_strays(results, job.tasks)
        workplace.write_journal(done, job.pictures, job.tasks)
    return Outcome(results, num_resumed)


def _make_missing(job: Job, workplace: Workplace, missing: list[Task], done: dict[int, Result], num_workers: int) -> None:
    """Fill `done`, and note each picture in the journal after its files are there."""
    results = _make_in_processes(job, missing, num_workers) if num_workers > 1 and len(missing) > 1 else _make_here(job, missing)
    with Bar("cutting out", "pictures", len(job.tasks)) as bar:
        bar.start(len(done), len(job.tasks))
        for result in results:
            workplace.append(result, job.pictures[result.number], job.tasks[result.number])
            done[result.number] = result
            bar.advance()


def _make_here(job: Job, missing: list[Task]) -> Iterator[Result]:
    silence_pillow()
    for task in missing:
        yield make(job.pictures[task.number], task, job.plan)


def _make_in_processes(job: Job, missing: list[Task], num_workers: int) -> Iterator[Result]:
    """Results in the order in which they are finished."""
    pool = ProcessPoolExecutor(min(num_workers, len(missing)), WORKERS, initializer=_start_worker, initargs=(job,))
    try:
        waiting = iter(missing)
        begun: set[Future] = {pool.submit(_make_one, task.number) for task in islice(waiting, BEGUN_PER_WORKER * num_workers)}
        while begun:
            finished, begun = wait(begun, return_when=FIRST_COMPLETED)
            begun |= {pool.submit(_make_one, task.number) for task in islice(waiting, len(finished))}
            yield from (future.result() for future in finished)
    except BrokenProcessPool as error:
        raise UserError(f"a worker process was killed, probably out of memory; {ADVICE}") from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


_job: Job | None = None  # of a worker process


def _start_worker(job: Job) -> None:
    global _job
    silence_pillow()
    cv2.setNumThreads(0)  # processes share the cores; 1 would wait forever for threads that a fork has not copied
    _job = job


def _make_one(number: int) -> Result:
    assert _job is not None
    return make(_job.pictures[number], _job.tasks[number], _job.plan)
