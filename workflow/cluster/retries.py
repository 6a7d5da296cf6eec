"""Which failed jobs Snakemake starts again on its own machine: those that were stopped and can resume, not those that failed.

On a cluster the job itself goes back into the scheduler's queue (requeue.py, profiles/generic), or was cancelled by its user.
Snakemake's `retries` of a rule is a number, which it compares with how often it has started the job again. `Retries` is such a
number that looks at how the job ended before it answers. The job's shell writes the exit code into a file (`note_exit_code`); a
job that left none was killed with its shell, as at the end of a time limit or with its node.
"""

from __future__ import annotations

import re
import shlex
import signal
from collections.abc import Callable
from pathlib import Path

STOPPED = {128 + number for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)}
STOPPED_MAX = 1000  # each time a training came further
IN_VAIN_MAX = 3  # in a row: killed without a word, or stopped where nothing had been saved since the start
SAVED = re.compile(r"^error: \S+: stopped by SIG\w+; .*\bresume from step ([\d,]+)", re.MULTILINE)
RESUMED = re.compile(r"\bresumed from step ([\d,]+) of ")
FAILED, STOPPED_FURTHER, IN_VAIN = "failed", "stopped", "in vain"


class Retries(int):
    """How often a job of a rule may be started again; greater than any number as long as it is to be.

    codes: the folder in which jobs leave their exit codes; None if it is unknown, so that nothing is repeated. log: of the rule.
    is_here: whether jobs run on this machine, which Snakemake knows only when it has read its Snakefile.
    """

    rule: str
    codes: Path | None
    log: Path
    is_here: Callable[[], bool]
    in_vain: int

    def __new__(cls, rule: str, codes: Path | None, log: Path, is_here: Callable[[], bool] = lambda: True) -> Retries:
        self = super().__new__(cls, STOPPED_MAX)
        self.rule, self.codes, self.log, self.is_here, self.in_vain = rule, codes, log, is_here, 0
        return self

    def __gt__(self, done: int) -> bool:
        """Whether a job that has failed, and been started again `done` times, is to be started again.

        Snakemake asks once for each failure. For jobs that run as a group it takes the greatest of theirs first, which here is
        the one whose end says most.
        """
        how = self.find_end()
        if isinstance(done, Retries):
            order = (IN_VAIN, STOPPED_FURTHER, FAILED)
            return order.index(how) > order.index(done.find_end())
        if self.codes is not None:
            (self.codes / self.rule).unlink(missing_ok=True)
        self.in_vain = self.in_vain + 1 if how == IN_VAIN else 0
        return how != FAILED and int(self) > done and self.in_vain <= IN_VAIN_MAX

    def find_end(self) -> str:
        """How the rule's last job ended."""
        if self.codes is None or not self.is_here():
            return FAILED
        try:
            code = int((self.codes / self.rule).read_text(encoding="ascii"))
        except (OSError, ValueError):
            return IN_VAIN  # nothing was left to write it
        if code not in STOPPED:
            return FAILED
        text = self.log.read_text(encoding="utf-8", errors="replace") if self.log.is_file() else ""
        saved, resumed = SAVED.findall(text)[-1:], RESUMED.findall(text)[-1:]
        return STOPPED_FURTHER if saved and saved != resumed else IN_VAIN


def note_exit_code(codes: Path | None) -> str:
    """What a rule's shell command ends with: it leaves the exit code of a failed job for `Retries`, and has the same one."""
    if codes is None:
        return ""
    return f" || {{{{ code=$?; echo $code 2>/dev/null > {shlex.quote(str(codes))}/{{params.rule}} || :; (exit $code); }}}}"
