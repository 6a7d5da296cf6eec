"""SIGKILL at ten random moments of packing: nothing looks finished that is not, and the next run ends with the same bytes."""

from __future__ import annotations

import multiprocessing
import os
import random
import time
from pathlib import Path

import psutil
import pytest
from making_layouts import WRITERS, make_composites, make_download
from running_tools import is_dead

from depthmask.base.entry_points import print_errors_as_lines
from depthmask.base.errors import UserError
from depthmask.base.stop_signals import STOP_SIGNALS
from depthmask.download.fetch import fetch
from depthmask.packing.pack import pack
from depthmask.packing.shards import PackPlan
from depthmask.sources.pre_composited import PreCompositedSource

NUM_KILLS, NUM_PROCESSES = 10, 2
PLAN = PackPlan((16, 24), "crop", num_shards=5)


def list_files(folder: Path) -> dict[str, bytes]:
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def wait_for_death(pids: list[int]) -> None:
    """Of the processes that the killed one had started: they see for themselves that nobody waits for them."""
    psutil.wait_procs([psutil.Process(pid) for pid in pids if psutil.pid_exists(pid)], timeout=30)
    assert all(map(is_dead, pids))


@pytest.mark.slow
def test_a_killed_packing_is_resumed_and_ends_with_the_same_bytes(tmp_path, params, monkeypatch):
    read_maps = PreCompositedSource.read_maps

    def read_slowly(self, key):
        time.sleep(0.01)
        return read_maps(self, key)

    monkeypatch.setattr(PreCompositedSource, "read_maps", read_slowly)
    changes, _ = WRITERS["nested"](tmp_path / "set", make_composites(6, 4, 4))
    fetch(make_download(params, "nested", tmp_path / "set", changes), tmp_path / "raw")
    since = time.monotonic()
    pack(tmp_path / "raw", tmp_path / "store", PLAN, NUM_PROCESSES, tmp_path / "work")
    seconds, wanted = time.monotonic() - since, list_files(tmp_path / "store")
    context, rng = multiprocessing.get_context("fork"), random.Random(0)
    num_gone_on = 0
    for kill in range(NUM_KILLS):
        out, work = tmp_path / f"store{kill}", tmp_path / f"work{kill}"
        process = context.Process(target=pack, args=(tmp_path / "raw", out, PLAN, NUM_PROCESSES, work))
        process.start()
        # stratified, so that the ten moments cover the whole of it whatever the machine's speed
        process.join((kill + rng.random()) / NUM_KILLS * seconds)
        children = [child.pid for child in psutil.Process(process.pid).children()] if process.is_alive() else []
        process.kill()
        process.join()
        wait_for_death(children)
        if out.exists():
            assert list_files(out) == wanted
        made = {part: part.stat().st_mtime_ns for part in work.glob("pack-*/[0-9]*/shard.json")}
        num_gone_on += 0 < len(made) < PLAN.num_shards
        pack(tmp_path / "raw", out, PLAN, NUM_PROCESSES, work)
        assert list_files(out) == wanted
        assert not list(work.iterdir()) and not list(tmp_path.glob(".store*"))
    assert num_gone_on, "every kill came before the first part or after the last"


def pack_as_a_job(raw: Path, out: Path, work: Path) -> None:
    """In a process group of its own, as a scheduler's job has it, with the exit code and the output of a stage."""
    os.setpgid(0, 0)
    os._exit(print_errors_as_lines(lambda: pack(raw, out, PLAN, NUM_PROCESSES, work) and None)())


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_a_signal_to_all_processes_of_a_packing_is_not_taken_for_a_lack_of_memory(tmp_path, params, monkeypatch, capfd, number):
    read_maps = PreCompositedSource.read_maps

    def read_slowly(self, key):
        time.sleep(0.1)
        return read_maps(self, key)

    changes, _ = WRITERS["nested"](tmp_path / "set", make_composites(6, 4, 4))
    fetch(make_download(params, "nested", tmp_path / "set", changes), tmp_path / "raw")
    monkeypatch.setattr(PreCompositedSource, "read_maps", read_slowly)
    place = tmp_path / "raw", tmp_path / "store", tmp_path / "work"
    job = multiprocessing.get_context("fork").Process(target=pack_as_a_job, args=place)
    job.start()
    until = time.monotonic() + 60
    while len(psutil.Process(job.pid).children()) < NUM_PROCESSES:
        assert job.is_alive() and time.monotonic() < until
        time.sleep(0.001)
    children = [child.pid for child in psutil.Process(job.pid).children()]
    time.sleep(0.2)
    for _ in range(3):
        os.killpg(job.pid, number)
    job.join(60)
    wait_for_death(children)
    assert job.exitcode == 128 + number
    assert capfd.readouterr().err == f"error: stopped by {number.name}; rerun the same command to start over\n"
    assert not (tmp_path / "store").exists() and not list(tmp_path.glob(".store*"))
    monkeypatch.setattr(PreCompositedSource, "read_maps", read_maps)
    for out, work in (("store", "work"), ("fresh", "elsewhere")):
        pack(tmp_path / "raw", tmp_path / out, PLAN, NUM_PROCESSES, tmp_path / work)
    assert list_files(tmp_path / "store") == list_files(tmp_path / "fresh")


def test_a_packing_whose_process_dies_is_reported(tmp_path, params, monkeypatch):
    changes, _ = WRITERS["nested"](tmp_path / "set", make_composites(6, 4, 4))
    fetch(make_download(params, "nested", tmp_path / "set", changes), tmp_path / "raw")

    def die(self, key):
        psutil.Process().kill()

    monkeypatch.setattr(PreCompositedSource, "read_maps", die)
    with pytest.raises(UserError, match=r"a packing process died \(exit code -9\); is there enough memory\?"):
        pack(tmp_path / "raw", tmp_path / "store", PLAN, NUM_PROCESSES, tmp_path / "work")
    assert not (tmp_path / "store").exists()
