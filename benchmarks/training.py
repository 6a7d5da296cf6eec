"""Training images a second of the published networks: this project's step against a plain loop's, in one run, turn by turn.

    python benchmarks/training.py [NETWORK ...] [--batch 16] [--repeats 7] [--threads 2]

Both start from the same weights and take the same batches of demo composites, at the first size of the system's recipe, with
its loss and its tasks. The plain loop is `reference_loop.py`. SGD in both, so that the optimiser does not hide the network.

Gradients of four samples are compared first, all parameters as one vector, by the norm of the difference over the norm: both
loops' in float64, and each loop's in float32 against its float64. Then the time: medians, and the most that a step could gain
here, with all its multiplications and additions at the speed of a product of two matrices of 2048 x 2048, the fastest of one
a turn. The step in bfloat16 (`compute.precision: bfloat16`) is measured beside them; its gradients are others.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import multiprocessing
import statistics
import time
from collections.abc import Callable, Iterator
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import reference_loop
import torch
from torch.utils.flop_counter import FlopCounterMode

from depthmask.compose.composer import Composer
from depthmask.compute.device import prepare_device
from depthmask.data.batch import Batch
from depthmask.loading.dataset import ComposedSet
from depthmask.models.model_file import DepthMaskModel, make_model
from depthmask.params import Params, PhaseParams
from depthmask.params.reading import read_yaml
from depthmask.recipes import check_recipe
from depthmask.registry.networks import NETWORKS
from depthmask.sources.assets import DemoSource
from depthmask.training.freezing import freeze_modules, list_tasks, set_training
from depthmask.training.objective import make_objective

PROJECT = Path(__file__).parents[1]
# of each published network the recipe of its name
RECIPES = tuple(name for name, spec in NETWORKS.items() if spec.is_published)
GRADIENT_BATCH = 4  # in float64 a batch takes memory
PRODUCT_SIDE = 2048
STANDARD = {"mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]}
CHANNELS = {"image": STANDARD, "mask": {"mean": [0.08], "std": [0.25]}, "depth": {"mean": [0.4], "std": [0.25]}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("networks", nargs="*", help="recipes; all nine if none is named")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    values = read_yaml(PROJECT / "params.yaml", Params)
    setting = f"batches of {args.batch}, {args.threads} threads, torch {torch.__version__}"
    print(f"{setting}; medians of {args.repeats} steps, taken in turn")
    print("| recipe | px | plain, images/s | ours, images/s | ratio | most | in bfloat16, images/s | ratio ", end="")
    print("| ours, GFLOP/s | matrix product, GFLOP/s | loops differ, float64 | plain, float32 | ours, float32 |")
    print("| --- " + "| ---: " * 12 + "|")
    for name in args.networks or RECIPES:
        print_row(name, check_recipe(name, values), args)


def print_row(name: str, params: Params, args: argparse.Namespace) -> None:
    """Measure one recipe's first phase, each loop in a process of its own: what ours sets for a process must not serve both."""
    context = multiprocessing.get_context("spawn")
    pipes, processes = {}, []
    for kind in STEPS:
        pipes[kind], theirs = context.Pipe()
        processes.append(context.Process(target=serve, args=(kind, params, args.batch, args.threads, theirs), daemon=True))
        processes[-1].start()
    gradients = {kind: [pipe.recv(), pipe.recv()] for kind, pipe in pipes.items()}
    work = {kind: pipe.recv() for kind, pipe in pipes.items()}["ours"]
    seconds: dict[str, list[float]] = {kind: [] for kind in (*pipes, "product")}
    for _ in range(args.repeats + 1):
        for kind, pipe in pipes.items():
            pipe.send("step")
            seconds[kind].append(pipe.recv())
        pipes["plain"].send("product")
        seconds["product"].append(pipes["plain"].recv())
    for pipe, process in zip(pipes.values(), processes, strict=True):
        pipe.send("end")
        process.join()
    speed = {kind: args.batch / statistics.median(seconds[kind][1:]) for kind in pipes}
    # the fastest: a limit must not be set by what was measured beside something else
    peak, work = 2 * PRODUCT_SIDE**3 / min(seconds["product"]), work / args.batch
    (plain, plain_32), (ours, ours_32) = gradients["plain"], gradients["ours"]  # of bfloat16 nothing is said
    cells = [
        f"{params.pretrain.image_size_px}",
        *(f"{speed[kind]:.1f}" for kind in ("plain", "ours")),
        *(f"{value / speed['plain']:.2f}" for value in (speed["ours"], peak / work)),
        f"{speed['bfloat16']:.1f}",
        f"{speed['bfloat16'] / speed['plain']:.2f}",
        *(f"{value / 1e9:.0f}" for value in (work * speed["ours"], peak)),
        *(f"{compare(*pair):.0e}" for pair in ((plain, ours), (plain, plain_32), (ours, ours_32))),
    ]
    print(" | ".join([f"| {name}", *cells]) + " |", flush=True)


