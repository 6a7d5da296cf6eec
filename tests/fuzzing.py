"""What the fuzz tests share: how many cases, how a case is run, and what counts as a failure.

A case ends in one of four ways. *ran*: exit code 0. *refused*: another exit code, and at most MAX_LINES lines of error, of which
the first begins with `error:`. *traceback*: whatever else it printed, or an exception that left `main`. *hang*: it was still
running after its limit. Only the first two are allowed.

Every case follows from its number alone, so that a failing one can be run again: DEPTHMASK_FUZZ_CASES sets how many there are.
"""

from __future__ import annotations

import contextlib
import io
import os
import signal
import subprocess
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

MAX_LINES = 2  # an error and its hint


@dataclass(frozen=True)
class Outcome:
    """How a case ended: `ran`, `refused`, `traceback` or `hang`; and what it printed on standard error."""

    kind: str
    text: str


@dataclass
class Tally:
    """Outcomes of all cases. `failures`: the cases that ended in a traceback or a hang, each with what was printed."""

    counts: Counter = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)

    def add(self, case: object, outcome: Outcome) -> None:
        self.counts[outcome.kind] += 1
        if outcome.kind in ("traceback", "hang"):
            self.failures.append(f"{case}: {outcome.kind}\n{outcome.text[-3000:]}")

    def __str__(self) -> str:
        kinds = ("refused", "ran", "traceback", "hang")
        return f"{sum(self.counts.values())} tried: " + ", ".join(f"{self.counts[kind]} {kind}" for kind in kinds)

    def check(self, name: str) -> None:
        """Print the counts, and fail with the first cases that were neither refused in a line nor run."""
        print(f"{name}: {self}")
        assert self.counts, f"{name}: no case was tried"
        assert not self.failures, f"{name}: {self}\n" + "\n\n".join(self.failures[:5])


def count_cases(short: int) -> int:
    """How many cases to try: `short` by default, DEPTHMASK_FUZZ_CASES where that is set."""
    return int(os.environ.get("DEPTHMASK_FUZZ_CASES") or short)


def run_in_process(main: Callable[[Sequence[str]], int | None], arguments: Sequence[str], seconds: int = 20) -> Outcome:
    """Call a command's `main` with everything it prints caught. Code that holds the interpreter is not interrupted."""
    errors = io.StringIO()
    try:
        with contextlib.redirect_stderr(errors), contextlib.redirect_stdout(io.StringIO()), _limit(seconds):
            code = main(arguments)
    except _HangError:
        return Outcome("hang", errors.getvalue())
    except SystemExit as end:
        code = end.code
    except BaseException:
        return Outcome("traceback", errors.getvalue() + traceback.format_exc())
    return judge(code, errors.getvalue())


def run_process(command: Sequence[str], folder: Path, environment: dict[str, str] | None = None, seconds: int = 120) -> Outcome:
    """Run a command in a process of its own, which is killed with all its children after `seconds`."""
    process = subprocess.Popen(
        command,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        _, errors = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        _, errors = process.communicate()
        return Outcome("hang", errors.decode(errors="replace"))
    return judge(process.returncode, errors.decode(errors="replace"))


def judge(code: object, text: str) -> Outcome:
    """Tell a clean refusal from a traceback, by exit code and standard error."""
    if "Traceback (most recent call last)" in text:
        return Outcome("traceback", text)
    if not code:
        return Outcome("ran", text)
    lines = text.strip().splitlines()
    starts = [number for number, line in enumerate(lines) if "error:" in line[:80]]
    if not starts or len(lines) - starts[-1] > MAX_LINES or (isinstance(code, int) and code < 0):
        return Outcome("traceback", f"exit code {code}, and no single line that says why:\n{text}")
    return Outcome("refused", text)


class _HangError(BaseException):
    """Raised by the alarm; no `except Exception` may catch it."""


@contextlib.contextmanager
def _limit(seconds: int) -> Iterator[None]:
    def ring(*_: object) -> None:
        raise _HangError

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
