"""A training stage starts itself once for each device, and ends when all have ended."""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from depthmask.base.errors import UserError
from depthmask.execution.speed_options import read_speed_options
from depthmask.training.distributed import LostProcess, is_one_of_several

SOURCE = Path(__file__).parents[2]
PATIENCE_S = 30  # for the others to notice by themselves that one has failed
LOOK_EVERY_S = 0.1


def on_every_device(main: Callable[..., int]) -> Callable[..., int]:
    """Wrap a stage's `main(argv)`: with DEPTHMASK_DEVICES above 1 it runs in as many processes, started by this one.

    A process that torchrun started, or this, runs `main` itself.
    """

    @functools.wraps(main)
    def run(argv: Sequence[str] | None = None) -> int:
        speed = read_speed_options()
        if speed.devices == 1 or is_one_of_several():
            return main(argv)
        module = main.__module__ if main.__module__ != "__main__" else sys.modules["__main__"].__spec__.name
        # loaders of all processes share the cores
        workers = os.environ.get("DEPTHMASK_WORKERS") or str(max(1, speed.num_workers // speed.devices))
        return launch([sys.executable, "-m", module, *(sys.argv[1:] if argv is None else argv)], speed.devices, workers)

    return run


def launch(command: Sequence[str], count: int, workers: str) -> int:
    """Run a command in `count` processes that find one another; the first one's words are this one's.

    Raises:
        UserError: one of them was killed, or failed with what it has not said itself; the others were ended.
    """
    common = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(SOURCE), *filter(None, [os.environ.get("PYTHONPATH")])]),
        "DEPTHMASK_WORKERS": workers,
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(_find_port()),
        "WORLD_SIZE": str(count),
        "LOCAL_WORLD_SIZE": str(count),
    }
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as opened:
        started = []
        for rank in range(count):
            out = opened.enter_context((Path(folder) / f"{rank}.txt").open("w")) if rank else None
            own = {"RANK": str(rank), "LOCAL_RANK": str(rank)}
            started.append(subprocess.Popen(command, env=common | own, stdout=out, stderr=out and subprocess.STDOUT))
        with _ending(started):
            codes = _wait(started)
        said = [(Path(folder) / f"{rank}.txt").read_text(errors="replace") if rank else "" for rank in range(count)]
    if not codes:
        return 0
    # that a process lost another is no reason: what ended the other is. What all have met with, the first has told
    reasons = [rank for rank, code in codes.items() if code != LostProcess.exit_code] or list(codes)
    rank = 0 if 0 in reasons else reasons[0]
    code = codes[rank]
    if code < 0:
        raise UserError(
            f"process {rank + 1} of {count} was ended by {signal.Signals(-code).name}, and so the others were ended too",
            hint="rerun the same command to resume from the last checkpoint",
        )
    if rank:
        sys.stderr.write(said[rank])
    return code


def _wait(started: list[subprocess.Popen]) -> dict[int, int]:
    """Until all have ended; the exit codes of those that failed, in the order in which they did."""
    codes: dict[int, int] = {}
    running, until = dict(enumerate(started)), float("inf")
    while running:
        for rank, process in list(running.items()):
            code = process.poll()
            if code is not None:
                del running[rank]
                if code:
                    codes[rank] = code
        if codes:
            until = min(until, time.monotonic() + PATIENCE_S)
        if time.monotonic() > until:
            return codes
        time.sleep(LOOK_EVERY_S)
    return codes


@contextlib.contextmanager
def _ending(started: list[subprocess.Popen]) -> Iterator[None]:
    """Within the block SIGTERM goes on to every process; none is left after it."""

    def forward(*_: object) -> None:
        for process in started:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)

    before = signal.signal(signal.SIGTERM, forward)
    # of Ctrl-C a terminal has told all of them; the first one tells what was saved
    before_int = signal.signal(signal.SIGINT, lambda *_: None)
    try:
        yield
    finally:
        for process in started:
            if process.poll() is None:
                process.kill()
                process.wait()
        signal.signal(signal.SIGTERM, before)
        signal.signal(signal.SIGINT, before_int)


def _find_port() -> int:
    from lightning_fabric.plugins.environments.lightning import find_free_network_port

    return find_free_network_port()
