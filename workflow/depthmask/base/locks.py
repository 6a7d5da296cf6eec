"""Locks between processes, of filelock: the system's, so that one whose process was killed is free."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from depthmask.base.errors import UserError
from depthmask.base.terminal import note

LOCK = "lock"  # the file in a folder that is locked


@contextlib.contextmanager
def hold_lock(folder: Path, waiting: str | None = None, refusal: str | None = None) -> Iterator[None]:
    """Hold the lock of a folder, which is made if need be.

    waiting: printed where another process holds it, before that is waited for. refusal: the error instead.

    Raises:
        UserError: another process holds it, and `refusal` is given.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / LOCK)
    try:
        lock.acquire(blocking=False)
    except Timeout as error:
        if refusal is not None:
            raise UserError(refusal) from error
        if waiting is not None:
            note(waiting)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
