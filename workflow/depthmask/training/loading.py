"""Samples of a phase, and the order in which they become batches."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch.utils.data import DataLoader, Sampler

from depthmask.base.errors import UserError
from depthmask.base.orphans import START_METHOD
from depthmask.data.batch import Batch, ByteBatch
from depthmask.loading.dataset import SampleSet, open_samples
from depthmask.params import PhaseParams
from depthmask.runs.speed_options import SpeedOptions
from depthmask.training.distributed import ALONE, Processes
from depthmask.training.interruption import leave_ctrl_c
from depthmask.training.job import Job
from depthmask.training.state import State

LOADER = "in DataLoader worker process"  # of an error that was raised there


def open_part(job: Job, phase: PhaseParams, part: str, num_samples: int, with_background: bool) -> SampleSet:
    """Training or validation samples at the phase's size; only those of training are augmented, if the phase says so."""
    return open_samples(
        job.raw,
        job.split,
        part,
        image_size_px=phase.image_size_px,
        compose=job.compose,
        seed=job.seed,
        num_samples=num_samples,
        augment=job.augment if part == "train" and phase.augment else None,
        with_background=with_background,
    )


@dataclass(frozen=True)
class Places(Sampler):
    """The (epoch, index) of each batch from the batch `done` of a phase on, made when they are asked for.

    own: which of a batch's samples are wanted; None: all.
    """

    first_epoch: int
    num_epochs: int
    steps_per_epoch: int
    batch_size: int
    done: int = 0
    own: slice | None = None

    def __len__(self) -> int:
        return self.num_epochs * self.steps_per_epoch - self.done

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        for number in range(self.done, self.num_epochs * self.steps_per_epoch):
            epoch, step = divmod(number, self.steps_per_epoch)
            places = range(step * self.batch_size, (step + 1) * self.batch_size)
            yield [(self.first_epoch + epoch, place) for place in places[self.own or slice(None)]]


@contextlib.contextmanager
def tell_of_lost_loaders() -> Iterator[None]:
    """Within the block what torch makes of an error in a loader process is a line: of one that was killed, or of a mistake."""
    try:
        yield
    except UserError as error:
        if LOADER not in error.message:
            raise
        # torch has put the process's traceback into the message, whose last line is the error itself
        raise UserError(error.message.strip().splitlines()[-1].partition(": ")[2]) from error
    except RuntimeError as error:
        if not str(error).startswith("DataLoader worker"):
            raise
        raise UserError(
            "a process that loads samples was killed, by the system if memory ran out",
            hint="run the same command to go on from the last checkpoint; DEPTHMASK_WORKERS=0 does without such processes",
        ) from error


def load_fixed(samples: SampleSet, batch_size: int, processes: Processes = ALONE) -> Iterator[ByteBatch | int]:
    """Every sample once, in order; the last batch may be smaller. Of a batch that another process has, its size."""
    for number, start in enumerate(range(0, len(samples), batch_size)):
        places = [(0, index) for index in range(start, min(start + batch_size, len(samples)))]
        yield samples[places] if number % processes.count == processes.rank else len(places)


def load_batches(
    samples: SampleSet,
    phase: PhaseParams,
    steps_per_epoch: int,
    state: State,
    speed: SpeedOptions,
    device: torch.device,
    channels_last: bool,
    processes: Processes = ALONE,
) -> Iterator[Batch]:
    """This process's slices of the phase's batches from the state's place on.

    Epochs are numbered on from those the model has seen.
    """
    first = state.model.card.epochs + state.total_epochs - state.epoch
    done = state.epoch * steps_per_epoch + state.step
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "This DataLoader will create")  # more workers than cores were asked for
        loader = DataLoader(
            samples,
            sampler=Places(first, phase.epochs, steps_per_epoch, phase.batch_size, done, processes.cut(phase.batch_size)),
            batch_size=None,  # a sample set makes whole batches
            num_workers=speed.num_workers,
            multiprocessing_context=START_METHOD if speed.num_workers else None,
            pin_memory=device.type == "cuda",
            prefetch_factor=4 if speed.num_workers else None,
            worker_init_fn=leave_ctrl_c,
            generator=torch.Generator().manual_seed(0),  # its base seed is for draws that no sample makes
        )
        loaded = iter(loader)
    if device.type == "cuda":
        return _move_ahead(loaded, device, channels_last)
    return (batch.to(device, channels_last) for batch in loaded)


def _move_ahead(loaded: Iterator[ByteBatch], device: torch.device, channels_last: bool) -> Iterator[Batch]:
    """Copy each batch to the GPU, and make its floats, while the GPU computes with the one before."""
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
