"""Nobody starts a stage that is running, on any machine; what a killed run left blocks nobody for good."""

from __future__ import annotations

import json
import os
import platform
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

import pytest

from depthmask.base import stage_lease
from depthmask.base.errors import UserError
from depthmask.base.process_identity import name_process
from depthmask.base.stage_lease import TOKEN, Lease, find_path, hold_lease, list_running, read_lease, take_lease

WORKFLOW = Path(__file__).parents[2] / "workflow"
ELSEWHERE = ("4711-12345-01234567",)  # a process of another machine


@pytest.fixture(autouse=True)
def project(tmp_path, monkeypatch) -> Path:
    (tmp_path / ".dvc").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(TOKEN, raising=False)
    for variable in stage_lease.SCHEDULERS:
        monkeypatch.delenv(variable, raising=False)
    return tmp_path


@pytest.fixture
def quick(monkeypatch) -> None:
    """As if a machine without a heartbeat were given up after 2 s."""
    monkeypatch.setattr(stage_lease, "EXPIRY_S", 2.0)
    monkeypatch.setattr(stage_lease, "LOOK_EVERY_S", 0.02)


def write(holders: tuple[str, ...], host: str = "n7", age_s: float = 0.0, stage: str = "train") -> Path:
    """A lease that another process took, with its last heartbeat `age_s` ago."""
    path = find_path(stage)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(asdict(Lease("of another", stage, host, holders))))
    os.utime(path, (time.time() - age_s,) * 2)
    return path


def list_files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_lease_is_there_while_it_is_held_and_says_who_holds_it(monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "12")
    with hold_lease("dvc.yaml:train") as held:
        assert os.environ[TOKEN] == held.lease.token
        lease, beat = read_lease(find_path("train"))
        assert lease == held.lease and abs(beat - time.time()) < 60
        assert (lease.stage, lease.host, lease.holders) == ("train", platform.node(), (name_process(),))
        assert lease.is_local and lease.pids == [os.getpid()]
        assert lease.describe() == f"on {platform.node()}, PID {os.getpid()}, Slurm job 12"
        with pytest.raises(UserError, match=r"^train is already running \(on .*, Slurm job 12\); wait for it or stop it$"):
            take_lease("train")
        with hold_lease("test"):
            assert {lease.stage for lease in list_running()} == {"train", "test"}
        held.validate()
    assert TOKEN not in os.environ and list_running() == []
    assert list_files(find_path("train").parent) == []


@pytest.mark.parametrize("name", ["a/b", "a b", "x" * 300, "train@u-32", "ä"])
def test_any_name_of_a_stage_has_a_file_of_its_own(project, name):
    folder = project / "leaderboard"
    folder.mkdir()
    paths = {find_path(name), find_path(f"{name}_"), find_path(name, folder), find_path("a_b")}
    assert len(paths) == 4 and {path.parent for path in paths} == {project / stage_lease.FOLDER}
    with hold_lease(name), pytest.raises(UserError, match="is already running"):
        take_lease(name)


def test_without_a_dvc_project_there_are_no_leases(tmp_path, monkeypatch):
    (tmp_path / ".dvc").rmdir()
    assert find_path("train") is None or not find_path("train").is_relative_to(tmp_path)
    monkeypatch.setattr(stage_lease, "find_path", lambda *_: None)
    with hold_lease("train") as held:
        assert held is None and TOKEN not in os.environ
    assert list_running() == []


@pytest.mark.parametrize("how", ["ended", "reused"])
def test_a_killed_process_of_this_machine_blocks_nobody(how, capsys):
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        name = name_process(process.pid)
        process.wait()
    if how == "reused":  # this process's number, another start
        pid, start, machine = name_process().split("-")
        name = f"{pid}-{int(start) - 1}-{machine}"
    path = write((name,))
    since = time.monotonic()
    with hold_lease("train"):
        assert time.monotonic() - since < 2
    assert list_files(path.parent) == [] and capsys.readouterr().err == ""


def test_another_machine_is_believed_while_its_heart_beats(quick, capsys):
    path = write(ELSEWHERE)
    beats = subprocess.Popen(["sh", "-c", f"while sleep 0.3; do touch '{path}'; done"])
    try:
        with pytest.raises(UserError, match=r"^train is already running \(on n7, PID 4711\); wait"):
            take_lease("train")
    finally:
        beats.kill()
        beats.wait()
    assert read_lease(path)[0].token == "of another"
    assert capsys.readouterr().err == ("note: waiting up to 2 s to see whether train is still running (on n7, PID 4711)\n")


