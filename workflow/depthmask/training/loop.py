"""The training loop: phases of epochs of steps, each step a pure function of the weights and of (seed, epoch, index).

Read from the top: `train` runs the phases, `_run_phase` the epochs, `_run_epoch` the steps. Whatever a step changes is
in `State`, which is saved as a whole, so that a run that was killed goes on at the step after its last checkpoint and ends
with the same bytes.
"""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from depthmask.base.errors import Interrupted, UserError
from depthmask.data.batch import Batch, ByteBatch
from depthmask.data.keyed_random import STEP, draw_seed
from depthmask.loading.dataset import SampleSet
from depthmask.loading.loader import explain_lost_workers
from depthmask.models.model_file import DepthMaskModel
from depthmask.params import PhaseParams
from depthmask.runs.speed_options import SpeedOptions
from depthmask.training.accumulate import WholeBatch, find_micro_batch
from depthmask.training.checkpoint import BadCheckpoint, Saved, find_state, load_state, name_best
from depthmask.training.compiling import compile_model
from depthmask.training.distributed import Processes, join_processes
from depthmask.training.fabric import Fabric
from depthmask.training.finite import FiniteWatch
from depthmask.training.freezing import freeze_other_branch, set_training
from depthmask.training.interruption import note_stop_signals
from depthmask.training.job import Job
from depthmask.training.loading import load_batches, load_fixed, open_part
from depthmask.training.objective import Objective, find_device_of_sums, make_objective, validate
from depthmask.training.progress import Progress
from depthmask.training.schedules import make_optimizer, make_scheduler, steps_each_epoch
from depthmask.training.state import State, require_fitting
from depthmask.training.timing import Stopwatch


@dataclass(frozen=True)
class Run:
    """What stays the same from the first step of a training to its last. folder: of checkpoints."""

    job: Job
    fabric: Fabric
    processes: Processes
    speed: SpeedOptions
    folder: Path
    progress: Progress
    stopwatch: Stopwatch
    find_signal: Callable[[], int | None]  # by which it is to stop


@dataclass(frozen=True)
class Course:
    """What stays the same within a phase. frozen: modules that stand still."""

    phase: PhaseParams
    objective: Objective
    steps_per_epoch: int
    frozen: list[torch.nn.Module]
    whole_batch: WholeBatch
    watch: FiniteWatch
    optimizer: torch.optim.Optimizer
    validation_batches: list[ByteBatch | int]


def train(model: DepthMaskModel, job: Job, fabric: Fabric, speed: SpeedOptions, folder: Path, progress: Progress) -> State:
    """Run every phase of a job from `model`, or go on from the checkpoint in `folder`; the result is `State.scored_model`.

    Raises:
        UserError: the loss became infinite or not a number (before the weights took it in), there are too few samples, or a
            process that loads them was killed.
        Interrupted: SIGTERM or Ctrl-C arrived; the state is saved.
    """
    state, processes = State(model.to(fabric.device)), join_processes(fabric)
    require = partial(require_fitting, phases=job.phases, model=state.model)
    saved = find_state(folder, require, set_bad_aside=processes.is_first)
    if saved is not None:
        state.load_counters(saved.values)
    if processes.is_any(processes.find_most(state.total_steps) != state.total_steps):
        raise UserError(f"{folder}: the processes of this training do not read the same checkpoint; is its disk in order?")
    with note_stop_signals() as find_signal, explain_lost_workers():
        run = Run(job, fabric, processes, speed, folder, progress, Stopwatch(fabric.device, speed.times), find_signal)
        for number in range(state.phase, len(job.phases)):
            with freeze_other_branch(state.model, job.phases[number].tasks) as frozen:
                _run_phase(state, run, job.phases[number], frozen, saved)
            saved = None
    processes.wait()  # the first may now remove the checkpoints
    state.times = run.stopwatch.summarise()
    progress.end_training(state.times)
    return state


