"""Describes the hardware of a stage, and its peak memory. torch is used only if already loaded."""

from __future__ import annotations

import os
import platform
import resource
import sys
from pathlib import Path
from types import ModuleType

CPU_INFO = Path("/proc/cpuinfo")
NVIDIA = Path("/proc/driver/nvidia/version")
OWN_GROUPS, GROUPS = Path("/proc/self/cgroup"), Path("/sys/fs/cgroup")
BFLOAT16_FLAGS = {"amx_bf16", "avx512_bf16"}


def describe_hardware() -> dict[str, str | int]:
    """Processor, cores and memory of this machine; if torch is loaded, its GPU, and the UUIDs of those that the run used."""
    hardware: dict[str, str | int] = {"processor": _name_processor(), "cores": os.cpu_count() or 1, "system": platform.platform()}
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        hardware["memory_gib"] = round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30)
    torch = sys.modules.get("torch")
    if torch is not None:
        hardware["gpu"] = torch.cuda.get_device_name(0) if torch.cuda.is_available() else "none"
        if torch.cuda.is_available():
            hardware["gpu_uuids"] = ", ".join(_name_gpus(torch.cuda))
    return hardware


def _name_gpus(cuda: ModuleType) -> list[str]:
    """The UUIDs of the GPUs, or of the MIG device, of this process and of those that compute the same training on this machine.

    cuda: torch.cuda. Each process uses the GPU of its rank.
    """
    count = min(int(os.environ.get("LOCAL_WORLD_SIZE", 1)), cuda.device_count())
    listed = [name.strip() for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")]
    if all(name.startswith(("GPU-", "MIG-")) for name in listed):
        return listed[:count]
    return [f"GPU-{cuda.get_device_properties(number).uuid}" for number in range(count)]


def measure_peak_memory_mib() -> int:
    """Of GPU tensors if the process used a GPU, else of this process; loader processes are not counted."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available() and torch.cuda.max_memory_allocated():
        return round(torch.cuda.max_memory_allocated() / 2**20)
    kib = 2**10 if sys.platform == "darwin" else 1  # macOS counts bytes
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / kib / 2**10)


def multiplies_bfloat16() -> bool:
    """Whether the processor has instructions for products of bfloat16 (AMX or AVX-512 BF16), according to Linux."""
    return not BFLOAT16_FLAGS.isdisjoint((_ask_processor("flags") or "").split())


def _name_processor() -> str:
    return _ask_processor("model name") or platform.processor() or platform.machine()


def _ask_processor(key: str) -> str | None:
    """A value for the first core from /proc/cpuinfo; None if missing."""
    try:
        with CPU_INFO.open(encoding="utf-8") as info:
            return next(line.split(":", 1)[1].strip() for line in info if line.startswith(key))
    except (OSError, StopIteration):
        return None


def count_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def find_gpu() -> bool:
    """Whether `auto` would use a GPU, judged without torch: by an NVIDIA driver, or on a Mac."""
    return NVIDIA.exists() or (sys.platform == "darwin" and platform.machine() == "arm64")


def find_memory_bytes() -> float:
    """Memory this process may use: the machine's, or what control groups or limits allow; infinity if unknown."""
    limits = [float("inf")]
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        limits.append(float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")))
    for kind in (resource.RLIMIT_AS, resource.RLIMIT_DATA):
        soft, _ = resource.getrlimit(kind)
        if soft not in (resource.RLIM_INFINITY, -1):
            limits.append(float(soft))
    return min([*limits, *_read_group_limits()])


def _read_group_limits() -> list[float]:
    """Memory limits of this process's control groups, from its own up to the root, in both cgroup versions."""
    try:
        lines = OWN_GROUPS.read_text()
    except OSError:
        return []
    limits = []
    for line in lines.splitlines():
        _, _, named = line.partition(":")
        controllers, _, group = named.partition(":")
        root, name = (GROUPS, "memory.max") if not controllers else (GROUPS / "memory", "memory.limit_in_bytes")
        if controllers and "memory" not in controllers.split(","):
            continue
        own = root / group.lstrip("/")
        for folder in (own, *own.parents):
            try:
                text = (folder / name).read_text().strip()
            except OSError:
                text = "max"
            if text.isdigit():
                limits.append(float(text))
            if folder == root:
                break
    return limits
