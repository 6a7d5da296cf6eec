"""The training loop: phases of epochs of steps, each step a pure function of the weights and of (seed, epoch, index).

Read from the bottom: `train` runs the phases, `_run_phase` the epochs, `_run_epoch` the steps. Whatever a step changes is
in `State`, which is saved as a whole, so that a run that was killed goes on at the step after its last checkpoint and ends
with the same bytes.
"""

from __future__ import annotations

import signal
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader

from depthmask.dataset import Batch, SampleSet, collate, open_samples
from depthmask.errors import Interrupted, UserError
from depthmask.keyed_random import STEP, draw_seed
from depthmask.losses import name_terms, weigh_losses
from depthmask.metrics import measure
from depthmask.models.model_file import DepthMaskModel
from depthmask.params import AugmentParams, ComposeParams, ComputeParams, LossParams, PhaseParams
from depthmask.training.checkpoint import BEST, LAST, load_state, pack_optimizer, save_state, unpack_optimizer
from depthmask.training.progress import Progress
from depthmask.training.runtime import SpeedOptions
from depthmask.training.schedules import make_optimizer, make_scheduler, steps_each_epoch

SCORES = ("mask_iou", "depth_delta1")


@dataclass(frozen=True)
class Job:
    """All that decides a training stage's result, and where its samples are."""

    stage: str
    phases: list[PhaseParams]
    seed: int
    compose: ComposeParams
    augment: AugmentParams
    loss: LossParams
    compute: ComputeParams
    raw: Path
    split: Path


@dataclass
class State:
    """What a step changes. Counters say what is done: phases, epochs of this phase, steps of this epoch."""

    model: DepthMaskModel
    phase: int = 0
    epoch: int = 0
    step: int = 0
    total_epochs: int = 0
    total_steps: int = 0
    rate: float = 0.0  # of the last step
    history: list[dict[str, Any]] = field(default_factory=list)
    best_loss: float = float("inf")
    epochs_without_better: int = 0
    sums: torch.Tensor | None = None  # of the loss and its terms over this epoch's steps
    optimizer: torch.optim.Optimizer | None = None
    scheduler: Any = None
    ema: AveragedModel | None = None

    COUNTERS = ("phase", "epoch", "step", "total_epochs", "total_steps", "rate", "history", "best_loss", "epochs_without_better")

    @property
    def scored_model(self) -> torch.nn.Module:
        """The network that is validated and handed on."""
        return self.model if self.ema is None else self.ema.module

    def save(self, path: Path) -> None:
        optimizer, groups = pack_optimizer(self.optimizer)
        tensors = {f"model.{k}": v for k, v in self.model.state_dict().items()}
        tensors |= {f"optimizer.{k}": v for k, v in optimizer.items()}
        tensors["sums"] = self.sums
        if self.ema is not None:
            tensors |= {f"ema.{k}": v.clone() for k, v in self.ema.state_dict().items()}
        values = {name: getattr(self, name) for name in self.COUNTERS}
        # what a schedule keeps in a dict (MultiStepLR's milestones) is a setting, which its maker has set, and not JSON's kind
        schedule = {name: value for name, value in self.scheduler.state_dict().items() if not isinstance(value, dict)}
        save_state(path, tensors, {**values, "groups": groups, "scheduler": schedule})

    def load_counters(self, values: dict[str, Any]) -> None:
        for name in self.COUNTERS:
            setattr(self, name, values[name])

    def load_rest(self, tensors: dict[str, torch.Tensor], values: dict[str, Any]) -> None:
        """Weights, optimiser and schedule, once the phase has made them."""
        self.model.load_state_dict(_strip(tensors, "model."))
        unpack_optimizer(self.optimizer, _strip(tensors, "optimizer."), values["groups"])
        self.scheduler.load_state_dict(values["scheduler"])
        self.sums.copy_(tensors["sums"])
        if self.ema is not None:
            self.ema.load_state_dict(_strip(tensors, "ema."))


def train(model: DepthMaskModel, job: Job, fabric: Fabric, speed: SpeedOptions, folder: Path, progress: Progress) -> State:
    """Run every phase of a job from `model`, or go on from the checkpoint in `folder`; the result is `State.scored_model`.

    Raises:
        UserError: the loss became infinite or not a number (before the weights took it in), or there are too few samples.
        Interrupted: SIGTERM arrived; the state is saved.
    """
    state = State(model.to(fabric.device))
    saved = load_state(folder / LAST)
    if saved is not None:
        state.load_counters(saved[1])
        progress.tell(f"{job.stage}: resumed at phase {state.phase + 1}, epoch {state.epoch + 1}, step {state.step + 1}")
    with _stop_on_sigterm() as is_stopped:
        for number in range(state.phase, len(job.phases)):
            _run_phase(state, job, job.phases[number], fabric, speed, folder, progress, saved, is_stopped)
            saved = None
    return state


