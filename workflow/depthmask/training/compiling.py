"""torch.compile where `compute.compile` asks for it; a compiler that fails costs one line, not the run."""

from __future__ import annotations

import copy

import torch

from depthmask.models.model_file import DepthMaskModel
from depthmask.training.accumulate import MAPS, make_fake_batch
from depthmask.training.fabric import Fabric

BACKEND = "inductor"


def compile_model(model: DepthMaskModel, fabric: Fabric, batch_size: int, size_px: int) -> tuple[torch.nn.Module, str]:
    """The compiled model and `on`; or the model as it is, and `off: ` with the reason.

    The compiler is tried on a copy first, so that neither weights nor random states of the run change.
    """
    if fabric.world_size > 1:
        return model, "off: the exchange between processes cannot be compiled"
    torch.use_deterministic_algorithms(torch.are_deterministic_algorithms_enabled())  # tells the compiler, too
    failure = _find_failure(model, fabric, batch_size, size_px)
    if failure is not None:
        return model, f"off: the compiler failed ({failure})"
    return torch.compile(model, backend=BACKEND), "on"


def _find_failure(model: DepthMaskModel, fabric: Fabric, batch_size: int, size_px: int) -> str | None:
    """What a forward and a backward pass of a compiled copy raise, in one line; None if they work."""
    batch = make_fake_batch(model, batch_size, size_px)
    with torch.random.fork_rng(devices=[fabric.device] if fabric.device.type == "cuda" else []):
        try:
            compiled = torch.compile(copy.deepcopy(model).train(), backend=BACKEND)
            with fabric.autocast():
                prediction = compiled(batch.image_B3HW, batch.background_B3HW)
            maps = [getattr(prediction, name) for name in MAPS]
            sum(output.float().mean() for output in maps if output is not None).backward()
        except Exception as error:  # whatever a compiler may raise
            return f"{type(error).__name__}: {' '.join(str(error).split())[:120]}"
        finally:
            torch.compiler.reset()
    return None
