"""Loads batches of a sample set in a given order: one by one in this process, or ahead of time in worker processes."""

from __future__ import annotations

import contextlib
import re
import signal
import warnings
from collections.abc import Callable, Iterator, Sequence

import cv2
import torch
from torch.utils.data import DataLoader, Sampler

from depthmask.base.errors import Interrupted, UserError
from depthmask.base.stop_signals import name_signal
from depthmask.data.batch import Batch, ByteBatch
from depthmask.execution.worker_processes import WORKERS
from depthmask.loading.dataset import SampleSet
from depthmask.loading.sockets import prepare_socket_folder

WORKER = "in DataLoader worker process"  # marks an error raised in a worker
KILLED_BY = re.compile(r"is killed by signal: (.+?)\. ")  # torch's words, with the system's name of the signal


def cut_places(indices: Sequence[int], batch_size: int) -> Iterator[list[tuple[int, int]]]:
    """Batches of (epoch, index) for samples that are the same in every epoch; the last may be smaller."""
    for start in range(0, len(indices), batch_size):
        yield [(0, index) for index in indices[start : start + batch_size]]


def load_in_order(samples: SampleSet, batch_size: int, indices: Sequence[int] | None = None) -> Iterator[ByteBatch]:
    """The samples of `indices` (None: every sample) once, in order."""
    for places in cut_places(range(len(samples)) if indices is None else indices, batch_size):
        yield samples[places]


def load_ahead(
    samples: SampleSet, places: Sampler[list[tuple[int, int]]], num_workers: int, device: torch.device, channels_last: bool
) -> Iterator[Batch]:
    """Yield the batches of `places` on the device, loading ahead; num_workers 0: load each on demand.

    Raises:
        UserError: TMPDIR is too long for the workers' sockets, and there is no other folder for them.
    """
    if num_workers:
        prepare_socket_folder()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "This DataLoader will create")  # more workers than cores were requested
        loader = DataLoader(
            samples,
            sampler=places,
            batch_size=None,  # a sample set makes whole batches
            num_workers=num_workers,
            multiprocessing_context=WORKERS if num_workers else None,
            pin_memory=device.type == "cuda",
            prefetch_factor=4 if num_workers else None,
            worker_init_fn=_prepare_worker,
            generator=torch.Generator().manual_seed(0),  # its base seed is not used by any sample
        )
        loaded = iter(loader)
    if num_workers:
        loaded = _take_from_workers(loaded)
    if device.type == "cuda":
        return _move_ahead(loaded, device, channels_last)
    return (batch.to(device, channels_last) for batch in loaded)


def _take_from_workers(loaded: Iterator[ByteBatch]) -> Iterator[ByteBatch]:
    """The same batches; a worker killed while it hands one over is reported as torch reports every other lost worker.

    torch asks at the moment of the error whether a worker is dead, and the system may not have ended it yet.
    """
    while True:
        try:
            batch = next(loaded)
        except StopIteration:
            return
        except (ConnectionError, EOFError) as error:
            if WORKER in str(error):  # an error of the sample set itself, raised in a worker
                raise
            raise RuntimeError("DataLoader worker was lost while it handed over a batch") from error
        yield batch


def _move_ahead(loaded: Iterator[ByteBatch], device: torch.device, channels_last: bool) -> Iterator[Batch]:
    """Copy each batch to the GPU and convert it to floats while the GPU works on the one before."""
    aside = torch.cuda.Stream(device)

    def move() -> Batch | None:
        batch = next(loaded, None)
        if batch is None:
            return None
        with torch.cuda.stream(aside):
            return batch.to(device, channels_last)

    ahead = move()
    while ahead is not None:
        torch.cuda.current_stream(device).wait_stream(aside)
        batch = ahead.keep_for(torch.cuda.current_stream(device))
        ahead = move()
        yield batch


def _prepare_worker(_: int) -> None:
    cv2.setNumThreads(0)  # a process that was not forked has OpenCV's default


@contextlib.contextmanager
def explain_lost_workers(find_signal: Callable[[], int | None] = lambda: None) -> Iterator[None]:
    """Within the block, errors from worker processes become one line: a killed worker, or a user's mistake.

    find_signal: returns the signal that asked this process to stop, if one has arrived.
    """
    try:
        yield
    except UserError as error:
        if WORKER not in error.message:
            raise
        # torch puts the worker's traceback into the message; its last line is the error itself
        raise UserError(error.message.strip().splitlines()[-1].partition(": ")[2]) from error
    except RuntimeError as error:
        if not str(error).startswith("DataLoader worker"):
            raise
        stopped_by = find_signal()
        if stopped_by is not None:  # and then killed, as schedulers do if a job takes too long to stop
            raise Interrupted(
                f"stopped by {name_signal(stopped_by)}; a data-loader worker was killed before the step could be saved;"
                " rerun the same command to resume from the last checkpoint",
                stopped_by,
            ) from error
        raise UserError(
            f"a data-loader worker was killed{_explain_kill(str(error))}",
            hint="rerun the same command to resume from the last checkpoint; DEPTHMASK_WORKERS=0 loads without workers",
        ) from error


def _explain_kill(message: str) -> str:
    """What may have killed a worker: the system kills by SIGKILL where memory runs out, everything else has another cause."""
    found = KILLED_BY.search(message)
    numbers = [number for number in signal.Signals if found is not None and signal.strsignal(number) == found[1]]
    if not numbers or numbers[0] in (signal.SIGKILL, signal.SIGBUS):  # SIGBUS: shared memory ran out
        return ", probably out of memory"
    return f" by {numbers[0].name}"
