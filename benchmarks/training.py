"""Training images a second of the published networks: this project's step against a plain loop's, in one run, turn by turn.

    python benchmarks/training.py [NETWORK ...] [--batch 8] [--repeats 7] [--threads 2]

Both start from the same weights and take the same batches of demo composites, at the first size of the system's recipe, with
its loss and its tasks. First the gradients are compared: the largest difference in a tensor, of that tensor's largest value.
The plain loop is `reference_loop.py`. SGD in both, so that the optimiser does not hide the network.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import reference_loop
import torch

from depthmask.batch import Batch
from depthmask.composer import Composer
from depthmask.dataset import ComposedSet
from depthmask.models.model_file import DepthMaskModel, make_model
from depthmask.params import Params, PhaseParams
from depthmask.params.reading import read_yaml
from depthmask.recipes import check_recipe
from depthmask.sources.assets import DemoSource
from depthmask.training.freezing import freeze_other_branch, list_tasks, set_training
from depthmask.training.objective import make_objective
from depthmask.training.runtime import prepare_device

PROJECT = Path(__file__).parents[1]
# a recipe for each published network
RECIPES = (
    "multi_dilation_unet",
    "dilated_small",
    "dilated_plain",
    "dilated_residual",
    "dilated_depth_classes",
    "resnet18_shuffle",
    "dense_concat",
    "branched_unet",
    "two_stream_separable",
)
STANDARD = {"mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]}
CHANNELS = {"image": STANDARD, "mask": {"mean": [0.08], "std": [0.25]}, "depth": {"mean": [0.4], "std": [0.25]}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("networks", nargs="*", help="recipes; all nine if none is named")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    values = read_yaml(PROJECT / "params.yaml", Params)
    setting = f"batches of {args.batch}, {args.threads} threads, torch {torch.__version__}"
    print(f"{setting}; medians of {args.repeats} steps, taken in turn")
    print(f"{'recipe':<24}{'px':>5}{'plain, images/s':>17}{'ours, images/s':>16}{'ratio':>7}{'gradients differ':>18}")
    for name in args.networks or RECIPES:
        print_row(name, check_recipe(name, values), args)


def print_row(name: str, params: Params, args: argparse.Namespace) -> None:
    """Measure one recipe's first phase, each loop in a process of its own: what ours sets for a process must not serve both."""
    context = multiprocessing.get_context("spawn")
    pipes, processes = {}, []
    for kind in ("plain", "ours"):
        pipes[kind], theirs = context.Pipe()
        processes.append(context.Process(target=serve, args=(kind, params, args.batch, args.threads, theirs), daemon=True))
        processes[-1].start()
    gradients = {kind: pipe.recv() for kind, pipe in pipes.items()}
    seconds: dict[str, list[float]] = {kind: [] for kind in pipes}
    for _ in range(args.repeats + 1):
        for kind, pipe in pipes.items():
            pipe.send("step")
            seconds[kind].append(pipe.recv())
    for pipe, process in zip(pipes.values(), processes, strict=True):
        pipe.send("end")
        process.join()
    speed = {kind: args.batch / statistics.median(taken[1:]) for kind, taken in seconds.items()}
    size_px, ratio, difference = params.pretrain.image_size_px, speed["ours"] / speed["plain"], compare(**gradients)
    print(f"{name:<24}{size_px:>5}{speed['plain']:>17.1f}{speed['ours']:>16.1f}{ratio:>7.2f}{difference:>18.1e}", flush=True)


def serve(kind: str, params: Params, batch_size: int, num_threads: int, pipe: Connection) -> None:
    """Send the gradients of a first step as arrays, then the seconds of a step whenever one is asked for."""
    torch.manual_seed(0)
    phase = params.pretrain.phases()[0]
    model = make_model(params.model, CHANNELS, params.download.depth.model_dump())
    batch = make_batch(params, phase, batch_size, model.background_input)
    torch.set_num_threads(num_threads)
    with freeze_other_branch(model, phase.tasks) as frozen:
        take = (make_plain_step if kind == "plain" else make_our_step)(model, frozen, params, phase, batch)
        take()
        pipe.send({name: None if p.grad is None else p.grad.numpy().copy() for name, p in model.named_parameters()})
        while pipe.recv() == "step":
            begun = time.perf_counter()
            take()
            pipe.send(time.perf_counter() - begun)


def compare(plain: dict[str, np.ndarray | None], ours: dict[str, np.ndarray | None]) -> float:
    """Largest difference in a parameter's gradient, of the largest value of that gradient."""
    worst = 0.0
    for name, expected in plain.items():
        if (expected is None) != (ours[name] is None):
            raise AssertionError(f"{name}: only one of the two loops has a gradient")
        if expected is not None and np.abs(expected).max() > 0:
            worst = max(worst, float(np.abs(expected - ours[name]).max() / np.abs(expected).max()))
    return worst


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
    set_training(model, frozen)
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
    model: DepthMaskModel, frozen: list, params: Params, phase: PhaseParams, batch: Batch
) -> Callable[[], torch.Tensor]:
    """What the training loop does between loading a batch and counting the step."""
    prepare_device(params.compute)
    model.to(memory_format=torch.channels_last)
    set_training(model, frozen)
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1e-6, momentum=0.9, fused=True)
    objective, moved = make_objective(phase, params.loss), batch.to("cpu", channels_last=True)

    def take() -> torch.Tensor:
        loss, _ = objective.weigh(model(moved.image_B3HW, moved.background_B3HW), moved)
        if not torch.isfinite(loss):
            raise ValueError("the loss is not finite")
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        return loss.detach()

    return take


if __name__ == "__main__":
    main()
