"""DVCLive, MLflow and Weights & Biases themselves, where they are installed: what they have after a training in two parts."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml
from tracked_training import PROJECT, project, read_results, start, stop_after_an_epoch, track, train

from depthmask.base.files import read_json
from depthmask.trackers import TRACKERS
from depthmask.training.progress import Progress

__all__ = ["project", "start"]  # fixtures
OTHERS = [name for name in TRACKERS if name != "tensorboard"]


@pytest.fixture
def repository(project, monkeypatch):
    """The project as a git and DVC repository, with the files that say what both ignore."""
    for name in ("MLFLOW_TRACKING_URI", "WANDB_MODE", "DVC_EXP_NAME", "DVC_EXP_BASELINE_REV"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(project / ".git" / "wandb"))
    quiet = {"check": True, "stdout": subprocess.DEVNULL, "env": os.environ | {"DVC_NO_ANALYTICS": "1"}}
    subprocess.run(["git", "init", "--quiet"], **quiet)
    subprocess.run([sys.executable, "-m", "dvc", "init", "--quiet"], **quiet)
    for name in (".gitignore", ".dvcignore"):
        (project / name).write_text((PROJECT / name).read_text())
    (project / ".git/info/exclude").write_text("made.*\nplain.*\n")
    author = ["-c", "user.name=test", "-c", "user.email=test@example.org"]
    subprocess.run(["git", "add", "--all"], **quiet)
    subprocess.run(["git", *author, "commit", "--quiet", "--message", "all"], **quiet)
    return project


def require_installed(*names: str) -> None:
    for name in names:
        if find_spec(TRACKERS[name].package) is None:
            pytest.skip(f"{name} is not installed")


def is_clean() -> bool:
    return not subprocess.run(["git", "status", "--porcelain"], capture_output=True, text=True, check=True).stdout


def train_in_two_parts(monkeypatch, raw: Path, split: Path, start: Path, capsys) -> None:
    """Stopped after its first epoch, then resumed; nothing that git sees is left, and no tracker fails."""
    stop_after_an_epoch(monkeypatch, raw, split, start)
    assert train(raw, split, start) == 0
    printed = capsys.readouterr().err
    assert "resumed from step 2" in printed and "training continues" not in printed, printed
    assert is_clean()


@pytest.mark.slow
def test_dvclive_writes_what_dvc_shows(repository, raw, split, start, monkeypatch, capsys):
    require_installed("dvclive")
    monkeypatch.setenv("DEPTHMASK_TRACKERS", "dvclive")
    monkeypatch.setenv("DVC_EXP_BASELINE_REV", "0" * 40)
    live, seen = repository / "dvclive/pretrain", []
    show = Progress.show

    def show_and_look(self, state, batch):
        show(self, state, batch)
        seen.append(metrics_show()["validation"]["mask_iou"])

    from dvc.api import metrics_show

    monkeypatch.setattr(Progress, "show", show_and_look)
    train_in_two_parts(monkeypatch, raw, split, start, capsys)
    assert len(seen) == 2 and all(0 <= value <= 1 for value in seen) and not (live / "dvc.yaml").exists()
    metrics = read_json(live / "metrics.json")
    assert metrics["step"] == 4 and 0 <= metrics["validation"]["mask_iou"] <= 1
    rows = [line.split("\t") for line in (live / "plots/metrics/train/loss.tsv").read_text().splitlines()]
    assert [row[rows[0].index("step")] for row in rows[1:]] == ["2", "4"]
    assert sorted(path.name for path in (live / "plots/images/validation").iterdir()) == ["2.png", "4.png"]
    assert yaml.safe_load((live / "params.yaml").read_text())["pretrain"]["epochs"] == 2


@pytest.mark.slow
def test_what_dvclive_will_write_again_is_removed_first(repository, tmp_path):
    require_installed("dvclive")
    tracker = importlib.import_module("depthmask.trackers.dvclive").open_tracker(track(tmp_path))
    assert tracker.start(0, None) == "dvclive/pretrain"
    for step in (2, 4, 6):
        tracker.add_values({"train/loss": 1.0 / step}, step)
    resumed = importlib.import_module("depthmask.trackers.dvclive").open_tracker(track(tmp_path))
    resumed.start(4, "dvclive/pretrain")
    resumed.add_values({"train/loss": 0.5}, 6)
    resumed.end("finished")
    rows = Path("dvclive/pretrain/plots/metrics/train/loss.tsv").read_text().splitlines()
    assert rows == ["step\tloss", "2\t0.5", "4\t0.25", "6\t0.5"]


@pytest.mark.slow
def test_mlflow_has_one_run_of_both_parts(repository, raw, split, start, monkeypatch, capsys):
    require_installed("mlflow")
    monkeypatch.setenv("DEPTHMASK_TRACKERS", "mlflow")
    train_in_two_parts(monkeypatch, raw, split, start, capsys)
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{repository}/runs/mlflow/mlflow.db")
    (run,) = client.search_runs([client.get_experiment_by_name("depthmask").experiment_id])
    assert (run.info.run_name, run.info.status) == ("pretrain", "FINISHED")
    assert run.data.params["pretrain.epochs"] == "2" and run.data.tags["stage"] == "pretrain"
    assert [metric.step for metric in client.get_metric_history(run.info.run_id, "validation/mask_iou")] == [2, 4]
    assert len(list((repository / "runs/mlflow/files").rglob("*.png"))) == 2


@pytest.mark.slow
def test_mlflow_gives_up_a_server_that_is_not_there(repository, raw, split, start, monkeypatch, capsys):
    require_installed("mlflow")
    monkeypatch.setenv("DEPTHMASK_TRACKERS", "mlflow")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:secret@127.0.0.1:9")
    assert train(raw, split, start) == 0
    lines = [line for line in capsys.readouterr().err.splitlines() if "MLflow" in line]
    assert len(lines) == 1 and "no curves for MLflow in http://***@127.0.0.1:9 (" in lines[0] and "secret" not in lines[0], lines


@pytest.mark.slow
def test_wandb_writes_offline_runs_with_one_id(repository, raw, split, start, monkeypatch, capsys):
    require_installed("wandb")
    monkeypatch.setenv("DEPTHMASK_TRACKERS", "wandb")
    train_in_two_parts(monkeypatch, raw, split, start, capsys)
    files = list((repository / "runs/wandb").glob("offline-run-*/run-*.wandb"))
    assert len(files) == 2 and len({file.name for file in files}) == 1
    assert all(b"validation/mask_iou" in file.read_bytes() for file in files)
    assert len(list((repository / "runs/wandb").glob("offline-run-*/files/media/images/**/*.png"))) == 2


@pytest.mark.slow
def test_with_all_trackers_results_are_the_same_bytes(repository, raw, split, start, monkeypatch, capsys):
    installed = [name for name in OTHERS if find_spec(TRACKERS[name].package)]
    if not installed:
        pytest.skip("no tracker but TensorBoard is installed")
    monkeypatch.setenv("DEPTHMASK_TRACKERS", ",".join(installed))
    assert train(raw, split, start) == 0
    assert "training continues" not in capsys.readouterr().err and is_clean()
    for name, value in {"DEPTHMASK_TRACKERS": "", "DEPTHMASK_TENSORBOARD": "0"}.items():
        monkeypatch.setenv(name, value)
    assert train(raw, split, start, "plain") == 0
    assert read_results("made") == read_results("plain")
    assert read_json(Path("made.json"))["params"] == read_json(Path("plain.json"))["params"]
