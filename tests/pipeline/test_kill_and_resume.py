"""SIGKILL in the middle of an epoch, under each tool: the next run goes on and ends with the same bytes."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import time
from pathlib import Path

import pytest
from running_tools import (
    TOOLS,
    find_different,
    kill_when,
    make_environment,
    require_nothing_to_do,
    run,
    run_dvc,
)
from tiny_project import change_params, commit, copy_clone, make_clone

pytestmark = pytest.mark.slow

SAME = (
    "data/models/pretrain.safetensors",
    "data/models/finetune.safetensors",
    "reports/pretrain/history.csv",
    "reports/finetune/history.csv",
    "reports/metrics.json",
    "reports/per_image.csv",
)
COMMANDS = {"dvc": ["dvc", "repro"], "snakemake": ["snakemake", "--cores", "2"]}
LONGER = {stage: {"samples_per_epoch": 240, "epochs": 2, "batch_size": 8} for stage in ("pretrain", "finetune")}
SAVES_SEEN = 4  # checkpoints that come and go before the kill, so that it falls into the middle of an epoch
PATIENCE_S = 120


@pytest.fixture(scope="module")
def untouched(tmp_path_factory) -> Path:
    """A clone in which all before training is made."""
    root = make_clone(tmp_path_factory.mktemp("untouched") / "clone")
    change_params(root, LONGER)
    commit(root, "longer")
    run_dvc(root, "split")
    return root


@pytest.fixture(scope="module")
def uninterrupted(untouched, tmp_path_factory) -> Path:
    root = copy_clone(untouched, tmp_path_factory.mktemp("uninterrupted") / "clone")
    run_dvc(root)
    return root


def kill_while(root: Path, stage: str, command: list[str]) -> None:
    """Start the tool, and kill it with all its children once `stage` has saved a few checkpoints."""
    seen = set()

    def has_saved_a_few() -> bool:
        for checkpoint in root.glob(f".checkpoints/{stage}-*/last.safetensors"):
            with contextlib.suppress(FileNotFoundError):
                seen.add(checkpoint.stat().st_mtime_ns)
        return len(seen) >= SAVES_SEEN

    kill_when(has_saved_a_few, root, command, PATIENCE_S, DEPTHMASK_CHECKPOINT_STEPS="1")
    assert list(root.glob(f".checkpoints/{stage}-*/*.safetensors"))


def damage_checkpoint(root: Path, stage: str) -> None:
    """Flip a byte of the newest checkpoint, amid its weights."""
    (folder,) = root.glob(f".checkpoints/{stage}-*/")
    last = folder / "last.safetensors"
    if not last.exists():  # the kill came between its two renames
        shutil.copyfile(folder / "previous.safetensors", last)
    data = bytearray(last.read_bytes())
    data[len(data) // 2] ^= 1
    last.write_bytes(data)


@pytest.mark.parametrize("tool", TOOLS)
def test_a_killed_run_resumes_and_ends_with_the_same_bytes_though_its_last_checkpoint_is_damaged(
    untouched, uninterrupted, tmp_path, tool
):
    root = copy_clone(untouched, tmp_path / "clone")
    for stage in ("pretrain", "finetune"):
        kill_while(root, stage, COMMANDS[tool])
    damage_checkpoint(root, "finetune")
    done = run(root, *COMMANDS[tool])
    logs = done.stdout + "".join(path.read_text() for path in (root / "logs").glob("*.log"))
    assert re.search(r"^finetune  .*, resumed from step \d+ of \d+$", logs, re.MULTILINE)
    assert re.search(r"finetune-\w+/last.safetensors: bad checkpoint \(its sha256 differs\); ignoring it", logs)
    assert find_different(root, uninterrupted, SAME) == []
    assert not list(root.glob(".checkpoints/*/*"))
    require_nothing_to_do(root)


def test_without_a_kill_the_worker_count_does_not_matter(untouched, uninterrupted, tmp_path):
    for workers in ("0", "4"):
        root = copy_clone(untouched, tmp_path / workers)
        environ = make_environment(root) | {"DEPTHMASK_WORKERS": workers}
        subprocess.run(["dvc", "repro", "pretrain"], cwd=root, env=environ, check=True, stdout=subprocess.DEVNULL)
        for name in SAME[:1] + SAME[2:3]:
            assert (root / name).read_bytes() == (uninterrupted / name).read_bytes(), (workers, name)


def kill_pretrain(root: Path, command: list[str], environ: dict[str, str]) -> None:
    with subprocess.Popen(command, cwd=root, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as started:
        until = time.monotonic() + PATIENCE_S
        while not list(root.glob(".checkpoints/pretrain-*/last.safetensors")):
            assert started.poll() is None and time.monotonic() < until
            time.sleep(0.005)
        started.kill()


def test_a_killed_training_survives_an_edit_of_the_page_but_none_of_what_it_imports(untouched, uninterrupted, tmp_path):
    root = copy_clone(uninterrupted, tmp_path / "clone")
    command = ["python", "-m", "stages.pretrain", "--raw", "data/raw", "--split", "data/split", "--start", "data/weights"]
    command += ["--weights", "w.safetensors", "--history", "h.csv", "--run", "r.json"]
    environ = make_environment(root) | {"PYTHONPATH": "workflow", "DEPTHMASK_CHECKPOINT_STEPS": "1"}
    for edited, starts in (("reporting/page.py", r"resumed from step \d+ of \d+"), ("training/loop.py", "fresh")):
        kill_pretrain(root, command, environ)
        with (root / "workflow/depthmask" / edited).open("a") as module:
            module.write("# edited\n")
        again = subprocess.run(command, cwd=root, env=environ, capture_output=True, text=True, check=True)
        assert re.search(rf"^pretrain  .*, {starts}$", again.stderr, re.MULTILINE), (edited, again.stderr)
        assert (root / "w.safetensors").read_bytes() == (uninterrupted / SAME[0]).read_bytes(), edited


def test_a_stage_whose_training_still_runs_is_not_started_twice(untouched, uninterrupted, tmp_path):
    """Only the tool dies; its training goes on as an orphan, and a second run is refused until that has ended."""
    root = copy_clone(uninterrupted, tmp_path / "clone")
    (root / "data/models/pretrain.safetensors").unlink()
    command = ["python", "-m", "stages.pretrain", "--raw", "data/raw", "--split", "data/split", "--start", "data/weights"]
    command += ["--weights", "data/models/pretrain.safetensors", "--history", "h.csv", "--run", "r.json"]
    environ = make_environment(root) | {"PYTHONPATH": "workflow", "DEPTHMASK_CHECKPOINT_STEPS": "1"}
    with subprocess.Popen(command, cwd=root, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as first:
        until = time.monotonic() + PATIENCE_S
        while not list(root.glob(".checkpoints/pretrain-*/last.safetensors")):
            assert first.poll() is None and time.monotonic() < until
            time.sleep(0.005)
        os.kill(first.pid, 19)  # SIGSTOP: it holds its place and cannot end before the second has tried
        second = subprocess.run(command, cwd=root, env=environ, capture_output=True, text=True, check=False)
        os.kill(first.pid, 18)  # SIGCONT
        assert first.wait(PATIENCE_S) == 0
    assert second.returncode == 1
    assert "the same training is still running" in second.stderr
    assert "Traceback" not in second.stderr
    same = (root / SAME[0]).read_bytes() == (uninterrupted / SAME[0]).read_bytes()
    assert same
