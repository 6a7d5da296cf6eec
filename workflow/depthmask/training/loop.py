"""The training loop: phases of epochs of steps, each step a pure function of the weights and of (seed, epoch, index).

Read from the top: `train` runs the phases, `_run_phase` the epochs, `_run_epoch` the steps. Whatever a step changes is
in `State`, which is saved as a whole, so that a killed training resumes at the step after its last checkpoint and produces
the same bytes.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from depthmask.base.errors import Interrupted, UserError
from depthmask.base.stop_signals import name_signal
from depthmask.base.terminal import NOTHING_KEPT
from depthmask.data.batch import Batch, ByteBatch
from depthmask.execution.speed_options import SpeedOptions
from depthmask.keyed_random import STEP, draw_seed
from depthmask.loading.dataset import SampleSet
from depthmask.loading.loader import explain_lost_workers
from depthmask.models.model_file import DepthMaskModel
from depthmask.params import PhaseParams
from depthmask.training.accumulate import GradientAccumulator, find_micro_batch_size
from depthmask.training.checkpoint import BadCheckpoint, SavedState, find_state, load_state, name_best
from depthmask.training.compiling import compile_model
from depthmask.training.distributed import Processes, join_processes
from depthmask.training.fabric import Fabric
from depthmask.training.finite import FiniteWatch
from depthmask.training.freezing import freeze_modules, list_tasks, set_training
from depthmask.training.interruption import note_stop_signals
from depthmask.training.job import Job
from depthmask.training.loading import load_batches, load_fixed, open_part
from depthmask.training.moving_average import MovingAverage
from depthmask.training.objective import Objective, choose_device_of_sums, choose_truth, make_objective, validate
from depthmask.training.progress import Progress
from depthmask.training.schedules import make_optimizer, make_scheduler, steps_each_epoch
from depthmask.training.state import State, validate_checkpoint
from depthmask.training.stopping import find_stop
from depthmask.training.timing import Stopwatch


@dataclass(frozen=True)
class TrainContext:
    """What stays the same during a whole training. folder: of checkpoints."""

    job: Job
    fabric: Fabric
    processes: Processes
    speed: SpeedOptions
    folder: Path
    progress: Progress
    stopwatch: Stopwatch
    find_signal: Callable[[], int | None]  # that asked this process to stop

    def find_stop(self) -> int | None:
        """The signal that asked any process of the training to stop; all processes must call this at the same point."""
        return self.processes.all_reduce_max(self.find_signal() or 0) or None


@dataclass(frozen=True)
class PhaseContext:
    """What stays the same during a phase. frozen: modules that are not trained."""

    params: PhaseParams
    objective: Objective
    steps_per_epoch: int
    frozen: list[torch.nn.Module]
    accumulator: GradientAccumulator
    watch: FiniteWatch
    optimizer: torch.optim.Optimizer
    validation_batches: list[ByteBatch | int]


def train(model: DepthMaskModel, job: Job, fabric: Fabric, speed: SpeedOptions, folder: Path, progress: Progress) -> State:
    """Run every phase of a job from `model`, or resume from the checkpoint in `folder`; the result is `State.scored_model`.

    Raises:
        DivergedError: the loss became infinite or NaN; that never reaches the weights.
        UserError: there are too few samples, or a data-loader worker was killed.
        Interrupted: Ctrl-C or one of STOP_SIGNALS arrived; the state is saved.
    """
    state, processes = State(model.to(fabric.device)), join_processes(fabric)
    validate_saved = partial(validate_checkpoint, phases=job.phases, model=state.model)
    saved = find_state(folder, validate_saved, set_bad_aside=processes.is_first)
    if saved is not None:
        state.load_counters(saved.values)
    if processes.is_any(processes.all_reduce_max(state.total_steps) != state.total_steps):
        raise UserError(f"{folder}: the processes of this training read different checkpoints; is it on a disk that they share?")
    with note_stop_signals() as find_signal, explain_lost_workers(find_signal):
        context = TrainContext(
            job, fabric, processes, speed, folder, progress, Stopwatch(fabric.device, speed.times), find_signal
        )
        for number in range(state.phase, len(job.phases)):
            if saved is None and find_stop(job.stop, state.history):  # a phase that is resumed has yet to be ended
                break
            with freeze_modules(state.model, job.phases[number]) as frozen:
                _run_phase(state, context, job.phases[number], frozen, saved)
            saved = None
    processes.barrier()  # only now may the first remove the checkpoints
    state.times = context.stopwatch.summarise()
    progress.end_training(state.times)
    return state


def _run_phase(
    state: State, context: TrainContext, phase: PhaseParams, frozen: list[torch.nn.Module], saved: SavedState | None
) -> None:
    job, fabric, processes = context.job, context.fabric, context.processes
    samples = open_part(job, phase, "train", phase.samples_per_epoch, state.model.background_input)
    steps_per_epoch = len(samples) // phase.batch_size
    if steps_per_epoch == 0:
        raise UserError(f"{job.stage}.batch_size: {phase.batch_size} is above the {len(samples)} training composites; lower it")
    _require_truth(samples, phase, job.stage)
    validation = open_part(job, phase, "validation", phase.validation_samples, state.model.background_input)
    validation_batches = _load_validation(validation, state, context, phase)
    if job.compute.channels_last:
        state.model.to(memory_format=torch.channels_last)
    state.ema = None
    if phase.ema_decay is not None:
        state.ema = MovingAverage(state.model, partial(_find_decay, state, phase, steps_per_epoch))
    state.optimizer = make_optimizer(state.model, phase, fused=fabric.device.type in ("cuda", "cpu"))
    state.scheduler = make_scheduler(state.optimizer, phase, steps_per_epoch)
    objective = make_objective(phase, job.loss)
    state.sums = torch.zeros(2, len(objective.name_columns()), dtype=torch.float64, device=choose_device_of_sums(fabric))
    if saved is not None:
        try:
            state.load_tensors(saved)
        except (KeyError, IndexError, TypeError, ValueError, RuntimeError) as error:  # intact, but not written by this code
            raise UserError(
                f"{context.folder}: its checkpoint does not belong to this training; remove the folder to start over"
            ) from error
    watch = FiniteWatch(job.stage, objective.name_columns(), steps_per_epoch, state.optimizer, fabric.device)
    accumulator, optimizer = _set_up(state, context, phase, objective)
    _stop_before_step(state, context)
    phase_context = PhaseContext(phase, objective, steps_per_epoch, frozen, accumulator, watch, optimizer, validation_batches)
    batches = load_batches(
        samples, phase, steps_per_epoch, state, context.speed, fabric.device, job.compute.channels_last, processes
    )
    context.progress.start_phase(state, phase, steps_per_epoch)
    while state.epoch < phase.epochs and not _is_over(state, phase, job):
        _run_epoch(state, context, phase_context, batches)
        _end_epoch(state, context, phase_context)
    _end_phase(state, phase, context.folder)


def _require_truth(samples: SampleSet, phase: PhaseParams, stage: str) -> None:
    """Raise UserError if nothing is known of what is to be learnt."""
    known, tasks = samples.count_known(), list_tasks(phase.tasks)
    if not any(known[task] for task in tasks):
        others = [task for task in known if known[task]]
        raise UserError(
            f"{stage}.tasks: {phase.tasks}, but no training sample has a known {' or '.join(tasks)}; set it to {others[0]},"
            f" or add {'masks' if 'mask' in tasks else 'depth maps'} to the source"
        )


def _load_validation(samples: SampleSet, state: State, context: TrainContext, phase: PhaseParams) -> list[ByteBatch | int]:
    """The fixed batches, which are kept in memory; loading many takes a while, so requests to stop are checked."""
    batches = []
    for batch in load_fixed(samples, phase.batch_size, context.processes):
        batches.append(batch)
        _stop_before_step(state, context)
    return batches


def _stop_before_step(state: State, context: TrainContext) -> None:
    """Raise Interrupted if a signal has arrived; since the last checkpoint, if there is one, nothing has changed."""
    stopped_by = context.find_stop()
    if stopped_by is not None:
        raise _make_interrupted(state, context, stopped_by)


def _set_up(
    state: State, context: TrainContext, phase: PhaseParams, objective: Objective
) -> tuple[GradientAccumulator, torch.optim.Optimizer]:
    """How the phase's gradients are computed on this device, and the optimiser as set up by Fabric."""
    job, fabric, processes = context.job, context.fabric, context.processes
    known = state.computed[state.phase] if len(state.computed) > state.phase else {}
    record = {name: known[name] for name in ("micro_batch", "micro_batch_because") if name in known}
    record |= {"image_size_px": phase.image_size_px, "batch_size": phase.batch_size, "processes": processes.count}
    state.computed[state.phase :] = [record]
    if processes.count > 1 and fabric.device.type == "cuda":
        record |= find_micro_batch_size(state.model, objective, fabric, processes, phase.batch_size, phase.image_size_px)
    at_once = min(phase.batch_size, context.speed.micro_batch or phase.batch_size)
    network, record["compile"] = state.model, "off"
    if job.compute.compile:
        network, record["compile"] = compile_model(state.model, fabric, at_once, phase.image_size_px)
        context.progress.log(f"compute.compile: {record['compile']}")
    fabric_model, optimizer = fabric.setup(network, state.optimizer)
    accumulator = GradientAccumulator(
        state.model,
        fabric_model,
        objective,
        fabric,
        processes,
        context.stopwatch,
        phase.batch_size,
        context.speed.micro_batch,
        record,
        context.progress.log,
    )
    return accumulator, optimizer


