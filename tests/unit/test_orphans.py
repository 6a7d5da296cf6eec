"""A stage ends with the tool that started it, and with nothing else."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from running_tools import is_dead

from depthmask.base import orphans
from depthmask.base.process_identity import is_alive, is_ours, name_machine, name_process

WORKFLOW = Path(__file__).parents[2] / "workflow"
PACKAGE = Path("package/stages")
PATIENCE_S = 60.0
STAGE = """
import sys, time
from pathlib import Path
from depthmask.base.entry_points import print_errors_as_lines

@print_errors_as_lines
def main():
    try:
        Path("started").write_text(str(__import__("os").getpid()))
        time.sleep(120)
    finally:
        Path("cleaned").touch()

if __name__ == "__main__":
    sys.exit(main())
"""
TOOL = """
import subprocess, sys
subprocess.call(sys.argv[1:])
"""


@pytest.fixture
def place(tmp_path) -> Path:
    """A folder with a stage that sleeps, and tools that do nothing but start what they are given."""
    package = tmp_path / PACKAGE  # not in the working folder, where it would be refused as a stranger
    package.mkdir(parents=True)
    (package / "__init__.py").write_text((WORKFLOW / "stages/__init__.py").read_text())
    (package / "sleep.py").write_text(STAGE)
    for name in ("dvc", "snakemake", "make"):
        (tmp_path / name).write_text(TOOL)
    return tmp_path


def start(place: Path, *chain: str, **environ: str) -> tuple[list[psutil.Process], psutil.Process]:
    """Start tools within each other, `sh` for a shell, and the stage in the last; returns all but the stage, and the stage."""
    command = [sys.executable, "-m", "stages.sleep"]
    for name in reversed(chain):
        shell = ["sh", "-c", '"$@"; exit $?', "sh", *command]
        command = shell if name == "sh" else [sys.executable, str(place / name), *command]
    known = {key: value for key, value in os.environ.items() if not key.startswith(("DVC_", "DEPTHMASK_"))}
    environ = known | {"PYTHONPATH": f"{place / PACKAGE.parent}{os.pathsep}{WORKFLOW}", "PYTHONDONTWRITEBYTECODE": "1"} | environ
    with (place / "errors").open("w") as errors:
        first = subprocess.Popen(command, cwd=place, env=environ, stderr=errors, start_new_session=True)
    until = time.monotonic() + PATIENCE_S
    while not ((place / "started").exists() and (place / "started").read_text()):
        assert first.poll() is None and time.monotonic() < until, (place / "errors").read_text()
        time.sleep(0.02)
    stage = psutil.Process(int((place / "started").read_text()))
    parents = stage.parents()
    above = parents[: [process.pid for process in parents].index(first.pid) + 1] if chain else []
    assert len(above) == len(chain)
    return above[::-1], stage


def ends(stage: psutil.Process, within_s: float) -> bool:
    until = time.monotonic() + within_s
    while not is_dead(stage.pid) and time.monotonic() < until:
        time.sleep(0.02)
    return is_dead(stage.pid)


CHAINS = {
    "dvc": (("dvc",), 0),
    "dvc in a shell": (("dvc", "sh"), 0),
    "the shell between them": (("dvc", "sh"), 1),
    "snakemake": (("snakemake", "sh", "dvc", "sh"), 0),
    "the job's shell": (("snakemake", "sh", "dvc", "sh"), 1),
    "the job's dvc": (("snakemake", "sh", "dvc", "sh"), 2),
}


@pytest.mark.parametrize("name", CHAINS)
def test_a_stage_ends_when_a_tool_above_it_dies(place, name):
    chain, victim = CHAINS[name]
    above, stage = start(place, *chain)
    above[victim].kill()
    try:
        assert ends(stage, 20)
        assert (place / "cleaned").exists()
        said = [line for line in (place / "errors").read_text().splitlines() if line != "Killed"]  # a shell's word
        assert said == ["error: stopped by SIGTERM; rerun the same command to start over"]
    finally:
        for process in [*above, stage]:
            if process.is_running():
                process.kill()


def test_a_signal_that_a_blocking_call_does_not_notice_still_ends_the_stage(place):
    """As where it comes just before the call: here another thread gets it, and the main one sleeps on."""
    stage_file = place / PACKAGE / "sleep.py"
    block = "import signal; signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])"
    stage_file.write_text(STAGE.replace("    try:\n", f"    {block}\n    try:\n", 1))
    above, stage = start(place, "dvc", "sh")
    above[0].kill()
    try:
        assert ends(stage, 20)
        assert (place / "cleaned").exists()
    finally:
        for process in [*above, stage]:
            if process.is_running():
                process.kill()


def test_tools_are_found_while_the_clock_is_being_set(place, monkeypatch):
    above, stage = start(place, "dvc", "sh")
    monkeypatch.setattr(psutil._pslinux, "boot_time", itertools.count(1000).__next__)  # each process seems younger than its child
    try:
        assert orphans.find_tools(stage) == above[::-1]
        assert not orphans.is_orphan(stage)
    finally:
        for process in [*above, stage]:
            process.kill()


@pytest.mark.slow
@pytest.mark.parametrize("chain", [("sh",), ("sh", "dvc"), ("make", "sh", "dvc"), ()])
def test_what_is_above_the_tools_may_end(place, chain):
    above, stage = start(place, *chain)
    try:
        for process in above[: len(chain) - ("dvc" in chain)]:
            process.kill()
        assert not ends(stage, 1.5)
    finally:
        for process in [*above, stage]:
            if process.is_running():
                process.kill()


@pytest.mark.slow
def test_where_the_system_does_not_report_an_end_it_is_seen_soon(place):
    package = place / PACKAGE / "__init__.py"
    package.write_text(f"import os\n\ndel os.pidfd_open\n{package.read_text()}")
    above, stage = start(place, "dvc", "sh")
    above[0].kill()
    above[1].kill()
    assert ends(stage, 20) and (place / "cleaned").exists()


@pytest.mark.slow
@pytest.mark.parametrize("machine", ["here", "elsewhere"])
def test_a_stage_whose_snakemake_is_dead_when_it_starts_does_not_run(place, machine):
    dead = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    owner = name_process(dead.pid)
    dead.communicate()
    owner = owner if machine == "here" else f"{owner.rpartition('-')[0]}-01234567"
    command = [sys.executable, "-m", "stages.sleep"]
    environ = os.environ | {"PYTHONPATH": f"{place / PACKAGE.parent}{os.pathsep}{WORKFLOW}", orphans.STARTED_BY: owner}
    with subprocess.Popen(command, cwd=place, env=environ, stderr=subprocess.DEVNULL) as stage:
        try:
            assert stage.wait(10) != 0 and machine == "here"
        except subprocess.TimeoutExpired:
            assert machine == "elsewhere" and (place / "started").exists()
        finally:
            stage.kill()


def test_a_process_is_distinguished_from_a_later_one_of_the_same_number():
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        name = name_process(process.pid)
        assert is_ours(name) and is_alive(name) and name != name_process()
        pid, start_time, machine = name.split("-")
        assert not is_alive(f"{pid}-{int(start_time) - 1}-{machine}")
        assert not is_ours(f"{pid}-{start_time}-{'0' * 8}")
        process.kill()
        until = time.monotonic() + PATIENCE_S
        while is_alive(name):  # dead, though nobody has waited for it
            assert time.monotonic() < until
    assert not is_alive(name) and machine == name_machine()


def test_who_is_ending():
    assert not orphans.is_ending(os.getpid())
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    assert orphans.is_ending(process.pid)
