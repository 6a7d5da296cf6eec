"""A disk that fills up while a training saves: one line, nothing lost, and resumed once there is room. On a small tmpfs."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tracked_training import start

from depthmask.base.files import hash_file, write_json
from depthmask.training.checkpoint import LAST, PREVIOUS, load_state

__all__ = ["start"]  # fixtures

pytestmark = pytest.mark.slow

PROJECT = Path(__file__).parents[2]
SIZE_MB = 64
FILL = "filling"
CHANGES = {
    "model": {"name": "compact", "width": 8},  # small, as three checkpoints must fit
    "pretrain": {
        "frozen_encoder_stages": 0,
        "image_size_px": 32,
        "batch_size": 4,
        "samples_per_epoch": 16,
        "validation_samples": 4,
        "epochs": 2,
    },
    "finetune": {"frozen_encoder_stages": 0},
    "compute": {"threads": 1, "precision": "float32"},
}
# the stage with a disk that is full from a step on, or from the first file of a kind on
STAGE = """
import os, sys
from pathlib import Path
from depthmask.base import files
from depthmask.training import progress, state
from stages import pretrain

step, kind = int(sys.argv.pop(1)), sys.argv.pop(1)

def fill():
    out = os.open("filling", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for size in (1 << 16, 1 << 12, 1):
        try:
            while os.write(out, bytes(size)):
                pass
        except OSError:
            pass
    os.close(out)

def before(owner, name, due):
    function = getattr(owner, name)
    def run(*given, **options):
        if due(*given):
            fill()
        return function(*given, **options)
    setattr(owner, name, run)

if kind == "checkpoint":
    before(state.State, "save", lambda state, folder: state.total_steps == step)
elif kind == "weights":
    from depthmask.training import stage
    before(stage, "save_model", lambda *_: True)
elif kind == "history":
    from depthmask.training import stage
    before(stage, "write_csv", lambda *_: True)
elif kind == "curves":
    before(progress.Progress, "end_epoch", lambda *_: True)
    show = progress.Progress.show
    def show_and_empty(self, *given):
        show(self, *given)
        os.unlink("filling")
    progress.Progress.show = show_and_empty
sys.exit(pretrain.main())
"""


@pytest.fixture
def disk(tmp_path) -> Path:
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE_MB}m", "tmpfs", str(folder)], capture_output=True)
    if mounted.returncode:
        pytest.skip("a tmpfs cannot be mounted here")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def write_params(folder: Path) -> None:
    import yaml

    values = yaml.safe_load((PROJECT / "params.yaml").read_text())
    for section, changes in CHANGES.items():
        values[section] |= changes
    (folder / "params.yaml").write_text(yaml.safe_dump(values))


def train(disk: Path, data: tuple[Path, Path, Path], step: int = 0, kind: str = "none") -> subprocess.CompletedProcess:
    files = ["--weights", "weights.safetensors", "--history", "history.csv", "--run", "run.json"]
    raw, split, start = map(str, data)
    command = [sys.executable, "-c", STAGE, str(step), kind, "--raw", raw, "--split", split, "--start", start, *files]
    environ = os.environ | {"PYTHONPATH": str(PROJECT / "workflow"), "DEPTHMASK_CHECKPOINT_STEPS": "1", "DEPTHMASK_WORKERS": "0"}
    return subprocess.run(command, cwd=disk, env=environ, capture_output=True, text=True, check=False, timeout=300)


def list_results(folder: Path) -> dict[str, str]:
    return {name: hash_file(folder / name) for name in ("weights.safetensors", "history.csv")}


@pytest.fixture(scope="module")
def measured(tmp_path_factory, split) -> Path:
    """The split with the statistics that its stage would have written."""
    folder = tmp_path_factory.mktemp("measured") / "split"
    shutil.copytree(split, folder)
    channels = {"image": {"mean": [0.5] * 3, "std": [0.2] * 3}, "mask": {"mean": [0.1], "std": [0.3]}}
    write_json(folder / "statistics.json", {"channels": channels | {"depth": {"mean": [0.2], "std": [0.1]}}})
    return folder


@pytest.fixture(scope="module")
def whole(tmp_path_factory, raw, measured, start) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("whole")
    write_params(folder)
    done = train(folder, (raw, measured, start))
    assert done.returncode == 0, done.stderr
    return list_results(folder)


@pytest.mark.parametrize(
    ("kind", "step", "file"), [("checkpoint", 3, LAST), ("weights", 0, "weights.safetensors"), ("history", 0, "history.csv")]
)
def test_a_full_disk_is_one_line_and_loses_nothing(disk, raw, measured, start, whole, kind, step, file):
    write_params(disk)
    failed = train(disk, (raw, measured, start), step, kind)
    lines = [line for line in failed.stderr.splitlines() if not line.startswith("pretrain ")]
    assert failed.returncode == 1 and len(lines) == 1, failed.stderr
    assert re.fullmatch(rf"error: .*{re.escape(file)}: the disk is full; free some space and rerun the same command", lines[0])
    (work,) = (folder for folder in (disk / ".checkpoints").iterdir() if folder.is_dir())
    assert load_state(work / LAST).values["total_steps"] == (step - 1 if kind == "checkpoint" else 8)
    assert load_state(work / PREVIOUS) and not list(disk.rglob("*.part"))
    (disk / FILL).unlink()
    done = train(disk, (raw, measured, start))
    assert done.returncode == 0 and "resumed from step" in done.stderr, done.stderr
    assert list_results(disk) == whole
    assert not list(disk.glob(".checkpoints/*"))


def test_no_training_ends_because_its_curves_cannot_be_written(disk, raw, measured, start, whole):
    write_params(disk)
    done = train(disk, (raw, measured, start), 0, "curves")
    assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr
    printed = re.findall(
        r"no more (?:curves|images) for TensorBoard .*No space left on device\); training continues", done.stderr
    )
    assert len(printed) == 1, done.stderr
    assert list_results(disk) == whole
