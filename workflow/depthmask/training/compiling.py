"""torch.compile where it is asked for or pays, which is measured; a compiler that fails costs one line, not the run."""

from __future__ import annotations

import contextlib
import copy
import statistics
import time
from dataclasses import dataclass
from typing import Any

import torch

from depthmask.base.files import choose_cache, hash_json, read_json, write_json
from depthmask.models.model_file import DepthMaskModel
from depthmask.params import ComputeParams
from depthmask.runs.hardware import describe_hardware
from depthmask.training.accumulate import MAPS, make_fake_batch
from depthmask.training.fabric import Fabric

BACKEND = "inductor"
NUM_WARM, NUM_TIMED = 2, 5
FILE = "compile.json"  # in the cache: what was measured, by a hash of what decides it


@dataclass(frozen=True)
class Speeds:
    """Seconds of a step (forward and backward) either way, and of compiling; or why it cannot be compiled."""

    eager: float = 0.0
    compiled: float = 0.0
    compiling: float = 0.0
    failure: str | None = None


def choose_network(
    model: DepthMaskModel, compute: ComputeParams, fabric: Fabric, batch_size: int, size_px: int, num_steps: int
) -> tuple[torch.nn.Module, str]:
    """The model, compiled or as it is, and why in a few words.

    `compute.compile: auto` compiles if that takes less time over `num_steps`, the compiling included. What is measured is
    measured on a copy, so that neither weights nor random states of the run change.
    """
    is_auto = compute.compile == "auto"
    if not compute.compile:
        return model, "off"
    if fabric.world_size > 1:
        return model, "off: the exchange between processes cannot be compiled"
    speeds = _look_up(model, compute, fabric, batch_size, size_px) if is_auto else _try(model, fabric, batch_size, size_px, 0)
    if speeds.failure is not None:
        return model, f"off: it failed ({speeds.failure})"
    if is_auto:
        saved = num_steps * (speeds.eager - speeds.compiled) - speeds.compiling
        told = (
            f"{1000 * speeds.compiled:.3g} ms a step against {1000 * speeds.eager:.3g}, {speeds.compiling:.3g} s to compile,"
            f" {num_steps} steps"
        )
        if saved <= 0:
            return model, f"off: it does not pay ({told})"
        return torch.compile(model, backend=BACKEND), f"on: it pays ({told})"
    return torch.compile(model, backend=BACKEND), "on"


def _look_up(model: DepthMaskModel, compute: ComputeParams, fabric: Fabric, batch_size: int, size_px: int) -> Speeds:
    """Measured before on this machine, or now."""
    file = choose_cache() / FILE
    device = fabric.device
    key = hash_json(
        {
            "torch": torch.__version__,
            "device": [device.type, describe_hardware()["gpu" if device.type == "cuda" else "processor"]],
            "compute": compute.model_dump(exclude={"compile", "device"}),
            "network": model.card.settings,
            "batch": [batch_size, size_px],
        }
    )
    known: dict[str, Any] = {}
    with contextlib.suppress(OSError, ValueError):  # none yet, or damaged: it is measured again
        known = read_json(file)
    if key not in known:
        speeds = _try(model, fabric, batch_size, size_px, NUM_TIMED)
        if speeds.failure is not None:
            return speeds  # not kept: a compiler may be installed, memory may be free
        known[key] = vars(speeds)
        with contextlib.suppress(OSError):  # a cache that cannot be written costs time alone
            write_json(file, known)
    return Speeds(**known[key])


def _try(model: DepthMaskModel, fabric: Fabric, batch_size: int, size_px: int, num_timed: int) -> Speeds:
    """Compile a copy of the model, take a step with it, and time further ones if asked for."""
    devices = [fabric.device] if fabric.device.type == "cuda" else []
    batch = make_fake_batch(model, batch_size, size_px)
    with torch.random.fork_rng(devices=devices):
        copied = copy.deepcopy(model).train()
        try:
            compiled = torch.compile(copied, backend=BACKEND)
            compiling = _time_step(compiled, batch, fabric)
            seconds = {}
            if num_timed:
                for name, timed in (("eager", copied), ("compiled", compiled)):
                    times = [_time_step(timed, batch, fabric) for _ in range(NUM_WARM + num_timed)]
                    seconds[name] = statistics.median(times[NUM_WARM:])
        except Exception as error:  # whatever a compiler may raise
            return Speeds(failure=f"{type(error).__name__}: {' '.join(str(error).split())[:120]}")
        finally:
            torch.compiler.reset()
    return Speeds(compiling=compiling, **seconds)


def _time_step(model: torch.nn.Module, batch: Any, fabric: Fabric) -> float:
    start = time.perf_counter()
    with fabric.autocast():
        prediction = model(batch.image_B3HW, batch.background_B3HW)
    maps = [getattr(prediction, name) for name in MAPS]
    sum(output.float().mean() for output in maps if output is not None).backward()
    model.zero_grad(set_to_none=True)
    if fabric.device.type == "cuda":
        torch.cuda.synchronize(fabric.device)
    return time.perf_counter() - start
