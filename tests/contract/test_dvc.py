"""What this project relies on in DVC's own code; a new version of DVC that breaks it fails here, and not in a job."""

from __future__ import annotations

import inspect
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import dvc.dependency.param
import dvc.dvcfile
import dvc.lock
import dvc.rwlock
import dvc.stage
import dvc.stage.decorators
import dvc.stage.run
import pytest
import yaml
from dvc.dependency.param import ParamsDependency
from dvc.repo import Repo, lock_repo
from making_graphs import make_project
from running_tools import run_dvc

from depthmask import dvc_in_process
from depthmask.dvc_in_process import (
    describe_inputs,
    leave_no_entries,
    let_locks_expire,
    note_commands,
    read_params_once,
    refuse_changed_inputs,
    write_lock_file_atomically,
)

DVC_YAML = """
stages:
  make:
    cmd: cat source/text.txt > made.txt && cp .dvc/tmp/rwlock seen.txt 2> errors.txt || true
    deps: [source]
    params: [report.title]
    outs: [made.txt]
"""


@pytest.fixture
def project(tmp_path, monkeypatch) -> Path:
    root = make_project(tmp_path / "project", DVC_YAML)
    monkeypatch.chdir(root)
    return root


def parameters(function: object) -> list[str]:
    return list(inspect.signature(function).parameters)


def test_what_is_replaced_is_called_as_it_was():
    assert parameters(dvc.rwlock.rwlock) == parameters(dvc_in_process._respect_others)
    assert parameters(dvc.dvcfile.modify_yaml)[:2] == parameters(dvc_in_process._modify_atomically)
    assert parameters(dvc.stage.run.cmd_run) == ["stage", "dry", "run_env"]
    assert parameters(dvc.stage.Stage.save_deps) == ["self", "allow_missing"]
    assert parameters(dvc.stage.run.StageCmdFailedError) == ["cmd", "status"]
    assert "raise StageCmdFailedError(cmd, p.returncode)" in inspect.getsource(dvc.stage.run._run)
    assert "p = subprocess.Popen(exec_cmd, **kwargs)" in inspect.getsource(dvc.stage.run._run)
    assert "p.communicate()" in inspect.getsource(dvc.stage.run._run)
    assert "HardlinkLock if hardlink_lock else Lock" in inspect.getsource(dvc.lock.make_lock)
    # looked up when it is called: a name bound at import would not be replaced
    assert "from dvc.rwlock import rwlock" in inspect.getsource(dvc.stage.decorators.rwlocked.__wrapped__)
    assert "cmd_run if dry else unlocked_repo(cmd_run)" in inspect.getsource(dvc.stage.run.run_stage)
    assert "modify_yaml(self.path" in inspect.getsource(dvc.dvcfile.Lockfile.dump_stages)


@pytest.mark.slow
def test_dvcs_list_of_readers_and_writers_has_the_form_that_is_read(project, tmp_path):
    """While DVC itself runs a stage, its entries are there, with PID and command."""
    run_dvc(project)
    entries = json.loads((project / "seen.txt").read_text())
    assert set(entries) == {"read", "write"}
    writer = entries["write"][str(project / "made.txt")]
    assert isinstance(writer["pid"], int) and writer["cmd"].endswith("dvc repro")
    assert entries["read"][str(project / "source")] == [writer]


JOB = [sys.executable, "workflow/stage_job.py", "make"]


def test_a_job_runs_its_command_without_entries_and_without_the_lock(project):
    text = (project / "dvc.yaml").read_text().replace("|| true", "; flock --nonblock .dvc/tmp/lock true && touch unlocked.txt")
    (project / "dvc.yaml").write_text(text)
    subprocess.run(JOB, check=True, env=os.environ | {"SHELL": "/bin/sh"})
    assert (project / "made.txt").read_text() == "abcdef"
    assert not (project / "seen.txt").exists(), "there is not even a list"
    assert yaml.safe_load((project / "dvc.lock").read_text())["stages"]["make"]["outs"][0]["path"] == "made.txt"


@pytest.mark.slow
def test_a_job_records_what_dvc_records(project, tmp_path):
    other = make_project(tmp_path / "other", DVC_YAML)
    run_dvc(other)
    subprocess.run(JOB, check=True)
    assert (project / "dvc.lock").read_bytes() == (other / "dvc.lock").read_bytes()


