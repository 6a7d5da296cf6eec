"""The job of a stage under Snakemake: `python workflow/stage_job.py STAGE` does what `dvc repro --single-item STAGE` does.

DVC itself does it, in this process: it judges, restores outputs from its cache or removes them and runs the command, saves and
writes dvc.lock. It holds the repository's lock for that, and waits for it, but not while the command runs. What differs makes
jobs safe side by side on several machines (depthmask/dvc_in_process.py): the stage's lease is held meanwhile, DVC's list of
readers and writers is left alone, dvc.lock is renamed into place, and nothing is recorded whose inputs changed.

A scheduler's signals (stop_signals.py) are passed on to the command, so that it can save; then this process ends as it did.
"""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # this workspace's code, whatever is installed, also with python -P

from depthmask.base.shadowing import validate_workflow_folder

validate_workflow_folder()

import psutil

from depthmask.base.entry_points import print_errors_as_lines
from depthmask.base.errors import Interrupted, UserError
from depthmask.base.stage_lease import HeldLease, hold_lease
from depthmask.base.stop_signals import STOP_SIGNALS, Terminated, name_signal


@print_errors_as_lines
def main(argv: list[str] | None = None) -> int:
    """Run a job; return 0, or the exit code of the stage's command if that failed, else DVC's."""
    arguments = sys.argv[1:] if argv is None else argv
    if len(arguments) != 1:
        raise UserError("usage: python workflow/stage_job.py STAGE (the name of one stage of dvc.yaml)")
    (stage,) = arguments
    commands: list[subprocess.Popen] = []
    with pass_signals_on(commands) as arrived, hold_lease(stage) as lease:
        code = run_stage(stage, lease, commands)
    failed = commands[-1].returncode if commands else 0
    if code and not failed and arrived:
        raise Interrupted(
            f"{stage}: stopped by {name_signal(arrived[0])} before its result was recorded; rerun the same command", arrived[0]
        )
    # DVC has one code for all failures: whoever is to start the job again could not tell a stop from a mistake
    return failed or code


def run_stage(stage: str, lease: HeldLease | None, commands: list[subprocess.Popen]) -> int:
    """Let DVC reproduce one stage, and only that; append the commands that it starts to `commands`, and return its exit code."""
    from dvc.cli import main as run_dvc

    from depthmask.dvc_in_process import (
        leave_no_entries,
        let_locks_expire,
        note_commands,
        refuse_changed_inputs,
        write_lock_file_atomically,
    )

    is_ours = (lambda: None) if lease is None else lease.validate
    with (
        leave_no_entries(),
        write_lock_file_atomically(),
        let_locks_expire(),
        refuse_changed_inputs(is_ours),
        note_commands(commands),
    ):
        return run_dvc(["--wait-for-lock", "repro", "--single-item", stage])


@contextlib.contextmanager
def pass_signals_on(commands: Sequence[subprocess.Popen]) -> Iterator[list[int]]:
    """Within the block, a scheduler's signals go to all processes below this one; without any, the first ends it like Ctrl-C.

    It does not while the last of `commands` is running or has failed: a signal to the whole group may have killed its shell
    already, which DVC is about to notice. Yields a list to which the signals that arrive are appended.
    """
    arrived: list[int] = []

    def pass_on(number: int, _: object) -> None:
        arrived.append(number)
        children = psutil.Process().children(recursive=True)
        has_command = bool(commands) and commands[-1].returncode != 0
        if not children and not has_command and len(arrived) == 1:
            raise Terminated(number)
        for child in reversed(children):  # the stage before the shell above it, whose end would end the stage
            with contextlib.suppress(psutil.Error):
                child.send_signal(number)

    before = {number: signal.signal(number, pass_on) for number in STOP_SIGNALS}
    try:
        yield arrived
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


if __name__ == "__main__":
    sys.exit(main())
