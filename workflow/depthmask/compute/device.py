"""Device, precision, determinism."""

from __future__ import annotations

import os

import cv2
import torch

from depthmask.base.errors import UserError
from depthmask.compute.gpu_pool import claim_gpus
from depthmask.compute.memory import keep_freed_memory
from depthmask.compute.openmp import claim_threads
from depthmask.params import ComputeParams
from depthmask.runs.hardware import multiplies_bfloat16


def choose_device(name: str, where: str = "compute.device") -> str:
    """Resolve `auto` to cuda, mps or cpu; return other names unchanged. where: the key that sets it.

    Raises:
        UserError: the requested device is not available.
    """
    has_cuda, has_mps = torch.cuda.is_available(), torch.backends.mps.is_available()
    if name == "auto":
        return "cuda" if has_cuda else "mps" if has_mps else "cpu"
    if (name == "cuda" and not has_cuda) or (name == "mps" and not has_mps):
        raise UserError(f"{where}: {name}, but torch {torch.__version__} finds none here; set it to auto or cpu")
    return name


def take_gpus(count: int) -> None:
    """Claim GPUs for this process, or for those that it starts, if torch could use them at all and has not begun to."""
    if torch.backends.cuda.is_built() and not torch.cuda.is_initialized():
        claim_gpus(count)


def choose_precision(name: str, device: str) -> str:
    """Fabric's name of the precision; `auto` takes bfloat16 on GPUs and CPUs that have instructions for it."""
    if name == "auto":
        has_cuda_units = device == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
        name = "bfloat16" if has_cuda_units or (device == "cpu" and multiplies_bfloat16()) else "float32"
    return {"float32": "32-true", "bfloat16": "bf16-mixed"}[name]


def prepare_device(compute: ComputeParams, section: str = "compute") -> torch.device:
    """Set threads and determinism of this process, which must be our own, and return the device to compute on.

    Of several GPUs the process takes one that no other job uses, unless it was started with its own.

    section: of params, for errors.

    Raises:
        UserError: the device or the number of threads is not available here.
    """
    if compute.device in ("auto", "cuda"):
        take_gpus(1)
    claim_threads(compute.threads, f"{section}.threads")
    cv2.setNumThreads(0)  # samples are made in parallel processes; OpenCV threads would compete with the network's
    device = choose_device(compute.device, f"{section}.device")
    if device == "cpu":
        keep_freed_memory()
    if compute.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.backends.cudnn.benchmark = False
    else:
        torch.backends.cudnn.benchmark = True
    # not use_deterministic_algorithms, which also loads the compiler to tell it: a second at every start
    torch.set_deterministic_debug_mode("error" if compute.deterministic else "default")
    # otherwise every new tensor is filled, to expose reads of uninitialised memory; no operation here reads any
    torch.utils.deterministic.fill_uninitialized_memory = False
    return torch.device(device)


def prepare_cpu(compute: ComputeParams) -> None:
    """The same for a stage that has no use for a GPU, whatever `compute.device` says."""
    prepare_device(compute.model_copy(update={"device": "cpu"}))
