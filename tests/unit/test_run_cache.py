"""Runs stored in DVC's run cache by the stages themselves: what is restored, and what is not stored."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from running_tools import RUNNING, make_environment, run

from depthmask import dvc_run_cache
from depthmask.base import stored_run
from depthmask.base.errors import UserError
from depthmask.base.stop_signals import is_stage_script
from depthmask.base.stored_run import RunStart, note_start, store_run

GRAPH = """
stages:
  train:
    cmd: python train.py
    deps: [train.py, photos]
    params: [rate, size.width]
    outs:
      - weights.bin
      - run.json: {cache: false}
"""
PARAMS = "rate: {rate}\nsize: {{width: 4, height: 4}}\nother: {other}\n"
TRAIN = """
import json, time, yaml
params = yaml.safe_load(open("params.yaml"))
open("weights.bin", "w").write(f"weights of {params['rate']}")
json.dump({"when": time.time_ns()}, open("run.json", "w"))
"""


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """A DVC project of one stage with an output that git keeps, after its first run."""
    root = tmp_path_factory.mktemp("finished") / "project"
    (root / "photos").mkdir(parents=True)
    (root / "photos/a.txt").write_text("a")
    (root / "dvc.yaml").write_text(GRAPH)
    (root / "train.py").write_text(TRAIN)
    write_params(root)
    run(root, "git", "init", "--quiet")
    run(root, "dvc", "init", "--quiet")
    repro(root)
    return root


@pytest.fixture
def project(finished, tmp_path, monkeypatch) -> Path:
    root = shutil.copytree(finished, tmp_path / "project")
    for name, value in make_environment(root).items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(root)
    return root


def write_params(root: Path, rate: float = 0.1, other: int = 0) -> None:
    (root / "params.yaml").write_text(PARAMS.format(rate=rate, other=other))


def repro(root: Path) -> set[str]:
    """`dvc repro`; returns the stages whose commands were run."""
    return set(RUNNING.findall(run(root, "dvc", "repro").stdout))


def read_outputs(root: Path) -> tuple[bytes, bytes]:
    return (root / "weights.bin").read_bytes(), (root / "run.json").read_bytes()


def store(root: Path, start: RunStart | None = None) -> None:
    """What the process does that a stage starts when it is done; default: a stage that started just now."""
    from dvc.repo import Repo

    with Repo(str(root), config={"core": {"no_scm": True}}) as repo:
        dvc_run_cache.store(repo, "train", start or RunStart(time.time(), (root / "params.yaml").read_text()))


def list_runs(root: Path) -> list[Path]:
    return [path for path in (root / ".dvc/cache/runs").rglob("*") if path.is_file()]


def test_dvc_alone_stores_no_run_of_a_stage_with_an_output_that_git_keeps(project):
    assert list_runs(project) == []  # else our own storing is needless


@pytest.mark.slow
def test_a_stored_run_is_restored_with_what_git_keeps(project):
    store(project)
    first = read_outputs(project)
    write_params(project, rate=0.2)
    assert repro(project) == {"train"}
    assert read_outputs(project)[0] != first[0]
    write_params(project)
    assert repro(project) == set()
    assert read_outputs(project) == first
    assert "up to date" in run(project, "dvc", "status").stdout


@pytest.mark.slow
def test_storing_twice_keeps_the_newest_run_to_restore(project):
    store(project)
    run(project, "dvc", "repro", "--force")
    store(project)
    newest = read_outputs(project)
    assert len(list_runs(project)) == 2
    write_params(project, rate=0.2)
    repro(project)
    write_params(project)
    assert repro(project) == set()
    assert read_outputs(project) == newest


def test_a_run_whose_params_changed_meanwhile_is_not_stored(project):
    start = RunStart(time.time(), (project / "params.yaml").read_text())
    write_params(project, rate=0.3)
    with pytest.raises(UserError, match=r"^rate in params\.yaml changed while the stage ran.*--force --single-item train"):
        store(project, start)
    assert list_runs(project) == []


def test_other_keys_and_comments_may_change_meanwhile(project):
    start = RunStart(time.time(), (project / "params.yaml").read_text())
    write_params(project, other=1)
    (project / "params.yaml").write_text("# a comment\n" + (project / "params.yaml").read_text())
    store(project, start)
    assert len(list_runs(project)) == 1


@pytest.mark.parametrize("name", ["train.py", "photos/a.txt", "photos/b.txt"])
def test_a_run_whose_files_changed_meanwhile_is_not_stored(project, name):
    (project.parent / "old.txt").write_text("put there with an old date")
    os.utime(project.parent / "old.txt", (0, 0))
    time.sleep(0.05)  # the files were copied just now
    start = RunStart(time.time() - 0.01, (project / "params.yaml").read_text())
    for path in (project / "train.py", project / "photos/a.txt"):
        assert path.stat().st_ctime < start.seconds
    os.replace(project.parent / "old.txt", project / name)
    with pytest.raises(UserError, match=f"^{name} changed while the stage ran"):
        store(project, start)
    assert list_runs(project) == []


def test_a_stage_that_is_gone_from_the_graph_is_named(project):
    (project / "dvc.yaml").write_text(GRAPH.replace("train:", "learn:"))
    with pytest.raises(UserError, match="there is no stage train any more"):
        store(project)


@pytest.mark.parametrize(
    ("command", "is_stage"),
    [
        (["python", "-m", "stages.pretrain", "--raw", "data/raw"], True),
        (["python", "-u", "-m", "stages.leaderboard.train"], True),
        (["python", "-m", "depthmask", "check"], False),
        (["python", "-m"], False),
        (["python", "stages.pretrain"], False),
    ],
)
def test_only_a_stage_stores_its_run(command, is_stage, monkeypatch):
    assert is_stage_script(command) is is_stage
    monkeypatch.setattr(sys, "orig_argv", command)
    monkeypatch.delenv("RANK", raising=False)
    monkeypatch.delenv("DVC_STAGE", raising=False)
    assert note_start() is None  # started by hand
    monkeypatch.setenv("DVC_STAGE", "pretrain")
    assert (note_start() is not None) is is_stage
    monkeypatch.setenv("RANK", "0")
    assert note_start() is None  # one of several processes; that which started them stores


def test_a_run_that_cannot_be_stored_is_one_warning(project, monkeypatch, capsys):
    monkeypatch.setenv("DVC_STAGE", "train")
    (project / "dvc.yaml").write_text("stages: [")
    store_run(RunStart(time.time(), ""))
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("warning: train: not stored in DVC's run cache: dvc.yaml: ")


STORING = """
import sys, signal
from depthmask.base import stored_run
from depthmask.base.stop_signals import raise_terminated
stored_run.MODULE = "sleeper"
with raise_terminated():
    stored_run.store_run(stored_run.RunStart(0.0, ""))
