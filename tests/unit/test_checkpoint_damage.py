"""A damaged checkpoint is named and never used: the training resumes from another, or from scratch, to equal weights."""

from __future__ import annotations

import json
import os
import random
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from making_models import make_settings
from safetensors.torch import load_file, save_file

from depthmask.base.errors import UserError
from depthmask.execution.speed_options import SpeedOptions
from depthmask.models.model_file import make_model
from depthmask.training import loop
from depthmask.training.checkpoint import LAST, PREVIOUS, BadCheckpoint, find_state, load_state, name_best, save_state
from depthmask.training.distributed import make_fabric
from depthmask.training.job import Job
from depthmask.training.progress import Progress
from depthmask.training.stage import describe_start, make_job
from depthmask.training.state import State, validate_checkpoint

KILLED_AT = 6  # steps; a checkpoint was saved at each
SPEED = SpeedOptions(num_workers=0, checkpoint_steps=1, checkpoint_minutes=60)
WAYS = ("flip", "cut", "empty", "grow", "zeros", "text", "folder", "swap", "drop", "resign", "directory_link", "unreadable")


@pytest.fixture(scope="module")
def job(raw, split, params) -> Job:
    """Two epochs of four steps, so that best weights of the first count when the second is under way."""
    changes = {"image_size_px": 16, "batch_size": 2, "samples_per_epoch": 8, "validation_samples": 2, "epochs": 2, "keep": "best"}
    phase = params.pretrain.phases()[0].model_copy(update=changes | {"ema_decay": 0.9})
    return replace(make_job(params, "pretrain", raw, split), phases=[phase])


def train(job: Job, folder: Path) -> State:
    folder.mkdir(exist_ok=True)
    torch.manual_seed(0)
    settings = make_settings("compact", width=4, dropout=0.5, background_input=False)
    model = make_model(settings, {"image": {"mean": [0.5] * 3, "std": [0.2] * 3}}, {"unit": "metre", "max": 20.0})
    with Progress("pretrain", is_shown=False) as progress:
        return loop.train(model, job, make_fabric(job.compute), SPEED, folder, progress)


@pytest.fixture(scope="module")
def killed(job, tmp_path_factory) -> Path:
    """What a run leaves that is killed in its second epoch."""
    folder = tmp_path_factory.mktemp("killed") / "work"

    class Killed(BaseException):
        pass

    save = State.save

    def save_and_die(self, *given):
        save(self, *given)
        if self.total_steps == KILLED_AT:
            raise Killed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(State, "save", save_and_die)
        with pytest.raises(Killed):
            train(job, folder)
    assert {LAST, PREVIOUS, name_best(0)} <= {path.name for path in folder.iterdir()}
    return folder


@pytest.fixture(scope="module")
def wanted(job, tmp_path_factory) -> dict[str, torch.Tensor]:
    return train(job, tmp_path_factory.mktemp("whole") / "work").model.state_dict()


