"""Regular expressions that a user writes: compiled, and used, only as long as they are quick.

Python's matching can take time without end on a short name, as with `(a+)+$`; which patterns do so cannot be told from their text
alone. So a pattern is tried on names made to provoke it before any data are touched, and every use of it has a limit on its
processor time.
"""

from __future__ import annotations

import contextlib
import itertools
import re
import signal
import threading
import warnings
from collections.abc import Iterator

from depthmask.base.errors import UserError

PATTERN_LENGTH_MAX = 200  # characters
TRIAL_SECONDS = 1.0  # of processor time; sound patterns take a thousandth of that
USE_SECONDS = 60.0  # of processor time, for the names of a whole source
TRIAL_LENGTHS = (24, 120)  # characters: of an ordinary name, and of a long one
TRIAL_ENDS = ("\x7f", "Z9")  # of which each class of characters lacks one or the other


class SlowPatternError(UserError):
    """Matching took longer than it may."""


def check_pattern(pattern: str) -> str:
    """The pattern itself; ValueError if it cannot be compiled, means another thing for later Pythons, or is slow."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            compiled = re.compile(pattern)
    except (re.error, OverflowError, RecursionError, MemoryError, Warning) as error:
        reason = str(error) or type(error).__name__
        raise ValueError(f"is not a regular expression: {reason}") from error
    try:
        with limit_matching(pattern, TRIAL_SECONDS):
            for name in _provoke(pattern):
                compiled.search(name)
    except SlowPatternError as error:
        raise ValueError("takes too long on some names; repeat nothing that is itself repeated, as in (a+)+") from error
    return pattern


def _provoke(pattern: str) -> Iterator[str]:
    """Names that make a pattern try every way to match: one character or two, many times, and an end that does not fit."""
    characters = sorted(set(pattern) | set("a0_- "))
    for length in TRIAL_LENGTHS:
        for end in TRIAL_ENDS:
            for character in characters:
                yield character * length + end
            for one, other in itertools.pairwise(characters):
                yield (one + other) * (length // 2) + end


@contextlib.contextmanager
def limit_matching(pattern: str, seconds: float = USE_SECONDS) -> Iterator[None]:
    """Raise SlowPatternError in the block once it has taken so many seconds of processor time.

    Only in a process's main thread, which is where signals arrive; in others there is no limit.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(*_: object) -> None:
        raise SlowPatternError(f"the regular expression {pattern} takes too long on the names here; write a simpler one")

    before = signal.signal(signal.SIGVTALRM, stop)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)
