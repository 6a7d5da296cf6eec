"""Samples of a phase, and their order in batches."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch.utils.data import Sampler

from depthmask.data.batch import Batch, ByteBatch
from depthmask.execution.speed_options import SpeedOptions
from depthmask.loading.dataset import SampleSet, open_samples
from depthmask.loading.loader import cut_places, load_ahead
from depthmask.params import PhaseParams
from depthmask.training.distributed import SINGLE_PROCESS, Processes
from depthmask.training.job import Job
from depthmask.training.state import State


def open_part(job: Job, phase: PhaseParams, part: str, num_samples: int, with_background: bool) -> SampleSet:
    """Training or validation samples at the phase's size; only training samples are augmented, if the phase has `augment`."""
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
class BatchIndexSampler(Sampler):
    """The (epoch, index) of every sample of each batch of a phase, starting at batch `done`; generated lazily.

    own: this process's samples of a batch; None: all.
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


def load_fixed(samples: SampleSet, batch_size: int, processes: Processes = SINGLE_PROCESS) -> Iterator[ByteBatch | int]:
    """Every sample once, in order; the last batch may be smaller. For another process's batch, only its size."""
    for number, places in enumerate(cut_places(range(len(samples)), batch_size)):
        yield samples[places] if number % processes.count == processes.rank else len(places)


def load_batches(
    samples: SampleSet,
    phase: PhaseParams,
    steps_per_epoch: int,
    state: State,
    speed: SpeedOptions,
    device: torch.device,
    channels_last: bool,
    processes: Processes = SINGLE_PROCESS,
) -> Iterator[Batch]:
    """This process's slices of the phase's batches, starting at the state's step.

    Epochs continue the numbering of those the model was already trained for.
    """
    first = state.model.card.epochs + state.total_epochs - state.epoch
    done = state.epoch * steps_per_epoch + state.step
    places = BatchIndexSampler(
        first, phase.epochs, steps_per_epoch, phase.batch_size, done, processes.slice_batch(phase.batch_size)
    )
    return load_ahead(samples, places, speed.num_workers, device, channels_last)
