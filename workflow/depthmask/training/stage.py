"""What all training stages share: from files and params to weights, history and record."""

from __future__ import annotations

import contextlib
import platform
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from depthmask.base.arguments import add_split_options, make_stage_parser
from depthmask.base.credentials import mask_values
from depthmask.base.errors import Interrupted, UserError
from depthmask.base.files import read_json, write_csv
from depthmask.base.terminal import NOTHING_KEPT, count
from depthmask.execution.speed_options import read_speed_options
from depthmask.execution.working_folder import find_checkpoints, find_folder, find_in_project, hold_folder
from depthmask.keyed_random import WEIGHTS, draw_seed
from depthmask.loading.split_files import read_weights
from depthmask.models.model_file import DepthMaskModel, count_parameters, load_model, make_model, save_model
from depthmask.params import ModelParams, Params, TrainParams, load_params
from depthmask.registry.networks import NETWORKS
from depthmask.runs.run_record import record_run
from depthmask.sources.folders import Data, MixedFolders, choose_data, read_first_record
from depthmask.trackers import TrackedRun
from depthmask.training.checkpoint import ROOT, find_state
from depthmask.training.distributed import make_fabric
from depthmask.training.fabric import Fabric
from depthmask.training.job import Job
from depthmask.training.loop import train
from depthmask.training.objective import SCORES, make_objective
from depthmask.training.progress import Progress, describe_scores
from depthmask.training.state import validate_checkpoint
from depthmask.weights.init import read_init
from depthmask.weights.start_folder import ENCODER, INIT, PREFIX, StartRecord, read_record

# of the card of a model that training starts from
KEPT_OF_INIT = ("epochs", "image_mean", "image_std", "mask_mean", "mask_std", "depth_mean", "depth_std")
LOGS = Path("runs")  # of trackers; not results, so neither DVC nor git tracks it


@dataclass(frozen=True)
class TrainingFiles:
    """The files that a training stage writes."""

    weights: Path
    history: Path
    run: Path


def run_training_stage(stage: str, argv: list[str] | None, description: str, continues: bool) -> int:
    """Run a training stage; with `continues` it starts from the model given by --init, else from the weights in --start."""
    parser = make_stage_parser(stage, description)
    add_split_options(parser)
    if continues:
        parser.add_argument("--init", type=Path, required=True, help="model file to continue from")
    else:
        parser.add_argument("--start", type=Path, required=True, help="folder written by the weights stage")
    parser.add_argument("--weights", type=Path, required=True, help="model file to write")
    parser.add_argument("--history", type=Path, required=True, help="CSV to write, a row per epoch")
    parser.add_argument("--run", type=Path, required=True, help="JSON to write: versions, hardware, times")
    args = parser.parse_args(argv)

    params, raw = load_params(args.params), choose_data(args.raw, args.store, args.more, list(read_weights(args.split)))
    source = {"init": args.init} if continues else {"start": args.start}
    job = make_job(params, stage, raw, args.split, **source)
    train_job(
        job, params.model_dump(include=list_sections(job)), f"stages.{stage}", TrainingFiles(args.weights, args.history, args.run)
    )
    return 0


def train_job(job: Job, params: dict[str, Any], module: str, files: TrainingFiles) -> None:
    """Train a job, or resume a killed run of it, and write `files`.

    params: for the record only. module: the stage's script, since its code determines the result, too.
    """
    speed, fabric = read_speed_options(), make_fabric(job.compute)
    precision = str(fabric.strategy.precision.precision)  # `auto` depends on the processor
    platform_key = {
        "torch": torch.__version__,
        "device": fabric.device.type,
        "machine": platform.machine(),
        "precision": precision,
    }
    folder = find_folder(job.stage, {"job": job.describe(), "platform": platform_key}, module, find_checkpoints(ROOT))
    if fabric.global_rank > 0:  # the first process writes; the others read its checkpoints and exit with it
        with Progress(job.stage, is_shown=False) as progress:
            train(open_model(job), job, fabric, speed, folder, progress)
        return
    about = f"{describe_job(job, fabric)}, {describe_start(job, folder)}"
    tracked = TrackedRun(job.stage, folder, mask_values(params), LOGS, find_in_project(LOGS))
    with record_run(job.stage, files.run, params, about) as record:
        with (
            report_saved_step(job, folder),
            hold_folder(folder, "training"),
            Progress(job.stage, tracked, speed.trackers) as progress,
        ):
            state = train(open_model(job), job, fabric, speed, folder, progress)
            trained = state.model
            save_model(
                trained,
                files.weights,
                epochs=trained.card.epochs + state.total_epochs,
                image_size_px=job.phases[-1].image_size_px,
            )
            write_csv(files.history, name_columns(job), state.history)
        record.extra |= {
            "device": str(fabric.device),
            "processes": fabric.world_size,
            "precision": precision,
            "phases": state.computed,
            "num_parameters": count_parameters(trained),
            "steps": state.total_steps,
            "images_per_second": float(f"{progress.images_per_second:.4g}"),
            "num_workers": speed.num_workers,
        }
        record.result = f"{count(state.total_steps, 'step')}, {describe_scores(state.history[-1], ', ')}; {files.weights}"
        if speed.times:
            record.extra["seconds_of_a_step"] = {name: float(f"{value:.3g}") for name, value in state.times.items()}


