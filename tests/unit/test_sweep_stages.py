"""The stages of a sweep, each in this process: a trial that diverges, and the files that its readers find."""

from __future__ import annotations

from pathlib import Path

import pytest
from making_sweeps import write_sweep

from depthmask.base.errors import DivergedError
from depthmask.base.files import read_json
from depthmask.sweep.checking import write_plan
from depthmask.sweep.trial import DIVERGED, read_result
from stages.sweep import score, suggest, train

TRIAL = "reports/trials/r0/t000.json"
MADE = {"weights": "data/models/t000.safetensors", "history": "reports/h.csv", "outcome": "reports/o.json"}


@pytest.fixture
def project(tmp_path, monkeypatch, raw, split) -> Path:
    """A project whose sweep has been planned and whose first trials were suggested."""
    write_plan(write_sweep(tmp_path, trials=2, round_size=2))
    monkeypatch.chdir(tmp_path)
    before = ["--before", "data/check.txt", "--scores", "data/check.txt"]
    assert suggest.main(["--folder", "sweep", "--round", "r0", *before, "--split", str(split), "--out", "reports/trials/r0"]) == 0
    return tmp_path


def list_arguments(raw: Path, split: Path) -> list[str]:
    made = [word for name, path in MADE.items() for word in (f"--{name}", path)]
    return ["--folder", "sweep", "--trial", TRIAL, "--raw", str(raw), "--split", str(split), *made]


def test_the_trials_of_a_round_are_written_beside_each_other(project):
    assert sorted(path.name for path in (project / "sweep/reports/trials/r0").iterdir()) == [
        "earlier.json",
        "t000.json",
        "t001.json",
    ]
    assert read_json(project / "sweep/reports/trials/r0/earlier.json") == []


def test_a_training_that_diverges_is_a_result_and_leaves_no_checkpoint(project, raw, split, monkeypatch):
    def diverge(job, *_):
        (project / ".checkpoints" / f"{job.stage}-0123").mkdir(parents=True)
        (project / ".checkpoints" / f"{job.stage}x-0123").mkdir()
        raise DivergedError("sweep-t000: the loss is nan at epoch 1, step 3")

    monkeypatch.setattr(train, "train_job", diverge)
    assert train.main([*list_arguments(raw, split), "--run", "reports/run.json"]) == 0
    assert [path.name for path in (project / ".checkpoints").iterdir()] == ["sweep-t000x-0123"]
    assert score.main([*list_arguments(raw, split), "--result", "reports/score.json"]) == 0
    result = read_result(project / "sweep/reports/score.json")
    assert (result.outcome, result.score, result.steps) == (DIVERGED, None, 0)
    assert result.reason == "sweep-t000: the loss is nan at epoch 1, step 3"


def test_a_missing_trial_is_one_line(project, raw, split, capsys):
    (project / "sweep" / TRIAL).unlink()
    assert train.main([*list_arguments(raw, split), "--run", "reports/run.json"]) == 1
    line = capsys.readouterr().err
    assert line.startswith(f"error: sweep/{TRIAL}: was not written by the stage suggest") and line.count("\n") == 1
