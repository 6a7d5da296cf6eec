"""Signals to stop, to one process or to a whole group: what is ended, what outlives them, and what is said."""

from __future__ import annotations

import multiprocessing
import os
import re
import signal
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest
from running_tools import is_dead

from depthmask.base.entry_points import print_errors_as_lines
from depthmask.base.errors import Interrupted, UserError
from depthmask.base.stop_signals import STOP_SIGNALS, Terminated, raise_terminated
from depthmask.execution.worker_processes import LEFT_TO_PARENT, WORKERS
from depthmask.loading.loader import explain_lost_workers
from depthmask.training.interruption import note_stop_signals

WORKFLOW = Path(__file__).parents[2] / "workflow"
PATIENCE_S = 60.0


def wait_until(is_so) -> None:
    until = time.monotonic() + PATIENCE_S
    while not is_so():
        assert time.monotonic() < until
        time.sleep(0.01)


def sleep_on(connection) -> None:
    connection.send(os.getpid())
    time.sleep(PATIENCE_S)


@pytest.mark.parametrize("number", LEFT_TO_PARENT)
def test_a_worker_outlives_every_signal_to_stop_from_its_first_moment_on(number):
    started = []
    before = signal.signal(number, lambda *_: None)
    try:
        for _ in range(5):
            ours, theirs = WORKERS.Pipe()
            process = WORKERS.Process(target=sleep_on, args=(theirs,), daemon=True)
            process.start()
            os.kill(process.pid, number)  # at once, and when it works
            assert ours.poll(PATIENCE_S) and ours.recv() == process.pid
            os.kill(process.pid, number)
            started.append(process)
        time.sleep(0.2)
        assert all(process.is_alive() for process in started)
        assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == set(), "this process itself hears signals as before"
    finally:
        signal.signal(number, before)
        for process in started:
            process.terminate()
            process.join(PATIENCE_S)
    assert [process.exitcode for process in started] == [-signal.SIGKILL] * 5


def test_a_process_pool_of_workers_outlives_them_too():
    with ProcessPoolExecutor(2, WORKERS) as pool:
        numbers = set(pool.map(ask_number, range(8)))
        for number in numbers:
            for sent in LEFT_TO_PARENT:
                os.kill(number, sent)
        assert sum(pool.map(abs, range(-9, 0))) == 45


def ask_number(_: int) -> int:
    time.sleep(0.02)
    return os.getpid()


PARENT = """
import sys, time
from depthmask.execution.worker_processes import WORKERS

process = WORKERS.Process(target=time.sleep, args=(60,), daemon=True)
process.start()
print(process.pid, flush=True)
{ending}
"""


@pytest.mark.parametrize("ending", ["time.sleep(60)", "sys.exit(0)", "raise KeyboardInterrupt"])
def test_a_worker_lives_no_longer_than_its_parent(ending):
    """Killed, or ended in any other way: multiprocessing would wait for a worker that takes no SIGTERM."""
    command = [sys.executable, "-c", PARENT.format(ending=ending)]
    environ = os.environ | {"PYTHONPATH": str(WORKFLOW)}
    with subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as parent:
        worker = int(parent.stdout.readline())
        if "sleep" in ending:
            parent.kill()
        since = time.monotonic()
        parent.wait(PATIENCE_S)
        assert time.monotonic() - since < PATIENCE_S / 2
        wait_until(lambda: is_dead(worker))


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_a_signal_ends_a_command_with_its_name_and_an_exit_code_that_a_shell_knows(number, capsys):
    @print_errors_as_lines
    def main() -> None:
        try:
            os.kill(os.getpid(), number)
            time.sleep(PATIENCE_S)
        finally:
            for again in STOP_SIGNALS:
                os.kill(os.getpid(), again)  # as schedulers do; the cleanup goes on

    assert main() == 128 + number
    assert capsys.readouterr().err == f"error: stopped by {number.name}; rerun the same command to start over\n"
    assert all(signal.getsignal(one) == signal.SIG_DFL for one in STOP_SIGNALS)


def test_an_ignored_signal_counts_all_the_same():
    """A shell that ignores it, to live until its command has saved, hands that down."""
    before = {number: signal.signal(number, signal.SIG_IGN) for number in STOP_SIGNALS}
    try:
        with pytest.raises(Terminated) as raised, raise_terminated():
            os.kill(os.getpid(), signal.SIGUSR1)
            time.sleep(PATIENCE_S)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    assert raised.value.signal_number == signal.SIGUSR1


def test_only_the_first_of_many_signals_is_named_and_none_disturbs_the_end():
    with pytest.raises(Interrupted) as stopped, raise_terminated():
        try:
            with note_stop_signals() as find_signal:
                assert find_signal() is None
                for number in (signal.SIGUSR1, signal.SIGTERM, signal.SIGTERM, signal.SIGUSR2):
                    os.kill(os.getpid(), number)
                assert find_signal() == signal.SIGUSR1
                raise Interrupted("saved", find_signal())
        finally:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.01)
    assert stopped.value.exit_code == 138
    with note_stop_signals() as find_signal:  # and the next training starts without a request
        assert find_signal() is None


def test_without_a_request_the_signals_mean_afterwards_what_they_did():
    with pytest.raises(Terminated), raise_terminated():
        with note_stop_signals():
            pass
        os.kill(os.getpid(), signal.SIGUSR2)
        time.sleep(PATIENCE_S)


@pytest.mark.parametrize(
    ("message", "stopped_by", "line"),
    [
        ("Killed. ", None, "a data-loader worker was killed, probably out of memory"),
        ("Bus error. It is possible that", None, "a data-loader worker was killed, probably out of memory"),
        ("Hangup. ", None, "a data-loader worker was killed by SIGHUP"),
        ("Terminated. ", None, "a data-loader worker was killed by SIGTERM"),
        ("Killed. ", signal.SIGTERM, "stopped by SIGTERM; a data-loader worker was killed before the step could be saved"),
    ],
)
def test_a_lost_worker_is_blamed_on_memory_only_if_nothing_else_explains_it(message, stopped_by, line):
    with pytest.raises(UserError, match=f"^{re.escape(line)}(;|$)") as printed, explain_lost_workers(lambda: stopped_by):
        raise RuntimeError(f"DataLoader worker (pid 4711) is killed by signal: {message}")
    assert printed.value.exit_code == (128 + stopped_by if stopped_by else 1)


SCRIPT = """
import time
time.sleep(60)  # as its imports
"""


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_a_stage_that_has_not_begun_says_so(tmp_path, number):
    package = tmp_path / "package/stages"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text((WORKFLOW / "stages/__init__.py").read_text())
    (package / "slow.py").write_text(f"print(flush=True)\n{SCRIPT}")
    environ = os.environ | {"PYTHONPATH": f"{package.parent}{os.pathsep}{WORKFLOW}"}
    command = [sys.executable, "-m", "stages.slow"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, cwd=tmp_path, env=environ, text=True, **pipes) as stage:
        stage.stdout.readline()
        stage.send_signal(number)
        _, said = stage.communicate(timeout=PATIENCE_S)
    assert stage.returncode == 128 + number
    assert said == f"error: stopped by {number.name} before it began; rerun the same command\n"


def test_workers_are_made_as_multiprocessing_makes_processes():
    assert WORKERS.get_start_method() in multiprocessing.get_all_start_methods()
    assert WORKERS.Process(target=print).daemon is False
