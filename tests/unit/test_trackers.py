"""Trackers: they get what a training reports, change no byte of it, and none of their failures is its end.

A tracker made here tests what all have in common; TensorBoard is always there, the others are tested where they are installed.
"""

from __future__ import annotations

import importlib
import json
import os
import random
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import yaml
from making_models import make_settings
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from depthmask.base.errors import Interrupted, UserError
from depthmask.base.files import read_json, write_json
from depthmask.commands.check import main as check
from depthmask.execution.speed_options import read_speed_options
from depthmask.loading.dataset import open_samples
from depthmask.models.model_file import make_model
from depthmask.trackers import TRACKERS, TrackedRun, Tracker, TrackerSpec, require_trackers
from depthmask.trackers.tracking import IDS
from depthmask.training import loop
from depthmask.training.progress import Progress
from depthmask.training.stage import make_job
from depthmask.weights.start_folder import StartRecord, write_record
from stages.pretrain import main as pretrain

PROJECT = Path(__file__).parents[2]
OTHERS = [name for name in TRACKERS if name != "tensorboard"]
CHANNELS = {"image": {"mean": [0.5] * 3, "std": [0.2] * 3}}
SHORT = {"image_size_px": 16, "batch_size": 4, "samples_per_epoch": 8, "epochs": 2, "validation_samples": 4}


def track(folder: Path) -> TrackedRun:
    (folder / "work").mkdir(exist_ok=True)
    return TrackedRun("pretrain", folder / "work", {"seed": 3, "loss": {"scale": 1.5}}, folder / "runs", folder / "runs")


@pytest.fixture
def shown(raw, split, params):
    """What the loop hands over at the end of an epoch: job, state, and a batch of validation samples."""
    job = make_job(params, "pretrain", raw, split)
    common = {"image_size_px": 16, "compose": params.compose, "seed": 0, "num_samples": 6, "with_background": True}
    samples = open_samples(raw, split, "validation", **common)
    settings = make_settings("compact", width=4, dropout=0.5, background_input=True)
    model = make_model(settings, CHANNELS, {"unit": "metre", "max": 20.0})
    state = SimpleNamespace(phase=0, epoch=0, step=0, total_steps=3, scored_model=model)
    return job, state, samples[[(0, index) for index in range(6)]].to("cpu")


def test_tensorboard_gets_pictures_graph_and_params_and_the_network_is_not_changed(shown, tmp_path, capsys):
    job, state, batch = shown
    model = state.scored_model.train()
    torch.manual_seed(5)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with Progress("pretrain", track(tmp_path), ["tensorboard"]) as progress:
        progress.start_phase(state, job.phases[0], 10)
        progress.show(state, batch)
        state.total_steps = 6
        progress.show(state, batch)
    drawn = torch.rand(1)
    torch.manual_seed(5)
    assert torch.equal(drawn, torch.rand(1)) and all(module.training for module in model.modules())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert "no more images" not in capsys.readouterr().err
    events = EventAccumulator(str(tmp_path / "runs" / "pretrain")).Reload()
    (name,) = events.Tags()["images"]
    images = events.Images(name)
    assert [image.step for image in images] == [3, 6]
    assert (images[0].width, images[0].height) == (5 * 16, 4 * 16)
    assert events.Graph().node
    (text,) = events.Tags()["tensors"]
    assert "scale: 1.5" in events.Tensors(text)[0].tensor_proto.string_val[0].decode()


def test_pictures_that_cannot_be_drawn_are_reported_once_and_the_training_continues(shown, tmp_path, capsys, monkeypatch):
    job, state, batch = shown
    monkeypatch.setattr("depthmask.trackers.tracking.draw_predictions", lambda *_: 1 / 0)
    with Progress("pretrain", track(tmp_path), ["tensorboard"]) as progress:
        progress.start_phase(state, job.phases[0], 10)
        progress.show(state, batch)
        progress.show(state, batch)
    assert capsys.readouterr().err.count("no more images for TensorBoard (division by zero)") == 1


