"""Two processes against one: the same curve, and one goes on where two were killed or stopped."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
import yaml
from safetensors.numpy import load_file

from depthmask.base.errors import UserError
from depthmask.base.files import read_csv, read_json, write_json
from depthmask.training.distributed import LostProcess, Processes
from depthmask.training.launching import launch
from depthmask.weights.start import write_start
from stages.pretrain import main as pretrain

PROJECT = Path(__file__).parents[2]
CHANNELS = {"image": {"mean": [0.5] * 3, "std": [0.2] * 3}}
PATIENCE_S = 300
# 9 is not to be halved, and 13 leave the last of two batches smaller. With fewer samples or smaller images the network's
# deepest maps have channels next to constant (all dropped, say), whose last bits a batch norm makes 300 times larger
PHASE = {"image_size_px": 48, "batch_size": 9, "samples_per_epoch": 36, "epochs": 2, "validation_samples": 13}
# AdamW divides by a gradient's size: where that is next to 0, bits of a sum would decide which way a weight goes
SGD = {"optimizer": "sgd", "learning_rate": 0.0003, "ema_decay": 0.5, "keep": "best"}


@pytest.fixture(scope="module")
def project(tmp_path_factory, raw, split, params) -> Path:
    """A folder with a small params.yaml, to run the stage's script in."""
    folder = tmp_path_factory.mktemp("project")
    values = yaml.safe_load((PROJECT / "params.yaml").read_text())
    values["model"] |= {"width": 4, "background_input": False, "dropout": 0.2}
    values["pretrain"] |= PHASE | SGD
    values["compute"] |= {"device": "cpu", "threads": 1, "precision": "float32"}
    (folder / "params.yaml").write_text(yaml.safe_dump(values))
    write_json(split / "statistics.json", {"channels": CHANNELS})
    (folder / "start").mkdir()
    write_start(params.model, folder / "start")
    return folder


@pytest.fixture
def inside(project, monkeypatch) -> Path:
    monkeypatch.chdir(project)
    monkeypatch.setenv("DEPTHMASK_WORKERS", "0")
    monkeypatch.setenv("DEPTHMASK_CHECKPOINT_STEPS", "1")
    return project


def _name_files(raw: Path, split: Path, name: str) -> list[str]:
    files = ["--weights", f"{name}.safetensors", "--history", f"{name}.csv", "--run", f"{name}.json"]
    return ["--raw", str(raw), "--split", str(split), "--start", "start", *files]


@pytest.fixture
def one(inside, raw, split) -> Path:
    """What one process makes; trained once."""
    if not (inside / "one.csv").exists():
        assert pretrain(_name_files(raw, split, "one")) == 0
    return inside


def _assert_same(folder: Path, name: str) -> None:
    rows, others = read_csv(folder / "one.csv"), read_csv(folder / f"{name}.csv")
    assert len(rows) == len(others) == PHASE["epochs"]
    for row, other in zip(rows, others):
        for column, value in row.items():
            assert float(other[column]) == pytest.approx(float(value), rel=1e-5), column
    weights, others = load_file(folder / "one.safetensors"), load_file(folder / f"{name}.safetensors")
    assert weights.keys() == others.keys()
    for key, value in weights.items():
        size = np.linalg.norm(value.astype(np.float64))
        assert np.linalg.norm(others[key].astype(np.float64) - value) <= 1e-4 * size + 1e-6 * value.size**0.5, key


