"""The job of a stage under Snakemake: signals, exit codes, and what a kill leaves."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import yaml
from making_graphs import make_project
from running_tools import is_dead, make_environment, run

# a stage of ours that saves on a signal, and else waits to be let go
WAIT = """
import sys, time
from pathlib import Path
from depthmask.base.entry_points import print_errors_as_lines
from depthmask.base.errors import Interrupted

@print_errors_as_lines
def main():
    try:
        Path("started").write_text(str(__import__("os").getpid()))
        while not Path("go").exists():
            time.sleep(0.02)
        Path("made.txt").write_text(Path("source/text.txt").read_text())
    except KeyboardInterrupt:
        time.sleep(0.3)  # saving takes a while
        Path("saved").touch()
        raise Interrupted.by_signal("wait", "saved") from None

if __name__ == "__main__":
    sys.exit(main())
"""
DVC_YAML = """
stages:
  wait:
    cmd: PYTHONPATH=workflow python -m stages.wait
    deps: [source]
    outs: [made.txt]
  fail:
    cmd: echo to stdout && echo to stderr >&2 && exit 3
    outs: [never.txt]
"""
JOB = [sys.executable, "workflow/stage_job.py"]
PATIENCE_S = 120


@pytest.fixture
def project(tmp_path) -> Iterator[Path]:
    root = make_project(tmp_path / "project", DVC_YAML)
    (root / "workflow/stages/wait.py").write_text(WAIT)
    yield root
    (root / "go").touch()  # whatever a failed test left running ends


def start(project: Path) -> tuple[subprocess.Popen[str], psutil.Process]:
    """Start the job in a process group of its own; return it and its stage, once that is at work."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    job = subprocess.Popen([*JOB, "wait"], cwd=project, env=make_environment(project), start_new_session=True, **pipes)
    until = time.monotonic() + PATIENCE_S
    while not ((project / "started").exists() and (project / "started").read_text()):
        assert job.poll() is None and time.monotonic() < until
        time.sleep(0.02)
    return job, psutil.Process(int((project / "started").read_text()))


def make_shell(folder: Path, *, stays: bool) -> str:
    """A shell for the variable SHELL, by which DVC runs commands; it stays above its command, or is replaced by it."""
    script = folder / "shell"
    script.write_text('#!/bin/sh\nsh "$@"\nexit $?\n' if stays else '#!/bin/sh\nfor last; do :; done\neval "exec env $last"\n')
    script.chmod(0o755)
    return str(script)


def is_free(project: Path) -> bool:
    """Whether nothing of a job is left: no lease, no lock, no entry."""
    unlocked = subprocess.run(["flock", "--nonblock", ".dvc/tmp/lock", "true"], cwd=project).returncode == 0
    return unlocked and not list((project / ".dvc/tmp/leases").glob("*")) and not (project / ".dvc/tmp/rwlock").exists()


@pytest.mark.slow
@pytest.mark.parametrize("shell", ["replaced by the stage", "stays"])
@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGUSR1])
@pytest.mark.parametrize("to_group", [False, True])
def test_a_signal_reaches_the_stage_and_the_job_waits_until_it_has_saved(project, monkeypatch, sent, to_group, shell):
    """A shell that stays above the stage, as /bin/sh does in many systems, is ended by the signal at once."""
    monkeypatch.setenv("SHELL", make_shell(project.parent, stays=shell == "stays"))
    job, stage = start(project)
    if to_group:
        os.killpg(job.pid, sent)
    else:
        job.send_signal(sent)
    printed = job.communicate(timeout=PATIENCE_S)[0]
    assert (project / "saved").exists() and is_dead(stage.pid)
    assert job.returncode == 128 + sent
    assert f"error: wait: stopped by {sent.name}; saved\n" in printed
    failed = "ERROR: failed to reproduce 'wait': failed to run: PYTHONPATH=workflow python -m stages.wait, exited with "
    assert f"{failed}{128 + sent}\n" in printed
    assert "Traceback" not in printed and is_free(project) and not (project / "dvc.lock").exists()
    (project / "go").touch()
    run(project, *JOB, "wait")
    assert (project / "made.txt").read_text() == "abcdef"


@pytest.mark.slow
def test_a_lock_that_is_a_file_is_held_while_judging_and_recording_only(project):
    """`core.hardlink_lock`, for disks without flock across machines."""
    config = project / ".dvc/config"
    config.write_text(config.read_text() + "    hardlink_lock = true\n")
    job, _ = start(project)
    assert not (project / ".dvc/tmp/lock").exists()
    assert "wait" in run(project, "dvc", "status").stdout
    assert "This was a dry-run" in run(project, "snakemake", "-n", "made.txt").stdout
    (project / "go").touch()
    assert job.wait(PATIENCE_S) == 0
    assert not (project / ".dvc/tmp/lock").exists() and (project / "dvc.lock").exists()
    (project / ".dvc/tmp/lock").write_text("of a killed job")
    os.utime(project / ".dvc/tmp/lock", (0, 0))
    assert "didn't change, skipping" in run(project, *JOB, "wait").stdout