class FakeTracker(Tracker):
    """Notes every call, draws random numbers in each, and raises what it is told to in methods that it is told."""

    place = "a notebook"

    def __init__(self, calls: list, failures: dict[str, Exception]):
        self.calls, self.failures = calls, failures

    def _note(self, name: str, *given):
        for draw in (random.random, np.random.rand, lambda: torch.rand(1)):
            draw()
        sys.excepthook = print
        self.calls.append((name, *given))
        if name in self.failures:
            raise self.failures[name]

    def start(self, first_step, known_id):
        self._note("start", first_step, known_id)
        return known_id or "the first run"

    def add_values(self, values, step):
        self._note("values", values, step)

    def add_picture(self, name, picture_3HW, step):
        self._note("picture", name, tuple(picture_3HW.shape), step)

    def add_network(self, model, batch):
        self._note("network")

    def end(self, outcome):
        self._note("end", outcome)


@pytest.fixture
def fake(monkeypatch) -> SimpleNamespace:
    """A tracker `fake` in the registry, with its calls and what it raises; TensorBoard is off."""
    fake = SimpleNamespace(calls=[], failures={})
    module = SimpleNamespace(open_tracker=lambda run: FakeTracker(fake.calls, fake.failures))
    monkeypatch.setitem(sys.modules, "depthmask.trackers.fake", module)
    monkeypatch.setitem(TRACKERS, "fake", TrackerSpec("Fake", "json", "fake"))
    monkeypatch.setenv("DEPTHMASK_TRACKERS", "fake")
    monkeypatch.setenv("DEPTHMASK_TENSORBOARD", "0")
    return fake


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


def test_a_tracker_gets_everything_in_order_and_changes_nothing(project, raw, split, start, fake, monkeypatch):
    hook, key = sys.excepthook, []
    find = loop.find_state
    monkeypatch.setattr(loop, "find_state", lambda folder, *given, **more: key.append(folder) or find(folder, *given, **more))
    assert train(raw, split, start, "tracked") == 0
    names = [call[0] for call in fake.calls]
    assert names == ["start", "values", "network", "picture", "values", "picture", "end"]
    assert fake.calls[0] == ("start", 0, None) and fake.calls[-1] == ("end", "finished")
    assert [call[2] for call in fake.calls if call[0] == "values"] == [2, 4]
    assert {"learning_rate", "train/loss", "validation/loss", "validation/mask_iou"} <= fake.calls[1][1].keys()
    assert fake.calls[3] == ("picture", "validation", (3, 4 * 16, 5 * 16), 2)
    assert sys.excepthook is hook
    monkeypatch.setenv("DEPTHMASK_TRACKERS", "")
    assert train(raw, split, start, "plain") == 0 and not Path("runs").exists()
    assert read_results("tracked") == read_results("plain")
    assert key[0] == key[1]  # so that a training may be resumed with other trackers


FAILURES = [
    ("start", "no curves for Fake in a notebook (no such server); training continues", ["start"]),
    ("values", "no more curves for Fake in a notebook (no such server); training continues", ["start", "values"]),
    (
        "picture",
        "no more images for Fake (no such server); training continues",
        ["start", "values", "network", "picture", "values", "end"],
    ),
    (
        "end",
        "no more curves for Fake in a notebook (no such server); training continues",
        ["start", "values", "network", "picture", "values", "picture", "end"],
    ),
]


@pytest.mark.parametrize(("method", "said", "called"), FAILURES)
def test_a_tracker_that_fails_is_one_line_and_the_training_continues(
    project, raw, split, start, fake, capsys, monkeypatch, method, said, called
):
    fake.failures[method] = RuntimeError("no such server\nand more\nTraceback")
    assert train(raw, split, start, "tracked") == 0
    printed = capsys.readouterr().err
    assert printed.count(said) == 1 and "Traceback" not in printed and printed.count("training continues") == 1
    assert [call[0] for call in fake.calls] == called
    monkeypatch.setenv("DEPTHMASK_TRACKERS", "")
    assert train(raw, split, start, "plain") == 0
    assert read_results("tracked") == read_results("plain")


def test_a_full_disk_ends_pictures_and_curves(project, raw, split, start, fake, capsys):
    fake.failures["picture"] = OSError(28, "No space left on device")
    assert train(raw, split, start) == 0
    said = "no more curves for Fake in a notebook (No space left on device); training continues"
    assert capsys.readouterr().err.count(said) == 1
    assert [call[0] for call in fake.calls] == ["start", "values", "network", "picture"]


def test_a_package_that_cannot_be_imported_is_one_line(project, raw, split, start, fake, capsys, monkeypatch):
    def import_module(name):
        raise ImportError("libfake.so: undefined symbol")

    monkeypatch.setattr("depthmask.trackers.tracking.import_module", import_module)
    assert train(raw, split, start) == 0
    assert "no curves for Fake (libfake.so: undefined symbol); training continues" in capsys.readouterr().err


