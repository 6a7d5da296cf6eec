"""Learning-rate range test: the rate grows exponentially from step to step; where the loss falls fastest is a good start.

L. N. Smith, "Cyclical learning rates for training neural networks" (2017). `depthmask lr-range` writes a plot and a table
and prints a suggestion.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import numpy as np
import torch

from depthmask.base.entry_points import print_errors_as_lines
from depthmask.base.errors import UserError
from depthmask.base.files import replace_file, write_csv
from depthmask.base.terminal import track
from depthmask.loading.split_files import read_weights
from depthmask.params import load_params
from depthmask.sources.folders import choose_data
from depthmask.training.distributed import make_fabric
from depthmask.training.freezing import freeze_modules, set_training
from depthmask.training.job import Job
from depthmask.training.loading import open_part
from depthmask.training.objective import make_objective
from depthmask.training.schedules import make_optimizer
from depthmask.training.stage import make_job, open_model

RATE_MIN, RATE_MAX, STEPS_MAX = 1e-12, 1e4, 100_000
SMOOTHING = 0.9  # of the running mean that smooths the noise of single batches
STOP_FACTOR = 4  # the loss has diverged once it is this many times its minimum


def measure_losses(job: Job, rates: np.ndarray) -> np.ndarray:
    """The smoothed loss of the first phase at each rate; shorter than `rates` if the loss diverged before the end."""
    fabric, stage = make_fabric(job.compute), job.stage
    phase = job.phases[0]
    model = open_model(job)
    samples = open_part(job, phase, "train", phase.samples_per_epoch, model.background_input)
    if len(samples) < phase.batch_size:
        raise UserError(f"{stage}.batch_size: {phase.batch_size} is above the {len(samples)} training composites; lower it")
    objective = make_objective(phase, job.loss)
    mean, losses = 0.0, []
    with freeze_modules(model, phase) as frozen:
        set_training(model, frozen)
        network, optimizer = fabric.setup(model, make_optimizer(model, phase, fused=False))
        factors = [group["lr"] / phase.learning_rate for group in optimizer.param_groups]
        for step, rate in enumerate(track(rates, "range test", "steps")):
            for group, factor in zip(optimizer.param_groups, factors, strict=True):
                group["lr"] = float(rate) * factor
            places = [divmod(step * phase.batch_size + i, len(samples)) for i in range(phase.batch_size)]
            batch = samples[places].to(fabric.device)
            loss, _ = objective.compute_loss(network(batch.image_B3HW, batch.background_B3HW), batch)
            optimizer.zero_grad(set_to_none=True)
            fabric.backward(loss)
            optimizer.step()
            mean = SMOOTHING * mean + (1 - SMOOTHING) * loss.item()
            losses.append(mean / (1 - SMOOTHING ** (step + 1)))
            if not math.isfinite(losses[-1]) or losses[-1] > STOP_FACTOR * min(losses):
                break
    return np.array(losses)


def suggest_rate(rates: np.ndarray, losses: np.ndarray) -> float:
    """The rate where the smoothed loss falls fastest against the logarithm of the rate.

    Raises:
        UserError: the loss never fell.
    """
    num_usable = int(np.argmin(losses)) + 1
    if num_usable < 3:
        raise UserError("lr-range: the loss never fell; try a lower --min-rate or more --steps")
    gradient = np.gradient(losses[:num_usable], np.log(rates[:num_usable]))
    return float(rates[int(np.argmin(gradient))])


def draw_curve(rates: np.ndarray, losses: np.ndarray, suggestion: float, path: Path) -> None:
    """A PNG of the loss over the rate, with the suggestion marked."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
    axes.semilogx(rates[: len(losses)], losses)
    axes.axvline(suggestion, color="tab:orange", linestyle="--", label=f"suggested: {suggestion:.2g}")
    axes.set(xlabel="learning rate", ylabel="training loss, smoothed", title="Learning-rate range test")
    axes.legend()
    with replace_file(path) as temporary:
        figure.savefig(temporary, format="png", dpi=120)
    plt.close(figure)


@print_errors_as_lines
def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="depthmask lr-range", description=__doc__)
    parser.add_argument("--params", default="params.yaml")
    parser.add_argument("--stage", choices=("pretrain", "finetune"), default="pretrain", help="stage whose first phase is used")
    parser.add_argument("--raw", type=Path, default=Path("data/raw"))
    parser.add_argument("--store", type=Path, default=Path("data/store"))
    parser.add_argument("--more", type=Path, default=Path("data/raw_more"), help="folder of further sources")
    parser.add_argument("--split", type=Path, default=Path("data/split"))
    parser.add_argument("--start", type=Path, default=Path("data/weights"), help="folder of the weights stage (pretrain)")
    parser.add_argument("--init", type=Path, help="model file to continue from (finetune: pretrain's)")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--min-rate", type=float, default=1e-6)
    parser.add_argument("--max-rate", type=float, default=1.0)
    parser.add_argument("--out", type=Path, default=Path("reports/lr_range"), help="folder for the plot and the table")
    args = parser.parse_args(argv)
    if not (RATE_MIN <= args.min_rate < args.max_rate <= RATE_MAX and 10 <= args.steps <= STEPS_MAX):
        allowed = f"{RATE_MIN:g} <= --min-rate < --max-rate <= {RATE_MAX:g}, and 10 to {STEPS_MAX} --steps"
        raise UserError(f"lr-range: allowed: {allowed}")

    params = load_params(args.params)
    init = args.init or (Path("data/models/pretrain.safetensors") if args.stage == "finetune" else None)
    source = {"init": init} if init else {"start": args.start}
    data = choose_data(args.raw, args.store, args.more, list(read_weights(args.split)))
    job = make_job(params, args.stage, data, args.split, **source)
    torch.manual_seed(params.seed)
    rates = np.geomspace(args.min_rate, args.max_rate, args.steps)
    losses = measure_losses(job, rates)
    suggestion = suggest_rate(rates, losses)
    rows = [{"learning_rate": f"{r:.6g}", "loss": f"{v:.6g}"} for r, v in zip(rates, losses, strict=False)]
    write_csv(args.out / f"{args.stage}.csv", ["learning_rate", "loss"], rows)
    draw_curve(rates, losses, suggestion, args.out / f"{args.stage}.png")
    print(
        f"suggested {args.stage}.learning_rate: {suggestion:.2g}, where the loss falls fastest; see {args.out / args.stage}.png"
    )
    return 0