TORCHRUN = ["torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "--"]


def _start(inside: Path, raw: Path, split: Path, name: str, by_torchrun: bool = False) -> subprocess.Popen:
    """Two processes under the stage's command or torchrun, once the first checkpoint is there."""
    environ = os.environ | {"DEPTHMASK_DEVICES": "2", "PYTHONPATH": str(PROJECT / "workflow")}
    command = [sys.executable, "-m", *(TORCHRUN if by_torchrun else []), "stages.pretrain", *_name_files(raw, split, name)]
    started = subprocess.Popen(command, cwd=inside, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    until = time.monotonic() + PATIENCE_S
    while not list(inside.glob(".checkpoints/pretrain-*/last.safetensors")):
        assert started.poll() is None and time.monotonic() < until
        time.sleep(0.005)
    return started


def _find_second(started: subprocess.Popen) -> psutil.Process:
    (second,) = [child for child in psutil.Process(started.pid).children() if child.environ().get("RANK") == "1"]
    return second


@pytest.mark.slow
def test_two_processes_give_the_curve_of_one(one, raw, split, monkeypatch):
    monkeypatch.setenv("DEPTHMASK_DEVICES", "2")
    assert pretrain(_name_files(raw, split, "two")) == 0
    _assert_same(one, "two")
    extra = read_json(one / "two.json")["extra"]
    assert extra["processes"] == 2 and read_json(one / "one.json")["extra"]["processes"] == 1
    assert extra["phases"] == [
        {
            "image_size_px": 48,
            "batch_size": 9,
            "processes": 2,
            "compile": "off",
            "micro_batch": 5,
            "micro_batch_because": "whole batch",
        }
    ]
    assert not list(one.glob(".checkpoints/*/*"))


@pytest.mark.slow
def test_one_of_two_killed_ends_the_other_and_one_resumes(one, raw, split, monkeypatch, capfd):
    started = _start(one, raw, split, "killed")
    _find_second(started).kill()
    _, said = started.communicate(timeout=PATIENCE_S)
    assert started.returncode == 1
    assert "error: rank 1 was killed by SIGKILL; the other ranks were stopped\nhint: rerun the same command" in said
    assert "Traceback" not in said
    assert not (one / "killed.csv").exists()
    assert pretrain(_name_files(raw, split, "killed")) == 0
    assert re.search(r"^pretrain  .*, resumed from step \d+ of \d+$", capfd.readouterr().err, re.MULTILINE)
    _assert_same(one, "killed")


@pytest.mark.slow
@pytest.mark.parametrize("receivers", ["one rank", "all processes"])
def test_a_signal_to_one_of_two_or_to_all_stops_both_at_the_same_step(one, raw, split, capfd, receivers, monkeypatch):
    monkeypatch.setenv("DEPTHMASK_WORKERS", "1")
    started = _start(one, raw, split, "stopped")
    others = [_find_second(started), *psutil.Process(started.pid).children(recursive=True), started]
    for process in others[: 1 if receivers == "one rank" else None]:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(signal.SIGUSR1)
    _, said = started.communicate(timeout=PATIENCE_S)
    assert started.returncode == 138, said
    assert len(re.findall(r"error: pretrain: stopped by SIGUSR1; rerun the same command to resume from step \d+\n", said)) == 1
    assert "Traceback" not in said and "killed" not in said
    assert pretrain(_name_files(raw, split, "stopped")) == 0
    assert re.search(r"^pretrain  .*, resumed from step \d+ of \d+$", capfd.readouterr().err, re.MULTILINE)
    _assert_same(one, "stopped")


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_ranks_of_torchrun_save_whether_it_survives_the_signal_or_not(one, raw, split, capfd, number, monkeypatch):
    """It passes SIGTERM on, and is gone at once after SIGUSR1."""
    monkeypatch.setenv("DEPTHMASK_WORKERS", "1")
    started = _start(one, raw, split, "torchrun", by_torchrun=True)
    for process in [*psutil.Process(started.pid).children(recursive=True), started]:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(number)
    _, said = started.communicate(timeout=PATIENCE_S)  # until the ranks have ended, too
    assert started.returncode != 0
    assert f"error: pretrain: stopped by {number.name}; rerun the same command to resume from step " in said, said
    assert "killed, probably out of memory" not in said
    assert pretrain(_name_files(raw, split, "torchrun")) == 0
    assert re.search(r"^pretrain  .*, resumed from step \d+ of \d+$", capfd.readouterr().err, re.MULTILINE)
    _assert_same(one, "torchrun")


def test_slices_are_of_every_sample_once():
    for batch_size, count in ((16, 2), (5, 2), (7, 3), (8, 8)):
        slices = [Processes(rank, count).slice_batch(batch_size) for rank in range(count)]
        assert [i for own in slices for i in range(batch_size)[own]] == list(range(batch_size))
        sizes = {own.stop - own.start for own in slices}
        assert max(sizes) - min(sizes) <= 1


SCRIPTS = {
    "fails": (
        "import os, sys; sys.exit(print('error: bad sample', file=sys.stderr) or 3 if os.environ['RANK'] == '1' else LOST)",
        3,
    ),
    "ends well": ("import os; assert os.environ['WORLD_SIZE'] == '2'", 0),
}


@pytest.mark.parametrize("name", SCRIPTS)
def test_what_a_process_says_in_its_last_line_is_reported_by_the_first(name, capfd):
    script, code = SCRIPTS[name]
    script = script.replace("LOST", str(LostProcess.exit_code))
    assert launch([sys.executable, "-c", script], 2, "0") == code
    assert ("error: bad sample" in capfd.readouterr().err) == bool(code)


def test_a_process_that_is_killed_is_named(monkeypatch):
    monkeypatch.setattr("depthmask.training.launching.PATIENCE_S", 0.2)
    script = "import os, time; os.kill(os.getpid(), 9) if os.environ['RANK'] == '0' else time.sleep(100)"
    before = time.monotonic()
    with pytest.raises(UserError, match=f"rank 0 was killed by {signal.Signals(9).name}"):
        launch([sys.executable, "-c", script], 2, "0")
    assert time.monotonic() - before < 60
