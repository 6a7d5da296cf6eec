"""A training stage starts itself once per device, and exits when all processes have exited."""

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

from depthmask.base.errors import Interrupted, UserError
from depthmask.base.stop_signals import STOP_SIGNALS, name_signal
from depthmask.compute.device import take_gpus
from depthmask.execution.speed_options import read_speed_options
from depthmask.trackers import require_trackers
from depthmask.training.distributed import LostProcess, is_one_of_several

SOURCE = Path(__file__).parents[2]
PATIENCE_S = 30  # for the others to notice that one has failed
POLL_EVERY_S = 0.1


def on_every_device(main: Callable[..., int]) -> Callable[..., int]:
    """Wrap a stage's `main(argv)`: with DEPTHMASK_DEVICES above 1 it runs in that many processes, started by this one.

    A process started by torchrun, or by this function, runs `main` itself.
    """

    @functools.wraps(main)
    def run(argv: Sequence[str] | None = None) -> int:
        speed = read_speed_options()
        require_trackers(speed.trackers)
        if speed.devices == 1 or is_one_of_several():
            return main(argv)
        take_gpus(speed.devices)  # even if params will choose the CPU, which this process does not read
        module = main.__module__ if main.__module__ != "__main__" else sys.modules["__main__"].__spec__.name
        # the data-loader workers of all processes share the cores
        workers = os.environ.get("DEPTHMASK_WORKERS") or str(max(1, speed.num_workers // speed.devices))
        return launch([sys.executable, "-m", module, *(sys.argv[1:] if argv is None else argv)], speed.devices, workers)

    return run


def launch(command: Sequence[str], count: int, workers: str) -> int:
    """Run a command in `count` connected processes and return an exit code; show the output of rank 0, or of the one that failed.

    Raises:
        UserError: one of them was killed; the others were stopped.
        Interrupted: one of them was killed by a signal to stop, which all were sent.
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
        started: list[subprocess.Popen] = []
        with _forward_signals(started):
            for rank in range(count):
                out = opened.enter_context((Path(folder) / f"{rank}.txt").open("w")) if rank else None
                own = {"RANK": str(rank), "LOCAL_RANK": str(rank)}
                started.append(subprocess.Popen(command, env=common | own, stdout=out, stderr=out and subprocess.STDOUT))
            codes = _wait(started)
        outputs = [(Path(folder) / f"{rank}.txt").read_text(errors="replace") if rank else "" for rank in range(count)]
    if not codes:
        return 0
    # a process that lost another one is not the cause; an error that all have in common was printed by rank 0
    causes = [rank for rank, code in codes.items() if code != LostProcess.exit_code] or list(codes)
    rank = 0 if 0 in causes else causes[0]
    code = codes[rank]
    if -code in STOP_SIGNALS:  # before it could answer, so nothing was begun
        raise Interrupted(f"stopped by {name_signal(-code)}; rerun the same command to resume from the last checkpoint", -code)
    if code < 0:
        raise UserError(
            f"rank {rank} was killed by {signal.Signals(-code).name}; the other ranks were stopped",
            hint="rerun the same command to resume from the last checkpoint",
        )
    if rank:
        sys.stderr.write(outputs[rank])
    return code


def _wait(started: list[subprocess.Popen]) -> dict[int, int]:
    """Wait until all have exited; return the exit codes of those that failed, by rank, in the order in which they failed."""
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
        time.sleep(POLL_EVERY_S)
    return codes


@contextlib.contextmanager
def _forward_signals(started: list[subprocess.Popen]) -> Iterator[None]:
    """Within the block STOP_SIGNALS are forwarded to every process; none is left running after it."""

    def forward(number: int, _: object) -> None:
        for process in started:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(number)

    before = {number: signal.signal(number, forward) for number in STOP_SIGNALS}
    # a terminal sends Ctrl-C to all of them; rank 0 reports what was saved
    before[signal.SIGINT] = signal.signal(signal.SIGINT, lambda *_: None)
    try:
        yield
    finally:
        for process in started:
            if process.poll() is None:
                process.kill()
                process.wait()
        for number, handler in before.items():
            signal.signal(number, handler)


def _find_port() -> int:
    from lightning_fabric.plugins.environments.lightning import find_free_network_port

    return find_free_network_port()