def test_another_machine_without_a_heartbeat_is_given_up(quick):
    path = write(ELSEWHERE)
    since = time.monotonic()
    with hold_lease("train"):
        assert 1.5 < time.monotonic() - since < 30
    write(ELSEWHERE, age_s=3600)
    since = time.monotonic()
    with hold_lease("train"):
        assert time.monotonic() - since < 1.5, "the disk's clock says how long ago it was"
    write(ELSEWHERE, age_s=-3600)  # a clock that was set back meanwhile
    with hold_lease("train"):
        pass
    assert list_files(path.parent) == []


@pytest.mark.parametrize("text", ["", "{", "[]", '{"token": 1}'])
def test_a_damaged_lease_expires(quick, text):
    path = write(ELSEWHERE)
    path.write_text(text)
    with hold_lease("train") as held:
        assert read_lease(path)[0] == held.lease


def test_whoever_was_taken_for_dead_does_not_record(monkeypatch):
    """As a job that was suspended for longer than others wait."""
    monkeypatch.setattr(stage_lease, "BEAT_S", 0.02)
    with hold_lease("train") as held:
        path = write(ELSEWHERE)
        with pytest.raises(UserError, match=r"train: this run was taken for dead after 60 s .* this result is not recorded"):
            held.validate()
        until = time.monotonic() + 30
        while not held.is_lost:
            assert time.monotonic() < until
            time.sleep(0.01)
        path.unlink()  # the other one has ended
        with pytest.raises(UserError, match="taken for dead"):
            held.validate()
        write(ELSEWHERE)
    assert path.exists(), "it is the other's"


def test_whoever_was_suspended_does_not_record_even_if_the_other_has_ended_by_then(monkeypatch):
    monkeypatch.setattr(stage_lease, "BEAT_S", 0.02)
    with hold_lease("train") as held:
        held.path.unlink()
        monkeypatch.setattr(stage_lease, "EXPIRY_S", -1.0)  # as if it had stood still for a minute
        with pytest.raises(UserError, match="taken for dead"):
            held.validate()
        until = time.monotonic() + 30
        while not held.is_lost:
            assert time.monotonic() < until
            time.sleep(0.01)
    assert not held.path.exists(), "it did not come back"


@pytest.mark.slow
def test_whoever_could_not_reach_the_disk_for_a_while_still_records(monkeypatch):
    monkeypatch.setattr(stage_lease, "BEAT_S", 0.02)
    monkeypatch.setattr(stage_lease, "EXPIRY_S", 3.0)
    with hold_lease("train") as held:
        folder = held.path.parent
        folder.rename(folder.with_name("away"))
        time.sleep(4)
        held.validate()
        folder.with_name("away").rename(folder)
        held.validate()
        assert read_lease(held.path)[0] == held.lease and not held.is_lost


def test_the_heart_beats_and_a_lease_that_was_removed_by_hand_comes_back(monkeypatch):
    monkeypatch.setattr(stage_lease, "BEAT_S", 0.02)
    with hold_lease("train") as held:
        os.utime(held.path, (0, 0))
        until = time.monotonic() + 30
        while read_lease(held.path)[1] == 0:
            assert time.monotonic() < until
            time.sleep(0.01)
        held.path.unlink()
        while not held.path.exists():
            assert time.monotonic() < until
            time.sleep(0.01)
        held.validate()
    time.sleep(0.1)
    assert not held.path.exists()


def test_only_one_of_many_takes_an_abandoned_lease(tmp_path):
    """All at once find the lease of a killed process."""
    code = """
import sys, time
from pathlib import Path
from depthmask.base.errors import UserError
from depthmask.base.stage_lease import take_lease
Path(f"ready{sys.argv[1]}").touch()
while not Path("go").exists():
    time.sleep(0.001)
try:
    held = take_lease("train")
except UserError:
    print("refused")
else:
    print("taken", flush=True)
    input()
"""
    pid, start, machine = name_process().split("-")
    write((f"{pid}-{int(start) - 1}-{machine}",))
    environ = os.environ | {"PYTHONPATH": str(WORKFLOW)}
    started = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(n)], env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for n in range(6)
    ]
    until = time.monotonic() + 120
    while len(list(tmp_path.glob("ready*"))) < len(started):
        assert time.monotonic() < until
        time.sleep(0.01)
    Path("go").touch()
    said = [process.stdout.readline().strip() for process in started]
    for process in started:
        process.communicate("\n")
    assert sorted(said) == ["refused"] * 5 + ["taken"]


