"""Device, precision, determinism and what only changes speed."""

from __future__ import annotations

import ctypes
import os
import platform
from dataclasses import dataclass
from pathlib import Path

import torch

from depthmask.errors import UserError
from depthmask.params import ComputeParams

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
KEPT_BYTES_MAX = 1 << 30
CPU_INFO = Path("/proc/cpuinfo")


@dataclass(frozen=True)
class SpeedOptions:
    """What changes how fast a run is and never what it gives; from the environment, so that both tools can pass it on.

    times: whether the parts of a step are timed. devices: processes, one a device. micro_batch: most samples of a batch that
    are computed at once. The last two change the last bits, and micro_batch what batch norms see.
    """

    num_workers: int
    checkpoint_steps: int | None
    checkpoint_minutes: float
    times: bool = False
    devices: int = 1
    micro_batch: int | None = None


def read_speed_options(environment: dict[str, str] | None = None) -> SpeedOptions:
    """From DEPTHMASK_WORKERS (default: one fewer than the cores, at most 8), and its like.

    The others: DEPTHMASK_CHECKPOINT_STEPS (none), DEPTHMASK_CHECKPOINT_MINUTES (1), DEPTHMASK_TIMES (0), DEPTHMASK_DEVICES (1),
    DEPTHMASK_MICRO_BATCH (none).

    Raises:
        UserError: one of them is not a number, or negative, or _TIMES is neither 0 nor 1.
    """
    env = os.environ if environment is None else environment

    def read(name: str, default, kind, most=float("inf"), allowed="a number that is not negative"):
        text = env.get(f"DEPTHMASK_{name}", "")
        if not text:
            return default
        try:
            value = kind(text)
        except ValueError:
            value = -1
        if not 0 <= value <= most:
            raise UserError(f"environment: DEPTHMASK_{name}={text}; allowed: {allowed}")
        return value

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return SpeedOptions(
        num_workers=read("WORKERS", max(1, min(8, cores - 1)), int),
        checkpoint_steps=read("CHECKPOINT_STEPS", None, int) or None,
        checkpoint_minutes=read("CHECKPOINT_MINUTES", 1.0, float),
        times=bool(read("TIMES", 0, int, most=1, allowed="0 or 1")),
        devices=read("DEVICES", 1, int) or 1,
        micro_batch=read("MICRO_BATCH", None, int) or None,
    )


def choose_device(name: str) -> str:
    """cpu, cuda or mps for `auto`; otherwise the name itself.

    Raises:
        UserError: the device asked for is not there.
    """
    has_cuda, has_mps = torch.cuda.is_available(), torch.backends.mps.is_available()
    if name == "auto":
        return "cuda" if has_cuda else "mps" if has_mps else "cpu"
    if (name == "cuda" and not has_cuda) or (name == "mps" and not has_mps):
        raise UserError(f"compute.device: {name}, but torch {torch.__version__} sees none here; set it to auto or cpu")
    return name


def choose_precision(name: str, device: str) -> str:
    """Fabric's name of the precision; `auto` takes bfloat16 on GPUs that compute in it, and on CPUs with AMX."""
    if name == "auto":
        has_cuda_units = device == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
        name = "bfloat16" if has_cuda_units or (device == "cpu" and has_amx()) else "float32"
    return {"float32": "32-true", "bfloat16": "bf16-mixed"}[name]


def prepare_device(compute: ComputeParams) -> torch.device:
    """Set threads and determinism for this process and return the device to compute on."""
    torch.set_num_threads(compute.threads)
    device = choose_device(compute.device)
    if device == "cpu":
        keep_freed_memory()
    if compute.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.backends.cudnn.benchmark = False
    else:
        torch.backends.cudnn.benchmark = True
    torch.use_deterministic_algorithms(compute.deterministic)
    # else every new tensor is written twice, to make reads of what nobody has written show; no operation here does that
    torch.utils.deterministic.fill_uninitialized_memory = False
    return torch.device(device)


def keep_freed_memory() -> None:
    """Have glibc reuse the memory of large tensors: given back and asked for again, it cost a fifth of a step at 80 px."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if os.name == "posix" else None
    if mallopt is not None:  # neither macOS nor musl has it
        mallopt(M_MMAP_THRESHOLD, KEPT_BYTES_MAX)
        mallopt(M_TRIM_THRESHOLD, KEPT_BYTES_MAX)


def describe_hardware() -> dict[str, str | int]:
    """Processor, cores, memory and GPU of this machine."""
    facts: dict[str, str | int] = {"processor": _name_processor(), "cores": os.cpu_count() or 1, "system": platform.platform()}
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        facts["memory_gib"] = round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30)
    facts["gpu"] = torch.cuda.get_device_name(0) if torch.cuda.is_available() else "none"
    return facts


def has_amx() -> bool:
    """Whether the processor multiplies matrices of bfloat16 in units of its own, as Linux tells it."""
    return "amx_bf16" in (_ask_processor("flags") or "").split()


def _name_processor() -> str:
    return _ask_processor("model name") or platform.processor() or platform.machine()


def _ask_processor(key: str) -> str | None:
    """What Linux says of the first core; None where there is no such word."""
    try:
        with CPU_INFO.open(encoding="utf-8") as info:
            return next(line.split(":", 1)[1].strip() for line in info if line.startswith(key))
    except (OSError, StopIteration):
        return None
