"""Processes that work for this one: they leave every signal to stop to it, and live no longer than it does.

A terminal sends Ctrl-C, and a scheduler SIGTERM or SIGUSR1, to all processes of a job at once. A worker that died of it would
keep the parent from finishing what it is at, such as the step of a training that is to be saved.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys
from typing import Any

from depthmask.base.stop_signals import STOP_SIGNALS

# the same start method in every Python: from 3.14, Linux would put a fork server between parent and child, which
# `die_with_parent` would watch instead of the parent
START_METHOD = "fork" if sys.platform == "linux" else "spawn"
LEFT_TO_PARENT = (signal.SIGINT, *STOP_SIGNALS)
PR_SET_PDEATHSIG = 1  # of Linux's prctl.h
_CONTEXT = multiprocessing.get_context(START_METHOD)


class WorkerProcess(_CONTEXT.Process):
    """A process of multiprocessing that cannot be told to stop by a signal, only killed, as `terminate` does here."""

    def start(self) -> None:
        # blocked, which a child inherits, rather than ignored by it: from its first moment, and whatever handlers it is given
        before = signal.pthread_sigmask(signal.SIG_BLOCK, LEFT_TO_PARENT)
        try:
            super().start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def run(self) -> None:
        die_with_parent()
        parent = multiprocessing.parent_process()
        if parent is None or os.getppid() != parent.pid:
            os._exit(1)  # it died before the system knew that this process was to die, too
        super().run()

    @staticmethod
    def _Popen(process: Any) -> Any:  # noqa: N802 (multiprocessing's own name)
        started = _CONTEXT.Process._Popen(process)
        started.terminate = started.kill  # also what multiprocessing calls when the parent exits
        return started


class WorkerContext(type(_CONTEXT)):
    """The context of multiprocessing whose processes are workers, for torch's loader and for process pools."""

    Process = WorkerProcess


WORKERS = WorkerContext()


def die_with_parent() -> None:
    """In a worker process: end at once when the parent dies, if the system supports it (Linux)."""
    prctl = getattr(ctypes.CDLL(None), "prctl", None) if sys.platform == "linux" else None
    if prctl is not None:
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