def _run_phase(
    state: State,
    job: Job,
    phase: PhaseParams,
    fabric: Fabric,
    speed: SpeedOptions,
    folder: Path,
    progress: Progress,
    saved: tuple[dict, dict] | None,
    is_stopped: Callable[[], bool],
) -> None:
    samples = _open(job, phase, "train", phase.samples_per_epoch, state.model, augment=phase.augment)
    steps_per_epoch = len(samples) // phase.batch_size
    if steps_per_epoch == 0:
        raise UserError(f"{job.stage}.batch_size: {phase.batch_size} is above the {len(samples)} training composites; lower it")
    validation = _open(job, phase, "validation", phase.validation_samples, state.model)
    validation_batches = list(_load_fixed(validation, phase.batch_size))
    if job.compute.channels_last:
        state.model.to(memory_format=torch.channels_last)
    state.ema = None
    if phase.ema_decay is not None:
        state.ema = AveragedModel(state.model, multi_avg_fn=_make_average(state, phase, steps_per_epoch), use_buffers=True)
    state.optimizer = make_optimizer(state.model, phase, fused=fabric.device.type in ("cuda", "cpu"))
    state.scheduler = make_scheduler(state.optimizer, phase, steps_per_epoch)
    state.sums = torch.zeros(1 + len(name_terms(job.loss)), dtype=torch.float64, device=_device_of_sums(fabric))
    if saved is not None:
        state.load_rest(*saved)
    compiled = torch.compile(state.model) if job.compute.compile else state.model
    network, optimizer = fabric.setup(compiled, state.optimizer)
    batches = _load(samples, phase, steps_per_epoch, state, speed, fabric)
    progress.start_phase(state, phase, steps_per_epoch)
    while state.epoch < phase.epochs and not _is_over(state, phase):
        _run_epoch(state, job, phase, steps_per_epoch, fabric, network, optimizer, batches, speed, folder, progress, is_stopped)
        _end_epoch(state, job, phase, steps_per_epoch, fabric, validation_batches, folder, progress)
    _end_phase(state, phase, folder)


def _run_epoch(
    state: State,
    job: Job,
    phase: PhaseParams,
    steps_per_epoch: int,
    fabric: Fabric,
    network: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    batches: Iterator[Batch],
    speed: SpeedOptions,
    folder: Path,
    progress: Progress,
    is_stopped: Callable[[], bool],
) -> None:
    state.model.train()
    saved_at = time.monotonic()
    while state.step < steps_per_epoch:
        batch = next(batches).to(fabric.device, job.compute.channels_last)
        # for layers that draw at random, should a network have any
        torch.manual_seed(draw_seed(job.seed, STEP, state.model.card.epochs + state.total_epochs, state.step))
        loss, terms = weigh_losses(network(batch.image_B3HW, batch.background_B3HW), batch, job.loss)
        if not torch.isfinite(loss):
            shown = ", ".join(f"{name} {value.item():.4g}" for name, value in terms.items())
            raise UserError(
                f"{job.stage}: the loss is {loss.item()} at epoch {state.epoch + 1}, step {state.step + 1} ({shown});"
                f" lower {job.stage}.learning_rate or set clip_norm; the weights were not changed by it"
            )
        optimizer.zero_grad(set_to_none=True)
        fabric.backward(loss)
        if phase.clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(state.model.parameters(), phase.clip_norm)
        optimizer.step()
        state.rate = optimizer.param_groups[0]["lr"]
        if not steps_each_epoch(state.scheduler):
            state.scheduler.step()
        if state.ema is not None:
            state.ema.update_parameters(state.model)
        state.sums += torch.stack([loss.detach(), *(value.detach() for value in terms.values())]).to(state.sums)
        state.step += 1
        state.total_steps += 1
        progress.advance(len(batch.keys))
        due = speed.checkpoint_steps and state.total_steps % speed.checkpoint_steps == 0
        if due or is_stopped() or time.monotonic() - saved_at > 60 * speed.checkpoint_minutes:
            state.save(folder / LAST)
            saved_at = time.monotonic()
        if is_stopped():
            raise Interrupted(f"{job.stage}: stopped and saved at step {state.total_steps}; run the same command to go on")