def describe_job(job: Job, fabric: Fabric) -> str:
    """A short description: `64 px, 6 epochs, cpu in bfloat16, 2 threads`; phases are joined by a plus sign."""
    sizes = " + ".join(str(phase.image_size_px) for phase in job.phases)
    *others, last = (phase.epochs for phase in job.phases)
    epochs = " + ".join([*map(str, others), count(last, "epoch")])
    processes = [f"{fabric.world_size} processes"] if fabric.world_size > 1 else []
    device = fabric.device.type + (" in bfloat16" if "bf16" in fabric.strategy.precision.precision else "")
    return ", ".join([f"{sizes} px", epochs, device, *processes, count(job.compute.threads, "thread")])


def describe_start(job: Job, folder: Path) -> str:
    """Whether the training starts from scratch or resumes from a checkpoint in `folder`."""
    saved = find_saved_step(job, folder)
    return "fresh" if saved is None else f"resumed from step {saved:,} of {job.count_steps():,}"


def find_saved_step(job: Job, folder: Path) -> int | None:
    """The step of the newest usable checkpoint; None if there is none."""
    saved = find_state(folder, partial(validate_checkpoint, phases=job.phases))
    return None if saved is None else saved.values["total_steps"]


@contextlib.contextmanager
def report_saved_step(job: Job, folder: Path) -> Iterator[None]:
    """Report what was saved if a second Ctrl-C stops the training in mid-step."""
    try:
        yield
    except KeyboardInterrupt:
        step = find_saved_step(job, folder)
        kept = NOTHING_KEPT if step is None else f"rerun the same command to resume from step {step:,}"
        raise Interrupted.by_signal(job.stage, kept) from None


def make_job(params: Params, stage: str, raw: Data, split: Path, *, start: Path | None = None, init: Path | None = None) -> Job:
    """The job of `pretrain` or `finetune`: a new model with the initial weights in `start`, or the model file `init`."""
    section: TrainParams = getattr(params, stage)
    return Job(
        stage=stage,
        phases=section.phases(),
        seed=params.seed,
        compose=params.compose,
        augment=params.augment,
        loss=params.loss,
        compute=params.compute,
        model=None if init else params.model,
        raw=raw,
        split=split,
        start=start,
        init=init,
    )


def list_sections(job: Job) -> list[str]:
    """The sections of params.yaml that a job of `pretrain` or `finetune` is built from."""
    inputs = {name for name, value in vars(job).items() if value is None or isinstance(value, Path | MixedFolders)}
    return [*(name for name in vars(job) if name in Params.model_fields and name not in inputs), job.stage]


def open_model(job: Job) -> DepthMaskModel:
    """The model that a job starts from."""
    return load_model(job.init) if job.init else open_new_model(job.model, job.seed, job.raw, job.split, job.start)


def open_new_model(settings: ModelParams, seed: int, raw: Data, split: Path, start: Path) -> DepthMaskModel:
    """A new model for the depth scale of the (first) source in `raw`; seed and `start` determine its initial weights.

    From a model file it takes what fits, the statistics in whose units its weights see images and give maps, and the count of
    epochs: samples are drawn by epoch, so that training on the same data continues with new ones.

    Raises:
        UserError: `start` was written for another model.
    """
    channels = read_json(split / "statistics.json")["channels"]
    depth, first = read_first_record(raw)["download"]["depth"], read_record(start)
    tensors, known = {}, {}
    if first.init is not None:
        init = read_init(start / INIT, first.init.source, settings.network, depth)
        tensors, known = init.tensors, {name: getattr(init.card, name) for name in KEPT_OF_INIT}
    elif first.encoder is not None:
        tensors = {f"{PREFIX}{name}": tensor for name, tensor in load_file(start / ENCODER).items()}
        if first.image_mean is not None:
            known = {"image_mean": first.image_mean, "image_std": first.image_std}  # images as the weights know them
    torch.manual_seed(draw_seed(seed, WEIGHTS))  # only now: reading a model file draws random numbers, too
    origin = {"encoder": first.encoder, "encoder_config": first.encoder_config, "init": first.init}
    model = make_model(settings.network, channels, depth, **origin, **known)
    initial = model.state_dict()
    if not _has_weights_for(settings, first) or any(
        name not in initial or tensor.shape != initial[name].shape for name, tensor in tensors.items()
    ):
        raise UserError(f"{start}: written for another model than params.yaml has; run the stage weights again")
    model.load_state_dict(initial | tensors)
    return model


def _has_weights_for(settings: ModelParams, first: StartRecord) -> bool:
    """Whether a start has the kind of weights that the params name: of a model file, of an encoder, or none."""
    if settings.init is not None or first.init is not None:
        return settings.init is not None and first.init is not None
    names_encoder = NETWORKS[settings.name].has_encoder and settings.encoder_weights != "none"
    return names_encoder == (first.encoder is not None)


def name_columns(job: Job) -> list[str]:
    """The columns of a job's history; if phases have different losses, a row is empty in the columns of other phases."""
    losses = list(dict.fromkeys(name for phase in job.phases for name in make_objective(phase, job.loss).name_columns()))
    columns = ["phase", "epoch", "step", "learning_rate", *(f"train_{name}" for name in losses)]
    return columns + [f"validation_{name}" for name in (*losses, *SCORES)]