def serve(kind: str, params: Params, batch_size: int, num_threads: int, pipe: Connection) -> None:
    """Send a first step's gradient in float64 and in float32, then the step's multiplications and additions, then the seconds
    of a step, or of a product of two matrices, whenever one is asked for."""
    torch.set_num_threads(num_threads)
    matrix = torch.randn(PRODUCT_SIDE, PRODUCT_SIDE)
    for dtype in (torch.float64, torch.float32):
        with make_step(kind, params, min(batch_size, GRADIENT_BATCH), dtype) as (model, take):
            take()
            pipe.send(gather_gradient(model))
    with make_step(kind, params, batch_size, torch.float32) as (_, take):
        with FlopCounterMode(display=False) as counter:
            take()
        # the counter takes the ways back of grouped convolutions for those of others; each step back is two such products
        ahead = sum(number for name, number in counter.get_flop_counts()["Global"].items() if "backward" not in str(name))
        pipe.send(3 * ahead)
        timed = {"step": take, "product": lambda: torch.mm(matrix, matrix)}
        while (asked := pipe.recv()) in timed:
            begun = time.perf_counter()
            timed[asked]()
            pipe.send(time.perf_counter() - begun)


@contextlib.contextmanager
def make_step(
    kind: str, params: Params, batch_size: int, dtype: torch.dtype
) -> Iterator[tuple[DepthMaskModel, Callable[[], object]]]:
    """A new model, the same each time, and what takes one step of it."""
    torch.manual_seed(0)
    phase = params.pretrain.phases()[0]
    model = make_model(params.model.network, CHANNELS, params.download.depth.model_dump()).to(dtype)
    batch = convert(make_batch(params, phase, batch_size, model.background_input), dtype)
    with freeze_modules(model, phase) as frozen:
        yield model, STEPS[kind](model, frozen, params, phase, batch)


def gather_gradient(model: DepthMaskModel) -> np.ndarray:
    """The gradients of all parameters that have one, in their order, as one vector."""
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]).double().numpy()


def compare(exact: np.ndarray, found: np.ndarray) -> float:
    """Norm of the difference over the norm."""
    return float(np.linalg.norm(exact - found) / np.linalg.norm(exact))


def convert(batch: Batch, dtype: torch.dtype) -> Batch:
    """The batch with its images and maps in another precision."""
    maps = {name: getattr(batch, name) for name in ("image_B3HW", "mask_B1HW", "depth_B1HW", "background_B3HW")}
    return dataclasses.replace(batch, **{name: values.to(dtype) for name, values in maps.items() if values is not None})


def make_channels_last(batch: Batch) -> Batch:
    return Batch(
        *(
            values if values is None or values.dim() < 4 else values.contiguous(memory_format=torch.channels_last)
            for values in (getattr(batch, field.name) for field in dataclasses.fields(batch))
        )
    )


def make_batch(params: Params, phase: PhaseParams, batch_size: int, with_background: bool) -> Batch:
    """Demo composites at the phase's size."""
    source = DemoSource(PROJECT / "data" / "demo", params.download)
    size_px = phase.image_size_px
    composer = Composer(source, source.backgrounds[:16], source.cutouts[:16], size_px, params.compose, seed=0, shuffle=True)
    samples = ComposedSet(
        composer, num_samples=batch_size, size_px=size_px, seed=0, augmenter=None, with_background=with_background
    )
    return samples[[(0, index) for index in range(batch_size)]].to("cpu")


def make_plain_step(model: DepthMaskModel, frozen: list, params: Params, phase: PhaseParams, batch: Batch) -> Callable[[], float]:
    """The reference loop's step."""
    set_training(reference_loop.as_described(model), frozen)
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1e-6, momentum=0.9)
    tensors = {
        "image": batch.image_B3HW,
        "background": batch.background_B3HW,
        "mask": batch.mask_B1HW,
        "depth": batch.depth_B1HW,
    }
    weights, tasks = phase.loss or params.loss, list_tasks(phase.tasks)
    return lambda: reference_loop.step(model, optimizer, tensors, weights, tasks)


def make_our_step(
    model: DepthMaskModel, frozen: list, params: Params, phase: PhaseParams, batch: Batch, in_bfloat16: bool = False
) -> Callable[[], torch.Tensor]:
    """What the training loop does between loading a batch and counting the step."""
    prepare_device(params.compute)
    model.to(memory_format=torch.channels_last)
    set_training(model, frozen)
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1e-6, momentum=0.9, fused=True)
    objective, moved = make_objective(phase, params.loss), make_channels_last(batch)

    def take() -> torch.Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=in_bfloat16):
            prediction = model(moved.image_B3HW, moved.background_B3HW)
        loss, _ = objective.compute_loss(prediction, moved)
        if not torch.isfinite(loss):
            raise ValueError("the loss is not finite")
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        return loss.detach()

    return take


STEPS = {"plain": make_plain_step, "ours": make_our_step, "bfloat16": partial(make_our_step, in_bfloat16=True)}

if __name__ == "__main__":
    main()
