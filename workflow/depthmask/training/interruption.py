"""Requests to stop take effect between two steps, never within one."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def note_stop_signals() -> Iterator[Callable[[], int | None]]:
    """Within the block SIGTERM and a first Ctrl-C are only recorded; yields a function that returns the one that arrived.

    A second Ctrl-C stops at once, as usual.
    """
    arrived: list[int] = []

    def note(number: int, _: object) -> None:
        arrived.append(number)
        if number == signal.SIGINT:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    before = {number: signal.signal(number, note) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield lambda: arrived[0] if arrived else None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