STAGE = """
import sys, time
from pathlib import Path
if __name__ == "__main__":
    with Path("ran").open("a") as ran:
        ran.write(Path(next(Path(".dvc/tmp/leases").glob("*.json"), "ran")).read_text() + "\\n")
    while not Path("go").exists() and sys.argv[1:] == ["wait"]:
        time.sleep(0.01)
"""


def start_stage(project: Path, *arguments: str, **environ: str) -> subprocess.Popen[str]:
    package = project / "package/stages"
    package.mkdir(parents=True, exist_ok=True)
    (package / "__init__.py").write_text((WORKFLOW / "stages/__init__.py").read_text())
    (package / "train.py").write_text(STAGE)
    known = {name: value for name, value in os.environ.items() if not name.startswith(("DVC_", "DEPTHMASK_"))}
    environ = known | {"PYTHONPATH": f"{package.parent}{os.pathsep}{WORKFLOW}"} | environ
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen([sys.executable, "-m", "stages.train", *arguments], cwd=project, env=environ, **pipes)


def wait_for(path: Path) -> None:
    until = time.monotonic() + 60
    while not path.exists() or not path.read_text():
        assert time.monotonic() < until
        time.sleep(0.01)


def test_a_stage_that_dvc_runs_takes_the_lease_itself(project):
    """Under a plain `dvc repro` nothing of ours runs before it."""
    first = start_stage(project, "wait", DVC_STAGE="train")
    wait_for(project / "ran")
    second = start_stage(project, DVC_STAGE="train")
    printed = second.communicate()[0]
    assert second.returncode == 1
    assert printed == f"error: train is already running (on {platform.node()}, PID {first.pid}); wait for it or stop it\n"
    with pytest.raises(UserError, match="already running"):
        take_lease("train")
    (project / "go").touch()
    assert first.communicate()[0] == "" and first.returncode == 0
    assert list_running() == []


def test_a_stage_of_a_job_joins_its_lease_and_lives_on_in_it(project):
    with hold_lease("train") as held:
        stage = start_stage(project, "wait", DVC_STAGE="train", **{TOKEN: held.lease.token})
        wait_for(project / "ran")
        lease = read_lease(held.path)[0]
        assert lease.holders == (name_process(), name_process(stage.pid)) and lease.token == held.lease.token
        # a job that is killed leaves its stage to save: nobody starts another one meanwhile
        dead = lease.holders[1], f"1-{'9' * 20}-{lease.holders[0].rpartition('-')[2]}"
        held.path.write_text(json.dumps(asdict(lease) | {"holders": dead}))
        with pytest.raises(UserError, match="already running"):
            take_lease("train")
        (project / "go").touch()
        assert stage.communicate()[0] == ""


def test_a_stage_whose_job_was_taken_for_dead_does_not_start(project):
    path = write(ELSEWHERE)
    stage = start_stage(project, DVC_STAGE="train", **{TOKEN: "of a job that was suspended"})
    assert stage.communicate()[0] == "error: train is already running (on n7, PID 4711); wait for it or stop it\n"
    assert stage.returncode == 1 and path.exists() and not (project / "ran").exists()


def test_a_stage_started_by_hand_has_no_lease(project):
    with hold_lease("train"):
        stage = start_stage(project)
        assert stage.communicate()[0] == "" and stage.returncode == 0


def test_ctrl_c_while_a_stage_waits_for_another_machine_is_one_line(project):
    write(ELSEWHERE)
    stage = start_stage(project, DVC_STAGE="train")
    assert stage.stdout.readline().startswith("note: waiting up to 60 s")
    stage.send_signal(signal.SIGINT)
    assert stage.communicate()[0] == "error: stopped by Ctrl-C before it began; rerun the same command\n"
    assert stage.returncode == 130 and not (project / "ran").exists()


def test_a_lease_that_cannot_be_written_is_one_line(project):
    folder = find_path("train").parent
    folder.parent.mkdir(parents=True)
    folder.write_text("in its place")
    stage = start_stage(project, DVC_STAGE="train")
    (line,) = stage.communicate()[0].splitlines()
    assert line.startswith("error: ") and "leases: file exists" in line
    assert stage.returncode == 1 and not (project / "ran").exists()
