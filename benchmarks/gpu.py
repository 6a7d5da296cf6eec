"""What this machine's GPUs are used for: one command with three checks.

    PYTHONPATH=workflow:tests python benchmarks/gpu.py            # minutes on a GPU; --tiny: a trial run, also without one

1. Images a second of a training step of a published network, compared with a plain loop in the style of its authors
   (`reference_loop.py`) on the same device, from the same weights with the same batch in memory.
2. The share of a step that the stage pretrain, with the project's own params, spends waiting for data.
3. Images a second of two trainings side by side, and of one on two devices, compared with one alone; which GPUs they used, and
   how busy each was, by nvidia-smi. On a machine without two GPUs the devices are shared, or processes on the CPU.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch
import training
import waiting
import yaml

from depthmask.data.batch import Batch
from depthmask.models.model_file import make_model
from depthmask.params import Params, PhaseParams
from depthmask.params.reading import read_yaml
from depthmask.recipes import check_recipe
from depthmask.runs.hardware import describe_hardware
from depthmask.training.accumulate import GradientAccumulator, make_fake_batch
from depthmask.training.distributed import SINGLE_PROCESS, make_fabric
from depthmask.training.fabric import Fabric
from depthmask.training.finite import FiniteWatch
from depthmask.training.freezing import freeze_modules, set_training
from depthmask.training.objective import make_objective
from depthmask.training.schedules import make_optimizer
from depthmask.training.timing import Stopwatch

ROOT = Path(__file__).resolve().parents[1]
WARM_UP = 3  # steps: the first ones choose algorithms
LOOK_EVERY_S = 0.5
TINY = {
    "model": {"width": 8},
    "pretrain": {"image_size_px": 32, "batch_size": 8, "samples_per_epoch": 32, "epochs": 1, "validation_samples": 8},
}


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tiny", action="store_true", help="small images and few steps: whether it runs, not how fast")
    parser.add_argument("--recipe", default="multi_dilation_unet", help="of a published network, for the first check")
    parser.add_argument("--steps", type=int, default=50, help="of each loop in the first check")
    parser.add_argument("--epochs", type=int, default=2, help="of each training in the others")
    parser.add_argument("--only-steps", action="store_true", help="the first check alone, in this process")
    args = parser.parse_args(argv)
    if args.only_steps:
        print(json.dumps(measure_steps(args.recipe, 2 if args.tiny else args.steps, args.tiny)))
        return 0
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        prepare(work, TINY if args.tiny else {"pretrain": {"epochs": args.epochs}})
        found = {"steps": measure_steps_aside(args)} | measure_trainings(work)
    hardware = {name: value for name, value in describe_hardware().items() if name != "gpu_uuids"}  # this process uses none
    print(json.dumps(found | {"hardware": hardware}, indent=1))
    return 0


def measure_steps_aside(args: argparse.Namespace) -> dict[str, object]:
    """The first check in a process of its own, which keeps the GPU that it takes until it ends."""
    command = [sys.executable, __file__, "--only-steps", "--recipe", args.recipe, "--steps", str(args.steps)]
    environ = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT / "workflow"), str(ROOT / "tests")])}
    done = subprocess.run([*command, *["--tiny"] * args.tiny], env=environ, stdout=subprocess.PIPE, text=True, check=True)
    return {"recipe": args.recipe} | json.loads(done.stdout)


def prepare(work: Path, changes: dict[str, dict]) -> None:
    """The data of the demo pack and the first weights in `work`, for the project's params with `changes`."""
    values = yaml.safe_load((ROOT / "params.yaml").read_text())
    values["download"]["path"] = str(ROOT / "data/demo")
    for section, changed in changes.items():
        values[section] |= changed
    (work / "params.yaml").write_text(yaml.safe_dump(values, sort_keys=False))
    waiting.run_stage(work, "download", "--out", "raw", "--run", "run.json")
    waiting.run_stage(work, "weights", "--out", "weights", "--run", "run.json")
    waiting.run_stage(work, "split", "--raw", "raw", "--out", "split", "--run", "run.json")


def measure_steps(recipe: str, num_steps: int, is_tiny: bool) -> dict[str, object]:
    """Images a second of both loops, and their ratio."""
    params = check_recipe(recipe, read_yaml(ROOT / "params.yaml", Params))
    phase = params.pretrain.phases()[0]
    if is_tiny:
        phase = phase.model_copy(update={"image_size_px": 32, "batch_size": 2})
    fabric = make_fabric(params.compute)
    speeds = {}
    for name, make_step in {"plain": training.make_plain_step, "ours": partial(make_our_step, fabric)}.items():
        torch.manual_seed(0)
        model = make_model(params.model.network, training.CHANNELS, params.download.depth.model_dump()).to(fabric.device)
        batch = make_fake_batch(model, phase.batch_size, phase.image_size_px)
        with freeze_modules(model, phase) as frozen:
            take = make_step(model, frozen, params, phase, batch)
            seconds = time_steps(take, num_steps, Stopwatch(fabric.device, True))
        speeds[name] = round(phase.batch_size / seconds, 1)
    precision = str(fabric.strategy.precision.precision)
    described = {"device": str(fabric.device), "precision": precision, "images_per_second": speeds}
    return described | {"ratio": round(speeds["ours"] / speeds["plain"], 2)}