def _run_phase(state: State, run: Run, phase: PhaseParams, frozen: list[torch.nn.Module], saved: Saved | None) -> None:
    job, fabric, processes = run.job, run.fabric, run.processes
    samples = open_part(job, phase, "train", phase.samples_per_epoch, state.model.background_input)
    steps_per_epoch = len(samples) // phase.batch_size
    if steps_per_epoch == 0:
        raise UserError(f"{job.stage}.batch_size: {phase.batch_size} is above the {len(samples)} training composites; lower it")
    validation = open_part(job, phase, "validation", phase.validation_samples, state.model.background_input)
    validation_batches = _load_validation(validation, run, phase)
    if job.compute.channels_last:
        state.model.to(memory_format=torch.channels_last)
    state.ema = None
    if phase.ema_decay is not None:
        state.ema = AveragedModel(state.model, multi_avg_fn=_make_average(state, phase, steps_per_epoch), use_buffers=True)
    state.optimizer = make_optimizer(state.model, phase, fused=fabric.device.type in ("cuda", "cpu"))
    state.scheduler = make_scheduler(state.optimizer, phase, steps_per_epoch)
    objective = make_objective(phase, job.loss)
    state.sums = torch.zeros(len(objective.name_columns()), dtype=torch.float64, device=find_device_of_sums(fabric))
    if saved is not None:
        try:
            state.load_rest(saved)
        except (KeyError, IndexError, TypeError, ValueError, RuntimeError) as error:  # whole, but never written by this code
            raise UserError(f"{run.folder}: its checkpoint is not of this training; remove the folder to start again") from error
    watch = FiniteWatch(job.stage, objective.name_columns(), steps_per_epoch, state.optimizer, fabric.device)
    whole_batch, optimizer = _set_up(state, run, phase, objective)
    course = Course(phase, objective, steps_per_epoch, frozen, whole_batch, watch, optimizer, validation_batches)
    batches = load_batches(samples, phase, steps_per_epoch, state, run.speed, fabric.device, job.compute.channels_last, processes)
    run.progress.start_phase(state, phase, steps_per_epoch)
    while state.epoch < phase.epochs and not _is_over(state, phase):
        _run_epoch(state, run, course, batches)
        _end_epoch(state, run, course)
    _end_phase(state, phase, run.folder)


def _load_validation(samples: SampleSet, run: Run, phase: PhaseParams) -> list[ByteBatch | int]:
    """The fixed batches, which are kept in memory; many take a while, and a request to stop is heard meanwhile."""
    batches = []
    for batch in load_fixed(samples, phase.batch_size, run.processes):
        batches.append(batch)
        stopped_by = run.find_signal()
        if stopped_by is not None:
            raise Interrupted(f"{run.job.stage}: stopped before a step of this phase; run the same command again", stopped_by)
    return batches


def _set_up(state: State, run: Run, phase: PhaseParams, objective: Objective) -> tuple[WholeBatch, torch.optim.Optimizer]:
    """How the phase's gradients are computed on this device, and the optimiser as Fabric hands it back."""
    job, fabric, processes = run.job, run.fabric, run.processes
    known = state.computed[state.phase] if len(state.computed) > state.phase else {}
    record = {name: known[name] for name in ("micro_batch", "micro_batch_because") if name in known}
    record |= {"image_size_px": phase.image_size_px, "batch_size": phase.batch_size, "processes": processes.count}
    state.computed[state.phase :] = [record]
    if processes.count > 1 and fabric.device.type == "cuda":
        record |= find_micro_batch(state.model, objective, fabric, processes, phase.batch_size, phase.image_size_px)
    at_once = min(phase.batch_size, run.speed.micro_batch or phase.batch_size)
    network, record["compile"] = state.model, "off"
    if job.compute.compile:
        network, record["compile"] = compile_model(state.model, fabric, at_once, phase.image_size_px)
        run.progress.tell(f"compute.compile: {record['compile']}")
    fabric_model, optimizer = fabric.setup(network, state.optimizer)
    whole_batch = WholeBatch(
        state.model,
        fabric_model,
        objective,
        fabric,
        processes,
        run.stopwatch,
        phase.batch_size,
        run.speed.micro_batch,
        record,
        run.progress.tell,
    )
    return whole_batch, optimizer