def test_a_resumed_training_continues_its_run_and_a_new_one_does_not(project, raw, split, start, fake, monkeypatch):
    monkeypatch.setenv("DEPTHMASK_CHECKPOINT_STEPS", "1")
    end_epoch = loop._end_epoch

    def stop(state, *given):
        end_epoch(state, *given)
        raise Interrupted("stopped by a signal")

    with monkeypatch.context() as patched:
        patched.setattr(loop, "_end_epoch", stop)
        assert train(raw, split, start, "resumed") != 0
    (kept,) = Path(".checkpoints").glob(f"*/{IDS}")
    assert read_json(kept) == {"fake": "the first run"} and fake.calls[-1] == ("end", "stopped")
    write_json(kept, {"fake": "a run"})
    fake.calls.clear()
    assert train(raw, split, start, "resumed") == 0
    assert fake.calls[0] == ("start", 2, "a run") and fake.calls[-1] == ("end", "finished")
    assert not list(Path(".checkpoints").iterdir())
    assert train(raw, split, start, "again") == 0
    assert [call for call in fake.calls if call[0] == "start"][1:] == [("start", 0, None)]
    assert read_results("resumed") == read_results("again")


def test_a_training_that_saved_nothing_leaves_nothing(project, raw, split, start, fake, monkeypatch):
    monkeypatch.setattr(loop, "_run_epoch", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        train(raw, split, start)
    assert fake.calls[-1] == ("end", "failed")
    assert [path.suffix for path in Path(".checkpoints").iterdir()] == [".lock"]


WRONG = [
    ({"DEPTHMASK_TRACKERS": "wandbb"}, "DEPTHMASK_TRACKERS: no tracker wandbb; allowed: dvclive, mlflow, wandb, separated"),
    ({"DEPTHMASK_TRACKERS": "x" * 500}, f"no tracker {'x' * 40}...; allowed: "),
    ({"DEPTHMASK_TRACKERS": "absent"}, "absent needs the package nosuchpackage; install with: pip install -e '.[absent]'"),
    ({"DEPTHMASK_TRACKERS": "tensorboard", "DEPTHMASK_TENSORBOARD": "0"}, "has tensorboard, but DEPTHMASK_TENSORBOARD=0"),
]


@pytest.mark.parametrize(("environment", "said"), WRONG)
def test_a_wrong_name_or_a_missing_package_is_one_line_before_anything_is_done(
    project, raw, split, start, capsys, monkeypatch, environment, said
):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setitem(TRACKERS, "absent", TrackerSpec("Absent", "nosuchpackage", "absent"))
    for command in (lambda: train(raw, split, start), lambda: check([])):
        assert command() == 1
        lines = capsys.readouterr().err.splitlines()
        assert len(lines) == 1 and said in lines[0].replace(", absent", ""), lines
    assert not Path("made.json").exists() and not Path(".checkpoints").exists()


def test_names_are_read_in_any_case_and_once():
    names = read_speed_options({"DEPTHMASK_TRACKERS": " MLflow, wandb,,mlflow,TensorBoard"}).trackers
    assert names == ("tensorboard", "mlflow", "wandb")
    assert read_speed_options({}).trackers == ("tensorboard",)
    with pytest.raises(UserError, match="no tracker mlflow wandb"):
        require_trackers(read_speed_options({"DEPTHMASK_TRACKERS": "mlflow wandb"}).trackers)


@pytest.mark.parametrize("name", TRACKERS)
def test_every_tracker_has_its_file_and_its_extra(name):
    import tomllib

    spec = TRACKERS[name]
    assert (PROJECT / "workflow/depthmask/trackers" / f"{name}.py").is_file()
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    listed = project["dependencies"] if spec.extra is None else project["optional-dependencies"][spec.extra]
    assert any(line.startswith(f"{spec.package}>=") for line in listed)


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


def stop_after_an_epoch(monkeypatch, raw: Path, split: Path, start: Path) -> None:
    end_epoch = loop._end_epoch

    def stop(state, *given):
        end_epoch(state, *given)
        raise Interrupted("stopped by a signal")

    with monkeypatch.context() as patched:
        patched.setattr(loop, "_end_epoch", stop)
        assert train(raw, split, start) != 0


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
    assert json.loads(Path("made.json").read_text())["params"] == json.loads(Path("plain.json").read_text())["params"]
