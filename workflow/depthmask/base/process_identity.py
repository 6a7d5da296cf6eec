"""Names for processes that no later process with the same PID, and no other machine, can have."""

from __future__ import annotations

import functools
import hashlib
import os
import platform
from pathlib import Path

import psutil

PROC = Path("/proc")
NAME = r"(\d+)-(\w+)-([0-9a-f]{8})"  # of a process: PID, start time, machine


@functools.cache
def name_machine() -> str:
    """This boot of this machine, and the PID namespace of this process."""
    parts = [platform.node()]
    for path in (PROC / "sys/kernel/random/boot_id", PROC / "self/ns/pid"):
        try:
            parts.append(path.readlink().name if path.is_symlink() else path.read_text(encoding="utf-8"))
        except OSError:
            parts.append("")  # not Linux
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:8]


def read_start(pid: int) -> str | None:
    """When a process was started, in system units; None if it has ended, even if its parent has not reaped it."""
    try:
        if PROC.joinpath("self/stat").exists():
            # not psutil's time, which changes when the clock is set
            state, *values = (PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
            return None if state in "ZX" else values[18]
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else str(round(1000 * process.create_time()))
    except (OSError, psutil.Error):
        return None


def name_process(pid: int | None = None) -> str:
    """The name of a process on this machine; default: this process."""
    pid = os.getpid() if pid is None else pid
    return f"{pid}-{read_start(pid) or 0}-{name_machine()}"


def is_ours(name: str) -> bool:
    """Whether a process name is from this machine, so that `is_alive` can be asked."""
    return name.rpartition("-")[2] == name_machine()


def is_alive(name: str) -> bool:
    """Whether the named process of this machine is still running."""
    pid, start, _ = name.split("-")
    return read_start(int(pid)) == start
