"""Trackers: they get what a training reports, change no byte of it, and none of their failures is its end.

A tracker made here tests what all have in common; TensorBoard is always there. Others: test_real_trackers.py.
"""

from __future__ import annotations

import random
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from making_models import make_settings
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tracked_training import CHANNELS, PROJECT, project, read_results, start, stop_after_an_epoch, track, train

from depthmask.base.errors import UserError
from depthmask.base.files import read_json, write_json
from depthmask.commands.check import main as check
from depthmask.execution.speed_options import read_speed_options
from depthmask.loading.dataset import open_samples
from depthmask.models.model_file import make_model
from depthmask.trackers import TRACKERS, Tracker, TrackerSpec, require_trackers
from depthmask.trackers.tracking import IDS
from depthmask.training import loop
from depthmask.training.progress import Progress
from depthmask.training.stage import make_job

__all__ = ["project", "start"]  # fixtures


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
    stop_after_an_epoch(monkeypatch, raw, split, start, "resumed")
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