def _run_epoch(state: State, context: TrainContext, phase: PhaseContext, batches: Iterator[Batch]) -> None:
    job, measure = context.job, context.stopwatch.measure
    set_training(state.model, phase.frozen)
    saved_at = time.monotonic()
    while state.step < phase.steps_per_epoch:
        with measure("load"):
            batch = next(batches)
        # for layers that draw random numbers, such as dropout
        seed = draw_seed(job.seed, STEP, state.model.card.epochs + state.total_epochs, state.step)
        loss, terms = phase.accumulator.compute(batch, seed)
        values = torch.stack([loss, *(value.detach() for value in terms.values())])
        phase.watch.note(values, state.epoch * phase.steps_per_epoch + state.step)
        with measure("optimizer"):
            _update(state, phase)
        num_known = [phase.accumulator.num_known[choose_truth(term)] for term in terms]
        weights = torch.stack([torch.ones_like(num_known[0]), *num_known]).to(state.sums)
        state.sums += torch.stack([values.to(state.sums) * weights, weights])
        state.step += 1
        state.total_steps += 1
        context.progress.advance(phase.params.batch_size)
        due = context.speed.checkpoint_steps and state.total_steps % context.speed.checkpoint_steps == 0
        _save_and_stop(state, context, phase)
        if due or time.monotonic() - saved_at > 60 * context.speed.checkpoint_minutes:
            _save(state, context, phase)
            saved_at = time.monotonic()