def _end_epoch(
    state: State,
    job: Job,
    phase: PhaseParams,
    steps_per_epoch: int,
    fabric: Fabric,
    validation_batches: list[Batch],
    folder: Path,
    progress: Progress,
) -> None:
    """Validate, write the epoch's row, step an epoch-wise schedule, keep the best weights."""
    train_means = (state.sums / steps_per_epoch).tolist()
    validation = validate(state.scored_model, validation_batches, job, fabric)
    names = ["loss", *name_terms(job.loss)]
    state.sums.zero_()
    state.step = 0
    state.epoch += 1
    state.total_epochs += 1
    row = {"phase": state.phase + 1, "epoch": state.total_epochs, "step": state.total_steps, "learning_rate": state.rate}
    row |= {f"train_{name}": value for name, value in zip(names, train_means, strict=True)}
    row |= {f"validation_{name}": value for name, value in validation.items()}
    state.history.append({name: float(f"{v:.6g}") if isinstance(v, float) else v for name, v in row.items()})
    if steps_each_epoch(state.scheduler):
        state.scheduler.step(validation["loss"])
    if validation["loss"] < state.best_loss:
        state.best_loss, state.epochs_without_better = validation["loss"], 0
        if phase.keep == "best":
            save_state(folder / BEST, state.scored_model.state_dict(), {})
    else:
        state.epochs_without_better += 1
    progress.end_epoch(state.history[-1])
    state.save(folder / LAST)


def _end_phase(state: State, phase: PhaseParams, folder: Path) -> None:
    """Put the weights that the phase hands on into the model, and count the phase as done."""
    if phase.keep == "best":
        best = load_state(folder / BEST)
        if best is not None:
            state.scored_model.load_state_dict(best[0])
            (folder / BEST).unlink()
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


@torch.inference_mode()
def validate(model: torch.nn.Module, batches: list[Batch], job: Job, fabric: Fabric) -> dict[str, float]:
    """Mean loss, terms and SCORES over fixed samples, in eval mode and the training's precision; each sample counts once."""
    model.eval()
    gathered: dict[str, list[torch.Tensor]] = {}
    for batch in batches:
        batch = batch.to(fabric.device, job.compute.channels_last)
        with fabric.autocast():
            prediction = model(batch.image_B3HW, batch.background_B3HW)
        loss, terms = weigh_losses(prediction, batch, job.loss)
        for name, value in {"loss": loss, **terms}.items():
            gathered.setdefault(name, []).append(value.double().cpu() * len(batch.keys))
        mask_prob = torch.sigmoid(prediction.mask_logits_B1HW.float())
        scores = measure(mask_prob, prediction.depth_B1HW.float(), batch, max_depth=1.0, thorough=False)
        for name in SCORES:
            gathered.setdefault(name, []).append(scores[name].double().cpu())
    num_samples = sum(len(batch.keys) for batch in batches)
    means = {name: torch.stack(v).sum().item() / num_samples for name, v in gathered.items() if name not in SCORES}
    return means | {name: torch.cat(gathered[name]).nanmean().item() for name in SCORES}


def _open(job: Job, phase: PhaseParams, part: str, num_samples: int, model: DepthMaskModel, augment: bool = False) -> SampleSet:
    return open_samples(
        job.raw,
        job.split,
        part,
        image_size_px=phase.image_size_px,
        compose=job.compose,
        seed=job.seed,
        num_samples=num_samples,
        augment=job.augment if augment else None,
        with_background=model.background_input,
    )


def _load_fixed(samples: SampleSet, batch_size: int) -> Iterator[Batch]:
    for start in range(0, len(samples), batch_size):
        yield collate([samples.sample(i) for i in range(start, min(start + batch_size, len(samples)))])


def _load(
    samples: SampleSet, phase: PhaseParams, steps_per_epoch: int, state: State, speed: SpeedOptions, fabric: Fabric
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
            pin_memory=fabric.device.type == "cuda",
            prefetch_factor=4 if speed.num_workers else None,
            generator=torch.Generator().manual_seed(0),  # its base seed is for draws that no sample makes
        )
        return iter(loader)


def _device_of_sums(fabric: Fabric) -> torch.device:
    """Sums are float64, which mps does not have."""
    return torch.device("cpu") if fabric.device.type == "mps" else fabric.device


def _strip(tensors: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


class _stop_on_sigterm:  # noqa: N801 (reads as a function)
    """Within the block SIGTERM only sets a flag, which the value of the block returns."""

    def __enter__(self) -> Callable[[], bool]:
        self.arrived = False
        self.before = signal.signal(signal.SIGTERM, self._note)
        return lambda: self.arrived

    def _note(self, *_) -> None:
        self.arrived = True

    def __exit__(self, *_) -> None:
        signal.signal(signal.SIGTERM, self.before)
