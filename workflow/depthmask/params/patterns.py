"""Regular expressions written by users: compiled and used with a time limit.

Python's matching can take forever on a short name, as with `(a+)+$`, and the pattern's text alone does not show it. So a pattern
is tried on provocative names before any data are touched, and every use of it has a limit on processor time.
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
TRIAL_SECONDS = 1.0  # of processor time; normal patterns take a thousandth of that
USE_SECONDS = 60.0  # of processor time, for all names of a source
TRIAL_LENGTHS = (24, 120)  # characters: an ordinary and a long name
TRIAL_ENDS = ("\x7f", "Z9")  # every character class excludes at least one of them


class SlowPatternError(UserError):
    """Matching exceeded its time limit."""


def check_pattern(pattern: str) -> str:
    """Return the pattern; ValueError if it cannot be compiled, changes meaning in later Pythons, or is slow."""
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
        raise ValueError("takes too long on some names; do not nest repetitions, as in (a+)+") from error
    return pattern


def _provoke(pattern: str) -> Iterator[str]:
    """Names that make a pattern backtrack: one or two characters, repeated, with an end that does not match."""
    characters = sorted(set(pattern) | set("a0_- "))
    for length in TRIAL_LENGTHS:
        for end in TRIAL_ENDS:
            for character in characters:
                yield character * length + end
            for one, other in itertools.pairwise(characters):
                yield (one + other) * (length // 2) + end


@contextlib.contextmanager
def limit_matching(pattern: str, seconds: float = USE_SECONDS) -> Iterator[None]:
    """Raise SlowPatternError in the block after that many seconds of processor time.

    Only in the main thread, where signals arrive; in others there is no limit.
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
