"""A training that is stopped early by a rule: where, whatever was killed in between, and that the rule is part of its key."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from making_models import make_settings

from depthmask.base.errors import Interrupted, UserError
from depthmask.execution.speed_options import SpeedOptions
from depthmask.execution.working_folder import find_checkpoints
from depthmask.models.model_file import make_model
from depthmask.training import loop
from depthmask.training.distributed import make_fabric
from depthmask.training.progress import Progress
from depthmask.training.stage import make_job
from depthmask.training.stopping import StopCheck, StopRule, find_score, find_stop

SPEED = SpeedOptions(num_workers=0, checkpoint_steps=1, checkpoint_minutes=60)
SMALL = {"image_size_px": 16, "batch_size": 4, "samples_per_epoch": 8, "validation_samples": 4, "epochs": 2, "loss": None}


def make_row(step: int, iou: object, delta: object = 0.5) -> dict:
    return {"step": step, "validation_mask_iou": iou, "validation_depth_delta1": delta}


RULE = StopRule(scores=["mask_iou", "depth_delta1"], checks=[StopCheck(step=10, at_least=0.4), StopCheck(step=20, at_least=0.6)])


@pytest.mark.parametrize(
    ("history", "stopped_at"),
    [
        ([], None),
        ([make_row(9, 0.0, 0.0)], None),  # not there yet
        ([make_row(12, 0.2, 0.2)], 10),
        ([make_row(12, 0.4, 0.4)], None),  # just enough
        ([make_row(12, 0.4, 0.4), make_row(24, 0.7, 0.49)], 20),
        ([make_row(12, 0.2, 0.2), make_row(24, 1.0, 1.0)], 10),  # it would have ended before
        ([make_row(12, math.nan, 0.0)], None),  # unknown
        ([make_row(12, "0.1", "")], None),  # as in the CSV file
        ([make_row(12, "0.1", "0.1")], 10),
    ],
)
def test_the_first_check_that_is_not_passed_ends_it(history, stopped_at):
    found = find_stop(RULE, history)
    assert (found and found.step) == stopped_at
    assert find_stop(None, history) is None


def test_the_score_is_the_mean_of_the_named_ones():
    assert find_score(make_row(1, 0.2, 0.6), ["mask_iou", "depth_delta1"]) == pytest.approx(0.4)
    assert find_score(make_row(1, 0.2, 0.6), ["mask_iou"]) == 0.2


@pytest.fixture
def job(raw, split, params):
    phase = params.pretrain.phases()[0].change(**SMALL)
    compute = params.compute.model_copy(update={"threads": 1, "precision": "float32"})
    return replace(make_job(params, "pretrain", raw, split), phases=[phase, phase], compute=compute)


def run(job, folder: Path, progress: Progress | None = None):
    """Two phases of two epochs of two steps."""
    torch.manual_seed(0)
    settings = make_settings("compact", width=4, dropout=0.5, background_input=False)
    model = make_model(settings, {"image": {"mean": [0.5] * 3, "std": [0.2] * 3}}, {"unit": "metre", "max": 20.0})
    with progress or Progress("t", is_shown=False) as shown:
        return loop.train(model, job, make_fabric(job.compute), SPEED, folder, shown)


@pytest.mark.parametrize(("step", "epochs"), [(2, 1), (3, 2), (5, 3)])
def test_a_training_stops_at_the_end_of_the_epoch_that_reaches_the_step(job, tmp_path, step, epochs):
    rule = StopRule(scores=["mask_iou"], checks=[StopCheck(step=step, at_least=2.0)])
    state = run(replace(job, stop=rule), tmp_path / "work")
    assert [row["epoch"] for row in state.history] == list(range(1, epochs + 1))
    passed = replace(job, stop=StopRule(scores=["mask_iou"], checks=[StopCheck(step=step, at_least=0.0)]))
    assert len(run(passed, tmp_path / "passed").history) == 4


class KilledAfter(Progress):
    """Ends the training without warning once a number of epochs is saved."""

    def __init__(self, epochs: int):
        super().__init__("t", is_shown=False)
        self.epochs = epochs

    def advance(self, num_images: int) -> None:
        if self.epochs == 0:
            raise KeyError("killed")
        super().advance(num_images)

    def end_epoch(self, row: dict, times: dict[str, float]) -> None:
        self.epochs -= 1


def test_one_that_was_killed_stops_with_the_same_weights(job, tmp_path, monkeypatch):
    rule = StopRule(scores=["mask_iou"], checks=[StopCheck(step=4, at_least=2.0)])
    job = replace(job, stop=rule)
    whole = run(job, tmp_path / "whole")
    with pytest.raises(KeyError):
        run(job, tmp_path / "killed", KilledAfter(1))
    # a second time, after the last epoch was saved but before its phase was ended
    with monkeypatch.context() as patched, pytest.raises(Interrupted):
        patched.setattr(loop, "_end_phase", raise_interrupted)
        run(job, tmp_path / "killed")
    resumed = run(job, tmp_path / "killed")
    assert resumed.history == whole.history and len(whole.history) == 2
    ours, theirs = resumed.model.state_dict(), whole.model.state_dict()
    assert all(ours[name].equal(theirs[name]) for name in theirs)


def raise_interrupted(*_):
    raise Interrupted("killed here")


def test_work_of_a_copy_for_an_experiment_is_kept_in_the_project(tmp_path, monkeypatch):
    for place in ("standalone/tmp1", "tmp2", "tmp2/leaderboard"):
        copy = tmp_path / "project/.dvc/tmp/exps" / place
        copy.mkdir(parents=True, exist_ok=True)
        monkeypatch.chdir(copy)
        assert find_checkpoints(Path(".checkpoints")) == tmp_path / "project/.checkpoints"
    monkeypatch.chdir(tmp_path / "project")
    assert find_checkpoints(Path(".checkpoints")) == Path(".checkpoints")
    monkeypatch.setenv("DEPTHMASK_CHECKPOINTS", str(tmp_path))
    assert find_checkpoints(Path(".checkpoints")) == tmp_path
    for chosen in ("project", str(tmp_path / "none"), __file__):
        monkeypatch.setenv("DEPTHMASK_CHECKPOINTS", chosen)
        with pytest.raises(UserError, match=r"^environment: DEPTHMASK_CHECKPOINTS=.*; allowed: the absolute path of a folder"):
            find_checkpoints(Path(".checkpoints"))
