"""Samples of a phase, and the order in which they become batches."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import torch
from torch.utils.data import DataLoader

from depthmask.dataset import Batch, SampleSet, collate, open_samples
from depthmask.params import PhaseParams
from depthmask.training.job import Job
from depthmask.training.runtime import SpeedOptions
from depthmask.training.state import State


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


def load_fixed(samples: SampleSet, batch_size: int) -> Iterator[Batch]:
    """Every sample once, in order; the last batch may be smaller."""
    for start in range(0, len(samples), batch_size):
        yield collate([samples.sample(i) for i in range(start, min(start + batch_size, len(samples)))])


def load_batches(
    samples: SampleSet, phase: PhaseParams, steps_per_epoch: int, state: State, speed: SpeedOptions, pin_memory: bool
) -> Iterator[Batch]:
    """The batches of the phase from the state's place on; epochs are numbered on from those the model has seen."""
    first = state.model.card.epochs + state.total_epochs - state.epoch
    places = [(epoch, step) for epoch in range(phase.epochs) for step in range(steps_per_epoch)]
    done = state.epoch * steps_per_epoch + state.step
    batches = [[(first + epoch, step * phase.batch_size + i) for i in range(phase.batch_size)] for epoch, step in places[done:]]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "This DataLoader will create")  # more workers than cores were asked for
        loader = DataLoader(
            samples,
            batch_sampler=batches,
            collate_fn=collate,
            num_workers=speed.num_workers,
            pin_memory=pin_memory,
            prefetch_factor=4 if speed.num_workers else None,
            generator=torch.Generator().manual_seed(0),  # its base seed is for draws that no sample makes
        )
        return iter(loader)