@pytest.mark.slow
@pytest.mark.parametrize("shell", ["replaced by the stage", "stays"])
def test_the_stage_of_a_killed_job_saves_and_ends_and_the_next_job_waits_for_it(project, monkeypatch, shell):
    """A shell that stays is still the stage's parent, as if a user had started the stage from it."""
    monkeypatch.setenv("SHELL", make_shell(project.parent, stays=shell == "stays"))
    job, stage = start(project)
    job.kill()
    job.wait()
    (project / "go").touch()  # for the next one; this one has its signal before it looks again, or else makes the same
    printed = run(project, *JOB, "wait").stdout
    assert is_dead(stage.pid) and "Traceback" not in printed
    assert (project / "made.txt").read_text() == "abcdef" and is_free(project)
    assert yaml.safe_load((project / "dvc.lock").read_text())["stages"]["wait"]["outs"][0]["path"] == "made.txt"


@pytest.mark.slow
def test_ctrl_c_in_a_terminal_saves_too(project):
    job, _ = start(project)
    os.killpg(job.pid, signal.SIGINT)
    printed = job.communicate(timeout=PATIENCE_S)[0]
    assert job.returncode == 130 and (project / "saved").exists()
    assert "error: wait: stopped by Ctrl-C; saved\n" in printed and "Traceback" not in printed and is_free(project)


@pytest.mark.slow
def test_a_signal_before_the_command_ends_the_job(project):
    (project / ".dvc/tmp").mkdir(exist_ok=True)
    with subprocess.Popen(["flock", ".dvc/tmp/lock", "sh", "-c", "echo held; read _"], cwd=project, **both_pipes()) as holder:
        assert holder.stdout.readline() == "held\n"
        job = subprocess.Popen([*JOB, "wait"], cwd=project, env=make_environment(project), **both_pipes())
        until = time.monotonic() + PATIENCE_S
        while not list((project / ".dvc/tmp").glob("leases/*.json")):
            assert time.monotonic() < until
            time.sleep(0.02)
        time.sleep(3)  # it waits for DVC's lock
        job.send_signal(signal.SIGTERM)
        printed = job.communicate(timeout=PATIENCE_S)[0]
        holder.communicate("\n")
    assert job.returncode == 143 and "Traceback" not in printed, printed
    assert printed.endswith("error: wait: stopped by SIGTERM before its result was recorded; rerun the same command\n")
    assert not (project / "started").exists() and is_free(project)


def both_pipes() -> dict[str, object]:
    return {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}


@pytest.mark.slow
def test_a_failing_command_is_reported_as_by_dvc(project):
    done = run(project, *JOB, "fail", check=False)
    assert done.returncode == 3
    assert done.stdout.splitlines()[-3:] == [
        "to stdout",
        "to stderr",
        "ERROR: failed to reproduce 'fail': failed to run: echo to stdout && echo to stderr >&2 && exit 3, exited with 3",
    ]
    assert is_free(project)


@pytest.mark.slow
def test_what_has_not_changed_is_skipped_and_what_is_missing_fetched(project):
    (project / "go").touch()
    assert "Running stage 'wait'" in run(project, *JOB, "wait").stdout
    assert "Stage 'wait' didn't change, skipping" in run(project, *JOB, "wait").stdout
    (project / "made.txt").unlink()
    printed = run(project, *JOB, "wait").stdout
    assert "Stage 'wait' is cached - skipping run, checking out outputs" in printed and "Running stage" not in printed
    assert (project / "made.txt").read_text() == "abcdef"


@pytest.mark.parametrize("arguments", [[], ["a", "b"]])
def test_it_wants_one_stage(project, arguments):
    done = run(project, *JOB, *arguments, check=False)
    assert done.returncode == 1 and done.stdout.startswith("error: usage: ") and done.stdout.count("\n") == 1


@pytest.mark.slow
def test_a_dvc_of_the_users_on_this_machine_is_respected(project):
    """As before: a job does not write what `dvc repro` of another stage is reading."""
    words = [sys.executable, "-c", "input()", "repro", "report"]
    with subprocess.Popen(words, stdin=subprocess.PIPE) as dvc:
        entries = {"write": {}, "read": {str(project / "made.txt"): [{"pid": dvc.pid, "cmd": "/bin/dvc repro report"}]}}
        (project / ".dvc/tmp").mkdir(exist_ok=True)
        (project / ".dvc/tmp/rwlock").write_text(json.dumps(entries))
        done = run(project, *JOB, "wait", check=False)
        assert done.returncode == 255 and f"(PID {dvc.pid}): /bin/dvc repro report" in done.stdout
        assert not (project / "started").exists()
        dvc.communicate()
    (project / "go").touch()
    run(project, *JOB, "wait")  # its entry, which the killed one left, stays: who knows whose it is
    assert json.loads((project / ".dvc/tmp/rwlock").read_text()) == entries
    assert (project / "made.txt").read_text() == "abcdef"
