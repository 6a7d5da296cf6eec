"""Mistakes that a user can fix, each reported in one line or two."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

from depthmask.base.stop_signals import find_number, name_signal

PARAMS_EXIT_CODE = 2
PROJECT = Path(__file__).resolve().parents[3] / "pyproject.toml"  # of the clone that this code is in


class UserError(Exception):
    """What is wrong, where (file or key), and what to do. Printed without a traceback.

    hint: what to do, on a line of its own, if one line would be too long.
    """

    exit_code = 1

    def __init__(self, message: str, hint: str | None = None):
        super().__init__(message)
        self.hint = hint

    @property
    def message(self) -> str:
        return str(self.args[0])

    def __str__(self) -> str:
        return f"{self.message}; {self.hint}" if self.hint else self.message


class ParamsError(UserError):
    """params.yaml cannot be used; nothing was read or written before this was raised."""

    exit_code = PARAMS_EXIT_CODE


class NotFiniteError(UserError, ValueError):
    """A network predicts infinity or NaN, which cannot be scored."""


class DivergedError(UserError):
    """A loss became infinite or NaN."""


class Interrupted(UserError):
    """The run was stopped by a signal; the message says what was saved and how to resume.

    exit_code: 128 + signal, which is also what a shell and most schedulers report of a process that the signal has killed. So
    130 (Ctrl-C), 138, 140 and 143 mean that the same command continues, whether or not a process had time to say so.
    """

    def __init__(self, message: str, signal_number: int = signal.SIGTERM):
        super().__init__(message)
        self.exit_code = 128 + signal_number

    @classmethod
    def by_signal(cls, what: str, kept: str) -> Interrupted:
        """Make one from the KeyboardInterrupt being handled: Ctrl-C, or a signal to stop."""
        number = find_number(sys.exception())
        return cls(f"{what}: stopped by {name_signal(number)}; {kept}", number)


def format_install_command(extra: str) -> str:
    """What installs the packages of an extra: at the top of a clone; or anywhere, if depthmask was installed without one."""
    return f"pip install -e '.[{extra}]'" if PROJECT.is_file() else f"pip install 'depthmask[{extra}]'"