def damage(path: Path, way: str, rng: random.Random) -> None:
    data = bytearray(path.read_bytes())
    header = 8 + int.from_bytes(data[:8], "little")
    if way == "flip":
        start, stop = rng.choice([(0, 8), (8, header), (header, len(data))])
        data[rng.randrange(start, stop)] ^= 1 << rng.randrange(8)
    elif way == "cut":
        del data[rng.choice([1, 7, 8, 9, header - 1, header, rng.randrange(len(data)), len(data) - 1]) :]
    elif way == "empty":
        data.clear()
    elif way == "grow":
        data += b"\0"
    elif way == "zeros":  # as after a power failure
        start = rng.randrange(len(data) // 2)
        data[start : start + 4096] = bytes(len(data[start : start + 4096]))
    elif way == "text":
        data = bytearray(b'{"hello": 1}' * 100)
    elif way == "swap":  # two bytes that differ change places: no sum would show it
        places = rng.sample(range(header, len(data)), 2)
        while data[places[0]] == data[places[1]]:
            places = rng.sample(range(header, len(data)), 2)
        data[places[0]], data[places[1]] = data[places[1]], data[places[0]]
    elif way in ("drop", "resign"):  # a whole checkpoint, signed, but not one of this training
        saved = load_state(path)
        values = saved.values | ({"epoch": -1} if way == "resign" else {})
        tensors = {name: t for name, t in saved.tensors.items() if way == "resign" or name != min(saved.tensors)}
        save_state(path, tensors, values)
        return
    path.unlink()
    if way == "folder":
        (path / "inside").mkdir(parents=True)
    elif way == "directory_link":
        path.symlink_to(path.parent)
    elif way == "unreadable":
        path.symlink_to("/proc/self/mem")  # root may read what it likes, but not this
    else:
        path.write_bytes(data)


@pytest.mark.parametrize("way", WAYS)
def test_the_one_before_a_damaged_checkpoint_is_resumed_to_the_same_bytes(job, killed, wanted, tmp_path, capsys, way):
    folder = tmp_path / "work"
    shutil.copytree(killed, folder)
    damage(folder / LAST, way, random.Random(way))
    if way not in ("drop", "resign"):  # whole ones are refused once the network is made
        assert describe_start(job, folder) == f"resumed from step {KILLED_AT - 1} of 8"
    capsys.readouterr()
    state = train(job, folder)
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning:")]
    assert line.startswith(f"warning: {folder / LAST}: bad checkpoint (") and f"resumes from step {KILLED_AT - 1}" in line
    assert_same(state, wanted)


def test_with_both_damaged_it_starts_from_scratch(job, killed, wanted, tmp_path, capsys):
    folder = tmp_path / "work"
    shutil.copytree(killed, folder)
    for name in (LAST, PREVIOUS):
        damage(folder / name, "flip", random.Random(name))
    assert describe_start(job, folder) == "fresh"
    assert_same(train(job, folder), wanted)
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning:")]
    assert [f"{name}: bad checkpoint" in line and "starts from scratch" in line for name, line in zip((LAST, PREVIOUS), lines)]
    assert len(lines) == 2


@pytest.mark.parametrize("way", ["flip", "empty", "folder", None])
def test_damaged_best_weights_are_not_handed_on(job, killed, wanted, tmp_path, capsys, way):
    """Both checkpoints count on them: only from scratch do they come again."""
    folder = tmp_path / "work"
    shutil.copytree(killed, folder)
    best = folder / name_best(0)
    best.unlink() if way is None else damage(best, way, random.Random(0))
    assert describe_start(job, folder) == "fresh"
    assert_same(train(job, folder), wanted)
    assert f"{best}: bad checkpoint" in capsys.readouterr().err


def test_best_weights_that_are_damaged_while_it_trains_end_it_in_a_line(job, killed, tmp_path, monkeypatch):
    folder = tmp_path / "work"
    shutil.copytree(killed, folder)
    end_phase = loop._end_phase

    def damage_first(*given):
        damage(folder / name_best(0), "flip", random.Random(0))
        end_phase(*given)

    monkeypatch.setattr(loop, "_end_phase", damage_first)
    with pytest.raises(UserError, match=r"best-1.safetensors: bad checkpoint .*; rerun the same command"):
        train(job, folder)


def test_best_weights_of_another_epoch_are_not_taken(job, killed):
    phases, best = job.phases, load_state(killed / name_best(0))
    saved = load_state(killed / LAST)
    validate_checkpoint(killed / LAST, saved, phases)
    other = saved._replace(values=saved.values | {"best_loss": 2 * best.values["loss"]})
    with pytest.raises(BadCheckpoint, match="it belongs to another epoch"):
        validate_checkpoint(killed / LAST, other, phases)
    earlier = {"best_loss": 2 * best.values["loss"], "total_epochs": best.values["epoch"] - 1}
    validate_checkpoint(killed / LAST, saved._replace(values=saved.values | earlier), phases)  # it will make them again


def test_any_flipped_bit_of_a_small_file_is_found(tmp_path):
    path, bits = tmp_path / LAST, 0
    save_state(path, {"a": torch.arange(3.0)}, {"total_steps": 1, "text": '"sha256":"' + "0" * 64 + '"'})
    data = path.read_bytes()
    assert load_state(path).values["text"].startswith('"sha256"')
    for place in range(len(data)):
        for bit in (0, 5, 7):
            path.write_bytes(data[:place] + bytes([data[place] ^ 1 << bit]) + data[place + 1 :])
            with pytest.raises(BadCheckpoint):
                load_state(path)
            bits += 1
    for size in range(len(data)):
        path.write_bytes(data[:size])
        with pytest.raises(BadCheckpoint):
            load_state(path)
    assert bits == 3 * len(data)


def test_a_checkpoint_is_a_safetensors_file_and_the_last_two_are_kept(tmp_path):
    for step in range(3):
        save_state(tmp_path / LAST, {"a": torch.full((2,), step)}, {"total_steps": step}, tmp_path / PREVIOUS)
    assert load_file(tmp_path / LAST)["a"].tolist() == [2, 2]
    assert load_state(tmp_path / PREVIOUS).values == {"total_steps": 1}
    save_file({"a": torch.ones(1)}, tmp_path / LAST, metadata={"state": json.dumps({"total_steps": 9})})  # without a sha256
    assert find_state(tmp_path, lambda path, saved: None).values == {"total_steps": 1}


def test_a_kill_between_the_two_renames_loses_nothing(job, killed, wanted, tmp_path):
    folder = tmp_path / "work"
    shutil.copytree(killed, folder)
    os.replace(folder / LAST, folder / PREVIOUS)
    assert describe_start(job, folder) == f"resumed from step {KILLED_AT} of 8"
    assert_same(train(job, folder), wanted)


def test_a_run_resumed_in_the_phase_before_hands_on_that_phases_best_weights(job, tmp_path):
    """Killed after the first best weights of the second phase, and before the checkpoint that follows."""
    phase = job.phases[0].model_copy(update={"ema_decay": None, "epochs": 1})
    two = replace(job, phases=[phase, phase])
    whole = train(two, tmp_path / "whole").model.state_dict()
    save_best = State.save_best

    def save_and_die(self, folder):
        save_best(self, folder)
        if self.phase == 1:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(State, "save_best", save_and_die)
        patch.setattr(loop, "_save", partial(_save_at_ends, loop._save))
        with pytest.raises(KeyboardInterrupt):
            train(two, tmp_path / "work")
    assert load_state(tmp_path / "work" / LAST).values["phase"] == 0
    assert_same(train(two, tmp_path / "work"), whole)


def _save_at_ends(save, state, run, course):
    if state.step == 0:
        save(state, run, course)


def assert_same(state: State, wanted: dict[str, torch.Tensor]) -> None:
    found = state.model.state_dict()
    assert found.keys() == wanted.keys()
    assert [name for name in wanted if not torch.equal(found[name], wanted[name])] == []
