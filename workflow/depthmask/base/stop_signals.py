"""The signals with which schedulers ask a job to stop, and how a process of ours answers them.

SIGTERM comes from scancel, at a time limit, from a preemption or from `kill`; SIGUSR1 and SIGUSR2 come some time before the
limit where they were asked for (Slurm's --signal, Grid Engine's -notify, LSF's -wa). They reach every process of a job, often
several times: the first one counts, and the same work is then left the same way, whichever it was.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from typing import NoReturn

STOP_SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
STAGES = "stages."  # a script of ours is started as `python -m stages.NAME`


class Terminated(KeyboardInterrupt):
    """One of STOP_SIGNALS arrived; like Ctrl-C it ends the work after cleanup."""

    def __init__(self, signal_number: int = signal.SIGTERM):
        super().__init__()
        self.signal_number = signal_number


def name_signal(number: int) -> str:
    """`SIGTERM`; `Ctrl-C` for the one that a terminal sends."""
    return "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name


def find_number(error: BaseException | None) -> int:
    """The signal that raised a KeyboardInterrupt."""
    return error.signal_number if isinstance(error, Terminated) else signal.SIGINT


def is_stage_script(command: Sequence[str] | None = None) -> bool:
    """Whether a Python command line is `python -m stages.NAME`; of this process, false where a stage is imported by a test."""
    command = sys.orig_argv if command is None else command
    return "-m" in command[:-1] and command[command.index("-m") + 1].startswith(STAGES)


def leave_on_stop_signals() -> None:
    """In a stage's script: until its `main` runs, a signal to stop ends it with a line; nothing has been begun by then.

    Imports take seconds, and an exception in their midst would print a traceback.
    """
    if is_stage_script():
        for number in STOP_SIGNALS:
            signal.signal(number, leave)


def leave(number: int, _: object = None) -> NoReturn:
    """End this process, which has begun nothing, with a line."""
    message = f"stopped by {name_signal(number)} before it began; rerun the same command"
    with contextlib.suppress(OSError):
        os.write(2, f"error: {message}\n".encode())
    os._exit(128 + number)


@contextlib.contextmanager
def raise_terminated() -> Iterator[None]:
    """Within the block the first of STOP_SIGNALS raises `Terminated`, so that nothing half-made is left.

    Nothing is changed where somebody else handles SIGTERM, or outside the main thread. A forked child is killed by it as usual.
    A signal that whoever started this process ignores is not ignored here: a shell may do so only to outlive us.
    """
    in_main_thread = threading.current_thread() is threading.main_thread()
    if not in_main_thread or signal.getsignal(signal.SIGTERM) not in (signal.SIG_DFL, signal.SIG_IGN, leave):
        yield
        return
    owner = os.getpid()

    def stop(number: int, _: object) -> None:
        if os.getpid() != owner:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        _set_all(signal.SIG_IGN)  # both the scheduler and the watcher may send one
        raise Terminated(number)

    _set_all(stop)
    try:
        yield
    finally:
        _set_all(signal.SIG_DFL)


def _set_all(handler: object) -> None:
    for number in STOP_SIGNALS:
        signal.signal(number, handler)
