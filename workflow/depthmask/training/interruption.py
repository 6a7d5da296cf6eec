"""A request to stop that is heard between two steps, so that no step is cut in half."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def note_sigterm() -> Iterator[Callable[[], bool]]:
    """Within the block SIGTERM only sets a flag; the value of the block tells whether it has arrived."""
    arrived = []
    before = signal.signal(signal.SIGTERM, lambda *_: arrived.append(True))
    try:
        yield lambda: bool(arrived)
    finally:
        signal.signal(signal.SIGTERM, before)
