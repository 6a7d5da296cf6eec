"""What the training stages share: from files and params to weights, history and record."""

from __future__ import annotations

import argparse
import platform
import resource
from pathlib import Path

import torch

from depthmask.files import read_json, write_csv
from depthmask.keyed_random import WEIGHTS, draw_seed
from depthmask.losses import name_terms
from depthmask.models.model_file import DepthMaskModel, count_parameters, load_model, make_model, save_model
from depthmask.params import Params, TrainParams, load_params
from depthmask.run_record import record_run
from depthmask.sources import RECORD
from depthmask.training.checkpoint import find_folder, hold_folder, list_inputs
from depthmask.training.loop import SCORES, Job, train
from depthmask.training.progress import Progress
from depthmask.training.runtime import make_fabric, read_speed_options

SHARED_SECTIONS = ("seed", "compose", "augment", "loss", "compute")
LOGS = Path("runs")  # TensorBoard's; no result, so neither DVC nor git keeps it


def run_training_stage(stage: str, argv: list[str] | None, description: str, continues: bool) -> int:
    """The whole of a training stage; with `continues` it starts from the weights named by --init."""
    parser = argparse.ArgumentParser(prog=f"stages.{stage}", description=description)
    parser.add_argument("--params", default="params.yaml")
    parser.add_argument("--raw", type=Path, required=True, help="folder that the download stage made")
    parser.add_argument("--split", type=Path, required=True, help="folder that the split stage made")
    if continues:
        parser.add_argument("--init", type=Path, required=True, help="model file to start from")
    parser.add_argument("--weights", type=Path, required=True, help="model file to write")
    parser.add_argument("--history", type=Path, required=True, help="CSV to write, a row an epoch")
    parser.add_argument("--run", type=Path, required=True, help="JSON to write: versions, hardware, times")
    args = parser.parse_args(argv)

    params = load_params(args.params)
    section: TrainParams = getattr(params, stage)
    init = args.init if continues else None
    speed, fabric = read_speed_options(), make_fabric(params.compute)
    in_force = {name: getattr(params, name) for name in (*SHARED_SECTIONS, *(() if continues else ("model",)), stage)}
    in_force = {name: value if isinstance(value, int) else value.model_dump() for name, value in in_force.items()}
    with record_run(stage, args.run, in_force) as record:
        model = load_model(init) if init else open_new_model(params, args.raw, args.split)
        job = Job(
            stage=stage,
            phases=section.phases(),
            seed=params.seed,
            compose=params.compose,
            augment=params.augment,
            loss=params.loss,
            compute=params.compute,
            raw=args.raw,
            split=args.split,
        )
        platform_decides = {"torch": torch.__version__, "device": fabric.device.type, "machine": platform.machine()}
        folder = find_folder(stage, in_force | platform_decides, list_inputs(args.raw, args.split, init))
        with hold_folder(folder), Progress(stage, LOGS / stage) as progress:
            state = train(model, job, fabric, speed, folder, progress)
            trained = state.model
            save_model(
                trained,
                args.weights,
                epochs=trained.card.epochs + state.total_epochs,
                image_size_px=job.phases[-1].image_size_px,
            )
            write_csv(args.history, _name_columns(job), state.history)
        record.extra |= {
            "device": str(fabric.device),
            "num_parameters": count_parameters(trained),
            "steps": state.total_steps,
            "images_per_second": round(progress.images_per_second, 1),
            "peak_memory_mib": _measure_peak_memory_mib(),
            "num_workers": speed.num_workers,
        }
    return 0


def open_new_model(params: Params, raw: Path, split: Path) -> DepthMaskModel:
    """A model of params.model for the source in `raw`; its first weights follow from the seed."""
    torch.manual_seed(draw_seed(params.seed, WEIGHTS))
    channels = read_json(split / "statistics.json")["channels"]
    return make_model(params.model, channels, read_json(raw / RECORD)["download"]["depth"])


def _name_columns(job: Job) -> list[str]:
    losses = ["loss", *name_terms(job.loss)]
    columns = ["phase", "epoch", "step", "learning_rate", *(f"train_{name}" for name in losses)]
    return columns + [f"validation_{name}" for name in (*losses, *SCORES)]


def _measure_peak_memory_mib() -> int:
    """Of the GPU's tensors where there is one, else of this process."""
    if torch.cuda.is_available():
        return round(torch.cuda.max_memory_allocated() / 2**20)
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10)
