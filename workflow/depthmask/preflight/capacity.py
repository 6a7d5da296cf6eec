"""Compares an estimate with the machine: a summary line, warnings, and an error for the absurd.

An estimate is right within a factor of about two, so only four times the machine's capacity is an error. Below that the machine
may swap, or the run ends in one line. `check` may run on another machine than the training, as on a cluster;
DEPTHMASK_LIMITS=warn only warns.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from depthmask.base.errors import ParamsError, UserError
from depthmask.base.failures import KEYS
from depthmask.base.terminal import warn
from depthmask.params import Params
from depthmask.preflight.estimate import Estimate, estimate_run
from depthmask.preflight.network_costs import is_measured
from depthmask.runs.hardware import count_cores, find_memory_bytes

MEMORY_TIMES_MAX = 4.0  # of the machine's memory
SHOWN_MAX = 4  # stages that the summary lists one by one
YEAR_S = 365 * 86400.0
SECONDS_MAX, SECONDS_LONG = YEAR_S, 14 * 86400.0
THREADS_TIMES_MAX, THREADS_ALWAYS = 8, 16  # this many threads per core are an error, unless there are few in total
TIME_KEYS = {
    "trials": "trials, budget.amount or score_images",
    "evaluate_other": "evaluate.image_size_px, or num_samples of the set in evaluate.more",
    "evaluate": "evaluate.num_samples, evaluate.baseline_samples or evaluate.image_size_px",
    "pretrain": "pretrain.epochs, pretrain.samples_per_epoch, pretrain.validation_samples or pretrain.image_size_px",
    "finetune": "finetune.epochs, finetune.samples_per_epoch, finetune.validation_samples or finetune.image_size_px",
}


@dataclass(frozen=True)
class Machine:
    """Memory available to this process; free and total disk space."""

    num_cores: int
    memory_bytes: float
    disk_free_bytes: float
    disk_bytes: float


def look_at_machine(folder: Path = Path()) -> Machine:
    """Measure this machine; folder: results go to its disk."""
    disk = shutil.disk_usage(folder)
    return Machine(count_cores(), find_memory_bytes(), disk.free, disk.total)


def check_run(params: Params, where: str) -> str:
    """Check capacity (see `check_capacity`) and return a summary of what the run takes."""
    if not is_measured(params.model):
        return f"no estimate, because depthmask/preflight/network_costs.py has no row for {params.model.name}"
    machine = look_at_machine()
    estimate = estimate_run(params, machine.num_cores)
    check_capacity(estimate, params.compute.threads, where, machine)
    return describe_estimate(estimate)


def describe_estimate(estimate: Estimate) -> str:
    """`about 1.3 GB of memory, 70 MB of disk and 4 min on 2 threads (pretrain 0.9 GB and 2 min, ...)`."""
    if not estimate.phases:
        return "no estimate, because depthmask/preflight/network_costs.py has no row for any of the networks"
    parts, stages = [], {phase.stage for phase in estimate.phases}
    for stage in dict.fromkeys(phase.stage for phase in estimate.phases):
        phases = [phase for phase in estimate.phases if phase.stage == stage]
        times = [phase.seconds for phase in phases if phase.seconds is not None]
        memory = format_bytes(max(phase.memory_bytes for phase in phases))
        parts.append(f"{stage} {memory}" + (f" and {format_roughly(sum(times))}" if times else ""))
    memory = format_bytes(estimate.memory_bytes) + (" of GPU memory" if estimate.on_gpu else " of memory")
    store = f" (and {format_bytes(estimate.store_bytes_each)} per composite)" if estimate.store_bytes_each else ""
    disk = f"{format_bytes(estimate.disk_bytes)} of disk{store}"
    threads = f"{estimate.threads} thread{'' if estimate.threads == 1 else 's'}"
    time = "" if estimate.seconds is None else f", {format_roughly(estimate.seconds)} on {threads}"
    return f"about {memory}, {disk}{time}" + (f": {', '.join(parts)}" if len(stages) <= SHOWN_MAX else "")


def check_capacity(
    estimate: Estimate, threads: int, where: str, machine: Machine, environment: Mapping[str, str] | None = None
) -> None:
    """Warn about what exceeds the machine, and raise if it is absurd. threads: compute.threads.

    Raises:
        ParamsError: a phase needs MEMORY_TIMES_MAX times the machine's memory, or a year; the results do not fit on the
            disk; or there are far more threads than cores.
        UserError: DEPTHMASK_LIMITS is neither `refuse` nor `warn`.
    """
    limits = (os.environ if environment is None else environment).get("DEPTHMASK_LIMITS") or "refuse"
    if limits not in ("refuse", "warn"):
        raise UserError(f"environment: DEPTHMASK_LIMITS={limits}; allowed: refuse or warn")
    for absurd, line in _judge(estimate, threads, machine):
        if absurd and limits == "refuse":
            raise ParamsError(f"{where}: {line}", hint="if training runs on a larger machine, set DEPTHMASK_LIMITS=warn")
        warn(f"{where}: {line}")


def _judge(estimate: Estimate, threads: int, machine: Machine) -> list[tuple[bool, str]]:
    """What exceeds the machine, each with whether it is absurd."""
    said = []
    for phase in estimate.phases:
        stage = phase.stage.partition("@")[0]
        memory, keys = phase.memory_bytes, KEYS.get(stage, KEYS["leaderboard.train"])
        if not estimate.on_gpu and memory > machine.memory_bytes:
            said.append(
                (
                    memory > MEMORY_TIMES_MAX * machine.memory_bytes,
                    f"{phase.stage} takes about {format_bytes(memory)} of memory, but this machine has"
                    f" {format_bytes(machine.memory_bytes)}; lower {keys}",
                )
            )
        if phase.seconds is not None and phase.seconds > SECONDS_LONG:
            lower = TIME_KEYS.get(stage, "budget.amount, or the number of seeds")
            said.append(
                (phase.seconds > SECONDS_MAX, f"{phase.stage} takes about {format_roughly(phase.seconds)} here; lower {lower}")
            )
    if estimate.disk_bytes > machine.disk_free_bytes:
        said.append(
            (
                estimate.disk_bytes > machine.disk_bytes,
                f"the results take about {format_bytes(estimate.disk_bytes)} of disk, but {format_bytes(machine.disk_free_bytes)}"
                " are free; free some space, or lower image_size_px or model.width",
            )
        )
    if threads > machine.num_cores:
        said.append(
            (
                threads > max(THREADS_ALWAYS, THREADS_TIMES_MAX * machine.num_cores),
                f"compute.threads: {threads}, but this machine has {machine.num_cores} cores, so it will be slow; lower it",
            )
        )
    return said


def format_bytes(number: float) -> str:
    """Two digits: 70 MB, 1.3 GB, 52 GB."""
    for unit, size in (("PB", 1e15), ("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if number >= 0.995 * size:
            return _round(number / size) + f" {unit}"
    return f"{number:.0f} bytes"


def format_roughly(seconds: float) -> str:
    """Two digits in the largest unit: 40 s, 4 min, 3 h, 12 days, 3,000 years."""
    for unit, size in (("years", YEAR_S), ("days", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= (1 if unit == "min" else 2) * size:
            return f"{_round(seconds / size)} {unit}"
    return f"{max(1, round(seconds))} s"


def _round(value: float) -> str:
    return f"{float(f'{value:.2g}'):,g}" if value < 1e15 else f"{value:.0e}"