print("done")
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_storing_and_not_the_stage(tmp_path, number):
    (tmp_path / "sleeper.py").write_text("import time, pathlib\npathlib.Path('asleep').touch()\ntime.sleep(60)\n")
    environ = os.environ | {"PYTHONPATH": f"{stored_run.SOURCE}{os.pathsep}{tmp_path}", "DVC_STAGE": "train"}
    command = [sys.executable, "-c", STORING]
    with subprocess.Popen(command, cwd=tmp_path, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as stage:
        until = time.monotonic() + 60
        while not (tmp_path / "asleep").exists():
            assert stage.poll() is None and time.monotonic() < until
            time.sleep(0.01)
        since = time.monotonic()
        stage.send_signal(number)
        out, said = stage.communicate(timeout=30)
    assert (stage.returncode, out, said) == (0, b"done\n", b"")
    assert time.monotonic() - since < 30


@pytest.mark.slow
def test_the_start_is_read_from_standard_input(project):
    start = {"seconds": time.time(), "params": (project / "params.yaml").read_text()}
    environ = os.environ | {"DVC_STAGE": "../project/dvc.yaml:train", "PYTHONPATH": str(stored_run.SOURCE)}
    command = [sys.executable, "-m", "depthmask.dvc_run_cache"]
    done = subprocess.run(command, input=json.dumps(start), env=environ, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(list_runs(project)) == 1
