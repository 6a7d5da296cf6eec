"""Requests to stop take effect between two steps, never within one."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator

from depthmask.base.stop_signals import STOP_SIGNALS


@contextlib.contextmanager
def note_stop_signals() -> Iterator[Callable[[], int | None]]:
    """Within the block STOP_SIGNALS and a first Ctrl-C are only recorded; yields a function that returns the first to arrive.

    A second Ctrl-C stops at once, as usual. Further ones of STOP_SIGNALS change nothing, nor do those that arrive while the
    block is left because of the first: a scheduler sends several, and the watcher of `base.orphans` another one.
    """
    arrived: list[int] = []

    def note(number: int, _: object) -> None:
        arrived.append(number)
        if number == signal.SIGINT:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    before = {number: signal.signal(number, note) for number in (*STOP_SIGNALS, signal.SIGINT)}
    try:
        yield lambda: arrived[0] if arrived else None
    finally:
        for number, handler in before.items():
            is_ours = callable(handler) and number != signal.SIGINT  # `raise_terminated` is going to restore the default
            signal.signal(number, signal.SIG_IGN if arrived and is_ours else handler)
