"""A stage does not outlive the tool that started it: when DVC or Snakemake dies, the stage stops as if by SIGTERM.

So a training saves a checkpoint, and a rerun of the same command finds no process still working. The processes from the stage
up to the topmost tool are watched; those above, such as a shell whose terminal was closed, may end at any time. A stage started
by hand has no tool above it and is left alone.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import threading
import time
from pathlib import PurePath

import psutil

from depthmask.base.process_identity import is_alive, is_ours
from depthmask.base.stop_signals import STAGES, is_stage_script

TOOLS = {"dvc", "snakemake", "torchrun", "stage_job.py"}  # the last is ours: what a Snakemake job runs
MODULES = {*TOOLS, "torch.distributed.run"}
# names the Snakemake process that a job belongs to; set for every job by workflow/common.smk
STARTED_BY = "DEPTHMASK_STARTED_BY"
DVC_STAGE = "DVC_STAGE"  # set by DVC for every stage it runs
GRACE_S = 0.2  # a signal to a whole group ends the tool at once, and reaches this process a moment later
LOOK_EVERY_S = 0.5  # polling interval where the system cannot notify of a process's end
WAKE_UP = signal.SIGURG  # ignored by default; with a handler that does nothing it ends a blocking call


def end_with_tool() -> None:
    """In a stage started by a tool: from now on, end when the tool does. Costs nothing while it lives."""
    if not is_stage_script():
        return
    own = psutil.Process()
    watched = find_tools(own)
    if is_orphan(own):
        os.kill(own.pid, signal.SIGTERM)
    elif watched:
        signal.signal(WAKE_UP, lambda *_: None)
        threading.Thread(target=_watch, args=(watched,), name="watch", daemon=True).start()


def find_tools(process: psutil.Process) -> list[psutil.Process]:
    """The processes from a process's parent up to the topmost tool that started it; empty if no tool did."""
    above = _list_above(process)
    places = [place for place, one in enumerate(above) if _is_tool(one)]
    return above[: places[-1] + 1] if places else []


def is_orphan(process: psutil.Process) -> bool:
    """Whether the tool that started a process has died; false if unknown."""
    try:
        environment = process.environ()
    except (psutil.Error, OSError):
        return False
    owner = environment.get(STARTED_BY, "")
    if owner and is_ours(owner) and not is_alive(owner):
        return True
    above = _list_above(process)
    # the system reparents an orphan to init, or to the first process of the user's session
    is_given_away = not above or above[0].pid == 1 or _read_name(above[0]) == "systemd"
    return DVC_STAGE in environment and is_given_away and not find_tools(process)


def is_ending(pid: int) -> bool:
    """Whether a process is gone, or an orphan about to end."""
    try:
        process = psutil.Process(pid)
        return process.status() == psutil.STATUS_ZOMBIE or is_orphan(process)
    except psutil.NoSuchProcess:
        return True
    except psutil.Error:
        return False


def _list_above(process: psutil.Process) -> list[psutil.Process]:
    """A process's parent, its parent, and so on, as the system names them.

    psutil's `parents` ends where a parent seems younger than its child, as all do that were started in the same second when the
    clock is set meanwhile.
    """
    above = []
    with contextlib.suppress(psutil.Error):
        while number := process.ppid():
            process = psutil.Process(number)
            above.append(process)
    return above


def _is_tool(process: psutil.Process) -> bool:
    try:
        words = process.cmdline()
    except psutil.Error:
        return False
    names = [PurePath(word).name for word in words[:1]]
    if names and names[0].startswith("python"):
        rest = [word for word in words[1:] if word == "-m" or not word.startswith("-")]
        if rest[:1] == ["-m"]:
            module = rest[1] if len(rest) > 1 else ""
            return module in MODULES or module.startswith(STAGES)  # a stage may start itself once per device
        names = [PurePath(word).name for word in rest[:1]]
    return bool(names) and names[0] in TOOLS


def _read_name(process: psutil.Process) -> str:
    try:
        return process.name()
    except psutil.Error:
        return ""


def _watch(watched: list[psutil.Process]) -> None:
    try:
        _wait_for_one(watched)
    except (OSError, AttributeError):  # no such call: not Linux, or forbidden
        while all(map(_is_running, watched)):
            time.sleep(LOOK_EVERY_S)
    time.sleep(GRACE_S)
    os.kill(os.getpid(), signal.SIGTERM)  # ignored if another one has come meanwhile
    while True:  # a signal that comes just before a blocking call is handled only after that call; another one ends it
        time.sleep(LOOK_EVERY_S)
        signal.pthread_kill(threading.main_thread().ident, WAKE_UP)


def _is_running(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _wait_for_one(watched: list[psutil.Process]) -> None:
    """Sleep until one of the processes ends; on Linux without polling."""
    ended = select.poll()
    for process in watched:
        ended.register(os.pidfd_open(process.pid), select.POLLIN)
        if not process.is_running():  # its PID may have been reused
            return
    ended.poll()