def time_steps(take: Callable[[], object], num_steps: int, watch: Stopwatch) -> float:
    """Median seconds of a tenth of the steps, taken without waiting for the device in between, divided by their number."""
    for _ in range(WARM_UP):
        take()
    at_once = max(1, num_steps // 10)
    for _ in range(num_steps // at_once):
        with watch.measure("steps"):
            for _ in range(at_once):
                take()
    return statistics.median(watch._epoch["steps"]) / at_once


def make_our_step(
    fabric: Fabric, model: torch.nn.Module, frozen: list[torch.nn.Module], params: Params, phase: PhaseParams, batch: Batch
) -> Callable[[], None]:
    """What the training loop does between loading a batch and counting the step."""
    model.to(memory_format=torch.channels_last)
    set_training(model, frozen)
    objective, device = make_objective(phase, params.loss), fabric.device
    changes = {"optimizer": "sgd", "learning_rate": 1e-6}
    optimizer = make_optimizer(model, phase.model_copy(update=changes), fused=device.type in ("cuda", "cpu"))
    watch = FiniteWatch("gpu", objective.name_columns(), 10**9, optimizer, device)
    fabric_model, optimizer = fabric.setup(model, optimizer)
    common = model, fabric_model, objective, fabric, SINGLE_PROCESS, Stopwatch(device, False), phase.batch_size
    accumulator = GradientAccumulator(*common, None, {}, print)
    number = iter(range(10**9))

    def take() -> None:
        loss, terms = accumulator.compute(batch, seed=0)
        watch.note(torch.stack([loss, *(value.detach() for value in terms.values())]), next(number))
        optimizer.step()

    return take


def measure_trainings(work: Path) -> dict[str, dict]:
    """The second and third check."""
    alone, _ = train_side_by_side(work, ["alone"], {"DEPTHMASK_TIMES": "1"})
    times, phase = alone[0]["seconds_of_a_step"], alone[0]["phases"][0]
    step_s = phase["batch_size"] / alone[0]["images_per_second"]
    found = {"waiting": {"load_ms": 1000 * times["load"], "step_ms": 1000 * step_s, "share": round(times["load"] / step_s, 4)}}
    single, _ = train_side_by_side(work, ["one"], {})
    both, busy = train_side_by_side(work, ["first", "second"], {})
    two, busy_two = train_side_by_side(work, ["two"], {"DEPTHMASK_DEVICES": "2"})
    speed = single[0]["images_per_second"]
    found["one"] = {"images_per_second": speed, "gpus": single[0]["gpus"]}
    found["side_by_side"] = {
        "images_per_second": [extra["images_per_second"] for extra in both],
        "relative_to_one": round(sum(extra["images_per_second"] for extra in both) / speed, 2),
        "gpus": [extra["gpus"] for extra in both],
        "busy_percent": busy,
    }
    found["one_on_two_devices"] = {
        "images_per_second": two[0]["images_per_second"],
        "relative_to_one": round(two[0]["images_per_second"] / speed, 2),
        "gpus": two[0]["gpus"],
        "busy_percent": busy_two,
    }
    return found


def train_side_by_side(work: Path, names: Sequence[str], variables: dict[str, str]) -> tuple[list[dict], dict[str, float]]:
    """Run the stage pretrain once for each name, all at once; what each recorded, and how busy each GPU was (mean percent).

    Raises:
        RuntimeError: one failed; with what it printed.
    """
    environ = os.environ | {"PYTHONPATH": str(ROOT / "workflow")} | variables
    inputs = ["--params", "../params.yaml", "--raw", "../raw", "--split", "../split", "--start", "../weights"]
    command = [sys.executable, "-m", "stages.pretrain", *inputs, "--weights", "w.safetensors", "--history", "h.csv"]
    started = []
    for name in names:
        (work / name).mkdir()
        log = (work / name / "log.txt").open("w")
        options = {"cwd": work / name, "env": environ, "stdout": log, "stderr": subprocess.STDOUT}
        started.append(subprocess.Popen([*command, "--run", "run.json"], **options))
    with SampledGpus() as gpus:
        codes = [process.wait() for process in started]
    recorded = []
    for name, code in zip(names, codes, strict=True):
        if code:
            raise RuntimeError(f"{name}: exit code {code}: {(work / name / 'log.txt').read_text()[-2000:]}")
        run = json.loads((work / name / "run.json").read_text())
        recorded.append(run["extra"] | {"gpus": run["hardware"].get("gpu_uuids", "none")})
    return recorded, gpus.average()


class SampledGpus:
    """Within the block, asks nvidia-smi how busy the GPUs are; nothing where there is none."""

    def __init__(self) -> None:
        self._seen: dict[str, list[float]] = {}
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> SampledGpus:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()

    def _look(self) -> None:
        command = ["nvidia-smi", "--query-gpu=uuid,utilization.gpu", "--format=csv,noheader,nounits"]
        while not self._is_over.wait(LOOK_EVERY_S):
            try:
                done = subprocess.run(command, capture_output=True, text=True, timeout=20)
            except (OSError, subprocess.TimeoutExpired):
                return
            for line in done.stdout.splitlines() if done.returncode == 0 else ():
                uuid, _, busy = line.partition(",")
                if busy.strip().isdecimal():  # [N/A] of a divided GPU
                    self._seen.setdefault(uuid.strip(), []).append(float(busy))

    def average(self) -> dict[str, float]:
        """By UUID, over the whole block, which includes a training's start and validation."""
        return {uuid: round(statistics.mean(values), 1) for uuid, values in list(self._seen.items())}


if __name__ == "__main__":
    begun = time.monotonic()
    code = main()
    print(f"{time.monotonic() - begun:.0f} s", file=sys.stderr)
    sys.exit(code)
