"""What a killed process has left half-made is removed by the next one; what a live one works on is not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from depthmask.base import files
from depthmask.base.errors import UserError
from depthmask.base.files import FOREIGN_KEPT_S, replace_file, replace_folder, write_text
from depthmask.base.process_identity import name_process
from depthmask.execution import working_folder
from depthmask.execution.working_folder import hold_folder

WAITING = """
import sys, time
from pathlib import Path
from depthmask.base.files import {function}
with {function}(Path(sys.argv[1])) as temporary:
    (temporary / "half" if "{function}" == "replace_folder" else temporary).write_text("half")
    print("there", flush=True)
    time.sleep(60)
"""
HOLDING = """
import os, sys, time
from pathlib import Path
from depthmask.execution import working_folder
from depthmask.execution.working_folder import hold_folder
with hold_folder(Path(sys.argv[1]), "training"):
    if sys.argv[2] == "fork" and os.fork() == 0:
        time.sleep(2)
        os._exit(0)
    print("there", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def start():
    started = []

    def start_one(code: str, *arguments: str) -> subprocess.Popen:
        command = [sys.executable, "-c", code, *arguments]
        environ = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
        process = subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout.readline() == "there\n"
        return process

    yield start_one
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture(autouse=True)
def forget_folders():
    files._remove_leftovers.cache_clear()


def list_parts(folder) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name.endswith(".part"))


@pytest.mark.parametrize("function", ["replace_file", "replace_folder"])
def test_leftovers_of_a_killed_process_go_and_those_of_a_live_one_stay(tmp_path, start, function):
    dead, alive = (start(WAITING.format(function=function), str(tmp_path / name)) for name in ("samples", "photos"))
    assert len(list_parts(tmp_path)) == 2
    dead.kill()
    dead.wait()
    write_text(tmp_path / "metrics.json", "{}")
    (left,) = list_parts(tmp_path)
    assert left.startswith(f".photos.{alive.pid}-")


def test_what_may_be_another_machines_is_given_a_day(tmp_path):
    names = [f".a.{name_process().rpartition('-')[0]}-01234567.part", ".b.123.part", ".raw.download.part", ".0003.part"]
    for name in names:
        (tmp_path / name).touch()
    write_text(tmp_path / "one", "")
    assert list_parts(tmp_path) == sorted(names)
    long_ago = time.time() - FOREIGN_KEPT_S - 1
    for name in names:
        os.utime(tmp_path / name, (long_ago, long_ago))
    files._remove_leftovers.cache_clear()  # it looks once a process
    write_text(tmp_path / "two", "")
    assert list_parts(tmp_path) == [".0003.part", ".b.123.part", ".raw.download.part"]  # not ours, or with rules of their own


def test_a_name_as_long_as_the_system_allows_can_be_written(tmp_path):
    for name in ("x" * 255, "ü" * 127):
        with replace_file(tmp_path / name) as temporary:
            temporary.write_text("whole")
        assert (tmp_path / name).read_text() == "whole"
        with replace_folder(tmp_path / "below" / name) as folder:
            (folder / "inside").touch()
        assert (tmp_path / "below" / name / "inside").exists()


def test_neither_a_device_nor_a_pipe_is_replaced_by_a_file(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("/dev/null")
    for name in ("pipe", "link"):
        for replace in (replace_file, replace_folder):
            with pytest.raises(UserError, match="and would be replaced by a file; choose another path"), replace(tmp_path / name):
                pass
    assert (tmp_path / "pipe").is_fifo() and (tmp_path / "link").is_symlink()
    with pytest.raises(UserError, match="/dev/null: is a device"):
        write_text(Path("/dev/null"), "")
    assert Path("/dev/null").is_char_device()


@pytest.mark.parametrize("child", ["fork", "none"])
def test_work_whose_owner_was_killed_is_taken_over(tmp_path, start, child):
    """A forked child, such as a data-loader worker, does not hold the lock for its parent."""
    owner = start(HOLDING, str(tmp_path / "work"), child)
    running = rf"the same training is still running \(PID {owner.pid}\); wait"
    with pytest.raises(UserError, match=running), hold_folder(tmp_path / "work", "training"):
        pass
    owner.send_signal(signal.SIGKILL)
    owner.wait()
    with hold_folder(tmp_path / "work", "training") as folder:
        assert folder.is_dir()
    assert list(tmp_path.iterdir()) == []


def test_work_whose_owner_is_about_to_end_is_waited_for(tmp_path, start, capsys, monkeypatch):
    owner = start(HOLDING, str(tmp_path / "work"), "none")
    monkeypatch.setattr(working_folder, "is_ending", lambda pid: pid == owner.pid)
    end = threading.Timer(0.5, owner.kill)
    end.start()
    with hold_folder(tmp_path / "work", "training") as folder:
        assert folder.is_dir()
    end.join()
    assert f"waiting for the training of a killed run (PID {owner.pid}) to save and end" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