def _save_and_stop(state: State, context: TrainContext, phase: PhaseContext) -> None:
    """Save the state and raise Interrupted if a signal has arrived; in all processes or none."""
    stopped_by = context.find_stop()
    if stopped_by is not None:
        _save(state, context, phase)
        context.processes.barrier()  # for the first to have saved
        raise _make_interrupted(state, context, stopped_by)


def _make_interrupted(state: State, context: TrainContext, stopped_by: int) -> Interrupted:
    """The state is saved, unless no step has been done."""
    kept = f"rerun the same command to resume from step {state.total_steps:,}" if state.total_steps else NOTHING_KEPT
    return Interrupted(f"{context.job.stage}: stopped by {name_signal(stopped_by)}; {kept}", stopped_by)


def _save(state: State, context: TrainContext, phase: PhaseContext) -> None:
    """Write the state, which is the same in every process, once; never one that a non-finite loss has reached."""
    if context.processes.is_first:
        phase.watch.check()
        state.save(context.folder)


def _update(state: State, phase: PhaseContext) -> None:
    """Apply the gradients: update the weights, their moving average and the learning rate."""
    if phase.params.clip_norm is not None:
        torch.nn.utils.clip_grad_norm_(state.model.parameters(), phase.params.clip_norm)
    phase.optimizer.step()
    state.rate = phase.optimizer.param_groups[0]["lr"]
    if not steps_each_epoch(state.scheduler):
        state.scheduler.step()
    if state.ema is not None:
        state.ema.update_parameters(state.model)


