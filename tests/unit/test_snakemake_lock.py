"""The lock of a killed Snakemake is removed by the next; that of a live one, or of another machine's, is not."""

from __future__ import annotations

import contextlib
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

REMOVED = "note: removed the lock left here by a killed Snakemake\n"
HOLDING = """
import subprocess, sys
from snakemake_lock import LOCKS, hold_snakemake_lock, is_alone
hold_snakemake_lock()
if sys.argv[1] == "look":
    print(is_alone(), is_alone())
if sys.argv[1] == "lock":
    LOCKS.mkdir(exist_ok=True)
    (LOCKS / "0.output.lock").write_text("data/raw\\n")
if sys.argv[1] != "look":
    child = subprocess.Popen(["sleep", "300"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    print(child.pid, flush=True)
    input()
"""


@pytest.fixture
def start(tmp_path):
    started, children = [], []

    def start_one(what: str) -> subprocess.Popen:
        environ = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        process = subprocess.Popen([sys.executable, "-c", HOLDING, what], cwd=tmp_path, env=environ, text=True, **pipes)
        started.append(process)
        if what != "look":
            children.append(int(process.stdout.readline()))
        return process

    yield start_one
    for process in started:
        process.kill()
        process.communicate()
    for child in children:
        with contextlib.suppress(ProcessLookupError):  # it has slept long enough on a busy machine
            os.kill(child, 9)


def look(start) -> str:
    """What the next one says."""
    process = start("look")
    _, errors = process.communicate()
    assert process.returncode == 0, errors
    return errors


def test_the_lock_of_a_killed_one_is_removed_though_its_child_lives(tmp_path, start):
    locks = tmp_path / ".snakemake/locks"
    owner = start("lock")
    assert look(start) == "" and list(locks.iterdir())
    owner.kill()
    owner.wait()
    assert look(start) == REMOVED
    assert not list(locks.iterdir())
    assert look(start) == ""


def test_the_lock_stays_while_any_other_is_alive(tmp_path, start):
    owner, other = start("lock"), start("none")
    owner.kill()
    owner.wait()
    assert look(start) == "" and list((tmp_path / ".snakemake/locks").iterdir())
    other.kill()
    other.wait()
    assert look(start) == REMOVED


@pytest.mark.parametrize("owners", ["", "elsewhere 12\n", f"elsewhere 12\n{platform.node()} 13\n"])
def test_a_lock_of_another_machine_or_of_nobody_known_stays(tmp_path, start, owners):
    folder: Path = tmp_path / ".snakemake"
    (folder / "locks").mkdir(parents=True)
    (folder / "locks/0.input.lock").write_text("data/raw\n")
    (folder / "depthmask.lock").write_text(owners)
    for _ in range(2):
        assert look(start) == "" and list((folder / "locks").iterdir())
    (folder / "locks/0.input.lock").unlink()  # as by snakemake --unlock
    look(start)
    assert "elsewhere" not in (folder / "depthmask.lock").read_text()


def test_a_run_knows_whether_another_one_is_alive(start):
    assert start("look").communicate()[0] == "True True\n"
    owner = start("none")
    assert start("look").communicate()[0] == "False False\n"
    owner.kill()
    owner.wait()
    assert start("look").communicate()[0] == "True True\n"