def _run_epoch(state: State, run: Run, course: Course, batches: Iterator[Batch]) -> None:
    job, measure = run.job, run.stopwatch.measure
    set_training(state.model, course.frozen)
    saved_at = time.monotonic()
    while state.step < course.steps_per_epoch:
        with measure("load"):
            batch = next(batches)
        # for layers that draw at random, should a network have any
        seed = draw_seed(job.seed, STEP, state.model.card.epochs + state.total_epochs, state.step)
        loss, terms = course.whole_batch.compute(batch, seed)
        values = torch.stack([loss, *(value.detach() for value in terms.values())])
        course.watch.note(values, state.epoch * course.steps_per_epoch + state.step)
        with measure("optimizer"):
            _update(state, course)
        state.sums += values.to(state.sums)
        state.step += 1
        state.total_steps += 1
        run.progress.advance(course.phase.batch_size)
        due = run.speed.checkpoint_steps and state.total_steps % run.speed.checkpoint_steps == 0
        is_stopped = run.processes.is_any(run.find_signal() is not None)
        if due or is_stopped or time.monotonic() - saved_at > 60 * run.speed.checkpoint_minutes:
            _save(state, run, course)
            saved_at = time.monotonic()
        if is_stopped:
            run.processes.wait()  # for the first to have saved
            raise Interrupted(
                f"{job.stage}: stopped and saved at step {state.total_steps}; rerun the same command to resume",
                run.find_signal() or signal.SIGTERM,  # another process's
            )


def _save(state: State, run: Run, course: Course) -> None:
    """Write the state, which is the same in every process, once; nothing that followed on a loss that is not finite."""
    if run.processes.is_first:
        course.watch.look()
        state.save(run.folder)


def _update(state: State, course: Course) -> None:
    """From gradients to weights, their moving average and the next rate."""
    if course.phase.clip_norm is not None:
        torch.nn.utils.clip_grad_norm_(state.model.parameters(), course.phase.clip_norm)
    course.optimizer.step()
    state.rate = course.optimizer.param_groups[0]["lr"]
    if not steps_each_epoch(state.scheduler):
        state.scheduler.step()
    if state.ema is not None:
        state.ema.update_parameters(state.model)


def _end_epoch(state: State, run: Run, course: Course) -> None:
    """Validate, write the epoch's row, step an epoch-wise schedule, keep the best weights."""
    course.watch.look()
    train_means = (state.sums / course.steps_per_epoch).tolist()
    channels_last = run.job.compute.channels_last
    validation = validate(
        state.scored_model, course.validation_batches, course.objective, run.fabric, channels_last, run.processes
    )
    state.sums.zero_()
    state.step = 0
    state.epoch += 1
    state.total_epochs += 1
    row = {"phase": state.phase + 1, "epoch": state.total_epochs, "step": state.total_steps, "learning_rate": state.rate}
    row |= {f"train_{name}": value for name, value in zip(course.objective.name_columns(), train_means, strict=True)}
    row |= {f"validation_{name}": value for name, value in validation.items()}
    state.history.append({name: float(f"{v:.6g}") if isinstance(v, float) else v for name, v in row.items()})
    if steps_each_epoch(state.scheduler):
        state.scheduler.step(validation["loss"])
    if validation["loss"] < state.best_loss:
        state.best_loss, state.epochs_without_better = validation["loss"], 0
        if course.phase.keep == "best" and run.processes.is_first:
            state.save_best(run.folder)
    else:
        state.epochs_without_better += 1
    run.progress.end_epoch(state.history[-1], run.stopwatch.end_epoch())
    if run.processes.is_first:
        run.progress.show(run.job, state, course.validation_batches[0].to(run.fabric.device))
    _save(state, run, course)
    run.processes.wait()  # for the first to have saved


def _end_phase(state: State, phase: PhaseParams, folder: Path) -> None:
    """Put the weights that the phase hands on into the model, and count the phase as done."""
    if phase.keep == "best" and math.isfinite(state.best_loss):
        try:
            best = load_state(folder / name_best(state.phase))  # it stays: a run may come back to here
        except BadCheckpoint as error:
            raise UserError(f"{error}; run the same command again, it starts from scratch if need be") from error
        state.scored_model.load_state_dict(best.tensors)
    if state.ema is not None:
        state.model.load_state_dict(state.ema.module.state_dict())
        state.ema = None
    state.phase += 1
    state.epoch, state.best_loss, state.epochs_without_better = 0, float("inf"), 0


def _make_average(state: State, phase: PhaseParams, steps_per_epoch: int) -> Callable:
    """A moving average whose memory grows to `ema_decay`, so that a short phase is not held by the weights it began with."""

    def average(means: list[torch.Tensor], values: list[torch.Tensor], num_averaged: torch.Tensor) -> None:
        done = state.epoch * steps_per_epoch + state.step
        get_ema_multi_avg_fn(min(phase.ema_decay, (1 + done) / (10 + done)))(means, values, num_averaged)

    return average


def _is_over(state: State, phase: PhaseParams) -> bool:
    return phase.early_stop_epochs is not None and state.epochs_without_better >= phase.early_stop_epochs