def _end_epoch(state: State, context: TrainContext, phase: PhaseContext) -> None:
    """Validate, write the epoch's row, step an epoch-wise schedule, keep the best weights."""
    phase.watch.check()
    train_means = (state.sums[0] / state.sums[1]).tolist()
    channels_last = context.job.compute.channels_last
    validation = validate(
        state.scored_model,
        phase.validation_batches,
        phase.objective,
        context.fabric,
        channels_last,
        context.processes,
        partial(_save_and_stop, state, context, phase),  # as after the epoch's last step: nothing changes until it has ended
    )
    state.sums.zero_()
    state.step = 0
    state.epoch += 1
    state.total_epochs += 1
    row = {"phase": state.phase + 1, "epoch": state.total_epochs, "step": state.total_steps, "learning_rate": state.rate}
    row |= {f"train_{name}": value for name, value in zip(phase.objective.name_columns(), train_means, strict=True)}
    row |= {f"validation_{name}": value for name, value in validation.items()}
    state.history.append({name: float(f"{v:.6g}") if isinstance(v, float) else v for name, v in row.items()})
    is_known = not math.isnan(validation["loss"])  # else no epoch is better or worse than another
    if is_known and steps_each_epoch(state.scheduler):
        state.scheduler.step(validation["loss"])
    if validation["loss"] < state.best_loss:
        state.best_loss, state.epochs_without_better = validation["loss"], 0
        if phase.params.keep == "best" and context.processes.is_first:
            state.save_best(context.folder)
    else:
        state.epochs_without_better += is_known
    context.progress.end_epoch(state.history[-1], context.stopwatch.end_epoch())
    if context.processes.is_first:
        context.progress.show(state, phase.validation_batches[0].to(context.fabric.device))
    _save(state, context, phase)
    context.processes.barrier()  # for the first to have saved


def _end_phase(state: State, phase: PhaseParams, folder: Path) -> None:
    """Load the weights that the phase ends with into the model, and count the phase as done."""
    if phase.keep == "best" and math.isfinite(state.best_loss):
        try:
            best = load_state(folder / name_best(state.phase))  # the file stays: a resumed run may come back to this point
        except BadCheckpoint as error:
            raise UserError(f"{error}; rerun the same command, which starts from scratch if necessary") from error
        state.scored_model.load_state_dict(best.tensors)
    if state.ema is not None:
        state.model.load_state_dict(state.ema.module.state_dict())
        state.ema = None
    state.phase += 1
    state.epoch, state.best_loss, state.epochs_without_better = 0, float("inf"), 0


def _find_decay(state: State, phase: PhaseParams, steps_per_epoch: int) -> float:
    """Of the moving average: it grows to `ema_decay`, so that a short phase is not dominated by its initial weights."""
    done = state.epoch * steps_per_epoch + state.step
    return min(phase.ema_decay, (1 + done) / (10 + done))


def _is_over(state: State, phase: PhaseParams, job: Job) -> bool:
    has_stalled = phase.early_stop_epochs is not None and state.epochs_without_better >= phase.early_stop_epochs
    return has_stalled or find_stop(job.stop, state.history) is not None
