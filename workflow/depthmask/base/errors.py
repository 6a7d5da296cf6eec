"""Mistakes that a user can fix, each reported in one line or two."""

from __future__ import annotations

import signal
import sys

from depthmask.base.orphans import Terminated

PARAMS_EXIT_CODE = 2


class UserError(Exception):
    """What is wrong, where (file or key), and what to do; printed without a traceback.

    hint: what to do, for a line of its own, where one line would be too long to be read.
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
    """A network gives infinity or NaN, which no score can be made of."""


class Interrupted(UserError):
    """The run was asked to stop by a signal; the message says what is saved and how to resume."""

    def __init__(self, message: str, signal_number: int = signal.SIGTERM):
        super().__init__(message)
        self.exit_code = 128 + signal_number  # as a shell reports it

    @classmethod
    def by_ctrl_c(cls, what: str, kept: str) -> Interrupted:
        """Of the KeyboardInterrupt that is being handled: Ctrl-C, or a SIGTERM that nobody else listens to."""
        if isinstance(sys.exception(), Terminated):
            return cls(f"{what}: stopped by SIGTERM; {kept}", signal.SIGTERM)
        return cls(f"{what}: stopped by Ctrl-C; {kept}", signal.SIGINT)
