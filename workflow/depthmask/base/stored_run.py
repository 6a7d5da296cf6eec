"""Has the run of a stage that DVC started stored in DVC's run cache, once its outputs are complete.

DVC stores a run, so that going back to earlier params restores its outputs, only if it caches every output of the stage or calls
it a metric or a plot. Ours also write files that git keeps. The stage's process knows when they are complete, under either tool.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from depthmask.base.orphans import DVC_STAGE
from depthmask.base.stop_signals import STOP_SIGNALS, is_stage_script

SOURCE = Path(__file__).resolve().parents[2]
MODULE = "depthmask.dvc_run_cache"  # in a process of its own: DVC has no place in a training's
PARAMS = Path("params.yaml")


@dataclass(frozen=True)
class RunStart:
    """What a stage started from. seconds: since the epoch. params: the text of ./params.yaml, empty without one."""

    seconds: float
    params: str


def note_start() -> RunStart | None:
    """When and with which params this stage starts; None in any process but the one that DVC started for a stage."""
    is_rank = "RANK" in os.environ  # its launcher stores the run
    if not os.environ.get(DVC_STAGE) or is_rank or not is_stage_script():
        return None
    with contextlib.suppress(OSError, ValueError):
        return RunStart(time.time(), PARAMS.read_text(encoding="utf-8"))
    return RunStart(time.time(), "")


def store_run(start: RunStart) -> None:
    """Store the run of this finished stage. A failure is one warning: the stage's outputs are complete.

    A signal to stop and Ctrl-C end the storing, not the stage: a training whose outputs are complete must not count as failed.
    """
    from depthmask.base.terminal import warn  # late: most runs have nothing to say

    path = os.pathsep.join([str(SOURCE), *filter(None, [os.environ.get("PYTHONPATH")])])
    with _hold_signals() as arrived:
        storing = subprocess.Popen(
            [sys.executable, "-m", MODULE],
            env=os.environ | {"PYTHONPATH": path},
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        arrived.append(storing)
        _, said = storing.communicate(json.dumps(asdict(start)))
    if storing.returncode > 0:
        reason = (said.strip().splitlines() or ["unknown"])[-1].removeprefix("error: ")
        warn(f"{os.environ[DVC_STAGE]}: not stored in DVC's run cache: {reason}")


@contextlib.contextmanager
def _hold_signals() -> Iterator[list[subprocess.Popen]]:
    """Within the block STOP_SIGNALS and SIGINT end the processes in the list instead of this one."""
    started: list[subprocess.Popen] = []

    def stop(*_: object) -> None:
        for process in started:
            process.terminate()

    before = {number: signal.signal(number, stop) for number in (*STOP_SIGNALS, signal.SIGINT)}
    try:
        yield started
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
