"""A short training of a small network, as its stage runs it, for tests of trackers."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from depthmask.base.errors import Interrupted
from depthmask.base.files import write_json
from depthmask.trackers import TrackedRun
from depthmask.training import loop
from depthmask.weights.start_folder import StartRecord, write_record
from stages.pretrain import main as pretrain

PROJECT = Path(__file__).parents[1]
CHANNELS = {"image": {"mean": [0.5] * 3, "std": [0.2] * 3}}
SHORT = {"image_size_px": 16, "batch_size": 4, "samples_per_epoch": 8, "epochs": 2, "validation_samples": 4}


def track(folder: Path) -> TrackedRun:
    (folder / "work").mkdir(exist_ok=True)
    return TrackedRun("pretrain", folder / "work", {"seed": 3, "loss": {"scale": 1.5}}, folder / "runs", folder / "runs")


@pytest.fixture
def project(tmp_path, monkeypatch, split) -> Path:
    """A folder with a small params.yaml, to run a stage's script in."""
    values = yaml.safe_load((PROJECT / "params.yaml").read_text())
    values["model"] |= {"width": 4, "background_input": False, "name": "compact", "encoder_weights": "none"}
    values["pretrain"] |= SHORT
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(values))
    write_json(split / "statistics.json", {"channels": CHANNELS})
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DEPTHMASK_WORKERS", "0")
    return tmp_path


@pytest.fixture(scope="module")
def start(tmp_path_factory) -> Path:
    """A folder as the weights stage writes it for a network without an encoder."""
    folder = tmp_path_factory.mktemp("weights") / "start"
    folder.mkdir()
    write_record(StartRecord(), folder)
    return folder


def train(raw: Path, split: Path, start: Path, name: str = "made") -> int:
    files = ["--weights", f"{name}.safetensors", "--history", f"{name}.csv", "--run", f"{name}.json"]
    return pretrain(["--raw", str(raw), "--split", str(split), "--start", str(start), *files])


def read_results(name: str) -> tuple[bytes, bytes]:
    return Path(f"{name}.safetensors").read_bytes(), Path(f"{name}.csv").read_bytes()


def stop_after_an_epoch(monkeypatch, raw: Path, split: Path, start: Path, name: str = "made") -> None:
    end_epoch = loop._end_epoch

    def stop(state, *given):
        end_epoch(state, *given)
        raise Interrupted("stopped by a signal")

    with monkeypatch.context() as patched:
        patched.setattr(loop, "_end_epoch", stop)
        assert train(raw, split, start, name) != 0