@pytest.mark.slow
def test_dvc_lock_is_renamed_into_place_with_the_same_bytes(project):
    run_dvc(project)
    before, inode = (project / "dvc.lock").read_bytes(), (project / "dvc.lock").stat().st_ino
    (project / "dvc.lock").chmod(0o664)
    with write_lock_file_atomically(), Repo(".", config={"core": {"no_scm": True}}) as repo, lock_repo(repo):
        (stage,) = [stage for stage in repo.index.stages if stage.cmd]
        stage.dump(update_pipeline=False)
    assert (project / "dvc.lock").read_bytes() == before
    assert (project / "dvc.lock").stat().st_ino != inode
    assert (project / "dvc.lock").stat().st_mode & 0o777 == 0o664
    assert not list(project.glob(".dvc.lock*"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "named"),
    [
        ("echo more >> source/text.txt", "source"),
        ("sed -i s/title:.depthmask/title:\\ changed/ params.yaml", "params.yaml (report.title)"),
    ],
)
def test_a_result_whose_inputs_changed_meanwhile_is_not_recorded(project, change, named):
    text = (project / "dvc.yaml").read_text().replace("|| true", f"; {change}")
    (project / "dvc.yaml").write_text(text)
    done = subprocess.run(JOB, capture_output=True, text=True)
    assert done.returncode == 255 and "Traceback" not in done.stdout + done.stderr
    (line,) = [line for line in (done.stdout + done.stderr).splitlines() if line.startswith("ERROR")]
    assert line == (
        f"ERROR: failed to reproduce 'make': {named} changed while the stage was running, so the result is not recorded;"
        " change nothing while it runs, and rerun the same command"
    )
    assert not (project / "dvc.lock").exists()
    # once nothing changes any more, the same command makes and records it
    (project / "dvc.yaml").write_text(DVC_YAML)
    subprocess.run(JOB, check=True)
    assert (project / "made.txt").read_bytes() == (project / "source/text.txt").read_bytes()
    assert run_dvc(project) == set()


def test_inputs_are_described_by_hash_and_value(project):
    with Repo(".", config={"core": {"no_scm": True}}) as repo, lock_repo(repo):
        (stage,) = [stage for stage in repo.index.stages if stage.cmd]
        stage.save_deps()
        inputs = describe_inputs(stage)
    assert inputs["params.yaml (report.title)"] == "depthmask"
    assert inputs["source"].endswith(".dir")


def test_a_lock_that_is_a_file_expires_unless_its_process_lives(tmp_path, monkeypatch):
    """`core.hardlink_lock`: DVC's own lasts a year, and even then nobody can break it."""
    path = tmp_path / "lock"

    def make_lock():
        return dvc.lock.make_lock(str(path), tmp_dir=str(tmp_path), hardlink_lock=True)

    monkeypatch.setattr(dvc_in_process, "LOCK_BEAT_S", 0.1)
    with let_locks_expire():
        with make_lock():
            os.utime(path, (0, 0))
            until = time.monotonic() + 60
            while path.stat().st_mtime < time.time():  # until the next beat
                assert time.monotonic() < until
            assert path.stat().st_mtime <= time.time() + dvc_in_process.LOCK_EXPIRES_S + 1
            with pytest.raises(dvc.lock.LockError):
                make_lock().lock()
        assert not path.exists()
        killed = make_lock()
        killed.lock()
        killed._end.set()  # no more beats
        os.utime(path, (0, 0))
    with pytest.raises(dvc.lock.LockError):
        make_lock().lock()
    with let_locks_expire(), make_lock():
        assert path.exists() and not killed._is_locked_no_refresh()
    assert not path.exists()


def test_everything_is_put_back():
    def look() -> tuple[object, ...]:
        lock = dvc.lock.HardlinkLock
        run = dvc.stage.run
        return dvc.rwlock.rwlock, dvc.dvcfile.modify_yaml, run.cmd_run, run.subprocess, dvc.stage.Stage.save_deps, lock

    before = look()
    with leave_no_entries(), write_lock_file_atomically(), refuse_changed_inputs(), let_locks_expire(), note_commands([]):
        assert not any(now is then for now, then in zip(look(), before, strict=True))
    assert look() == before


def test_params_are_parsed_once_and_again_when_they_changed(project, monkeypatch):
    parsed = []
    load_path = dvc.dependency.param.load_path
    monkeypatch.setattr(dvc.dependency.param, "load_path", lambda *path: parsed.append(path[0]) or load_path(*path))
    with read_params_once(), Repo(".", config={"core": {"no_scm": True}}) as repo, lock_repo(repo):
        (params,) = [dep for stage in repo.index.stages for dep in stage.deps if isinstance(dep, ParamsDependency)][:1]
        assert params.read_params() == params.read_params() and len(parsed) == 1
        path = Path("params.yaml")
        path.write_text(path.read_text().replace("title: depthmask", "title: changed here"))
        assert params.read_params()["report.title"] == "changed here" and len(parsed) == 2
    assert params.read_params()["report.title"] == "changed here" and len(parsed) == 3
