"""The loop: resume at any step, any worker count and any schedule ends with the same bytes."""

from __future__ import annotations

import math
import multiprocessing
import os
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from making_models import make_settings

from depthmask.base.errors import Interrupted, UserError
from depthmask.base.files import read_json
from depthmask.commands.lr_range import main as lr_range
from depthmask.commands.lr_range import suggest_rate
from depthmask.execution.speed_options import SpeedOptions, read_speed_options
from depthmask.execution.working_folder import find_folder, hold_folder
from depthmask.loading.dataset import ComposedSet
from depthmask.losses import weigh_losses
from depthmask.models.model_file import make_model
from depthmask.params import PhaseParams
from depthmask.trackers import TrackedRun
from depthmask.training import loading, loop, objective
from depthmask.training.checkpoint import LAST, load_state
from depthmask.training.distributed import make_fabric
from depthmask.training.progress import Progress
from depthmask.training.schedules import make_optimizer, make_scheduler, steps_each_epoch
from depthmask.training.stage import make_job

SPEED = SpeedOptions(num_workers=0, checkpoint_steps=1, checkpoint_minutes=60)
SMALL = {"image_size_px": 16, "batch_size": 4, "samples_per_epoch": 12, "epochs": 2, "validation_samples": 4}


OWN_LOSS = {"mask": {"mse": 1.0}, "depth": {"l1": 1.0}, "foreground": 1.0, "scale": 10.0, "balance": None}


class Killed(Exception):
    """Stands for a SIGKILL."""


@pytest.fixture
def job(raw, split, params):
    phase = PhaseParams(**{name: getattr(params.pretrain, name) for name in PhaseParams.model_fields} | SMALL)
    return replace(make_job(params, "pretrain", raw, split), phases=[phase])


def _phase(job, **changes) -> PhaseParams:
    return PhaseParams(**job.phases[0].model_dump() | changes)


def track(folder: Path) -> TrackedRun:
    return TrackedRun("pretrain", folder, {}, folder / "runs", folder / "runs")


def _train(job, folder, speed=SPEED, is_shown=False):
    channels = read_json(job.split / "statistics.json")["channels"] if (job.split / "statistics.json").exists() else None
    torch.manual_seed(0)
    channels = channels or {"image": {"mean": [0.5] * 3, "std": [0.2] * 3}}
    settings = make_settings("compact", width=4, dropout=0.5, background_input=False)
    model = make_model(settings, channels, {"unit": "metre", "max": 20.0})
    with Progress("pretrain", track(folder) if is_shown else None, ("tensorboard",), is_shown) as progress:
        return loop.train(model, job, make_fabric(job.compute), speed, folder, progress)


def _assert_same(one, other):
    for a, b in zip(one.history, other.history, strict=True):
        assert a == b, {k: (a[k], b[k]) for k in a if a[k] != b[k]}
    assert one.history == other.history
    tensors, others = one.model.state_dict(), other.model.state_dict()
    assert tensors.keys() == others.keys()
    assert [name for name, tensor in tensors.items() if not torch.equal(tensor, others[name])] == []


PHASES = {
    "one_cycle": [{}],
    "sgd_cosine_best": [{"optimizer": "sgd", "schedule": "cosine", "keep": "best"}],
    "step_ema": [{"schedule": "step", "milestones": [1], "ema_decay": 0.5}],
    "plateau_ema_best": [{"schedule": "plateau", "patience_epochs": 0, "ema_decay": 0.9, "keep": "best"}],
    "two_phases": [
        {"schedule": "triangular2", "cycle_epochs": 1, "keep": "best"},
        {"image_size_px": 32, "schedule": "constant", "augment": False},
    ],
    "one_task_at_a_time": [
        {"epochs": 1, "tasks": "depth", "optimizer": "sgd"},
        {"epochs": 1, "tasks": "mask", "ema_decay": 0.5, "loss": OWN_LOSS, "loss_upscale": 2},
    ],
}


@pytest.mark.slow
@pytest.mark.parametrize("name", PHASES)
def test_killed_after_any_step_and_resumed_gives_the_same_bytes(job, tmp_path, monkeypatch, name):
    job = replace(job, phases=[_phase(job, **changes) for changes in PHASES[name]])
    killed = []

    def keep_what_a_kill_would_leave(*given, **options):
        if torch.is_grad_enabled():
            killed.append(tmp_path / f"killed_{len(killed)}")
            shutil.copytree(tmp_path / "whole", killed[-1], ignore=shutil.ignore_patterns("runs"))
        return weigh_losses(*given, **options)

    monkeypatch.setattr(objective, "weigh_losses", keep_what_a_kill_would_leave)
    whole = _train(job, tmp_path / "whole", is_shown=True)  # TensorBoard's images change nothing
    monkeypatch.setattr(objective, "weigh_losses", weigh_losses)
    assert len(killed) == whole.total_steps == sum(3 * phase.epochs for phase in job.phases)
    for number, folder in enumerate(killed):
        assert (folder / LAST).exists() == (number > 0)
        _assert_same(_train(job, folder), whole)


@pytest.mark.slow
def test_a_loader_process_that_is_killed_is_reported_in_a_line_and_the_training_continues(job, tmp_path, monkeypatch):
    job, speed = replace(job, phases=[_phase(job, samples_per_epoch=200, epochs=1)]), replace(SPEED, num_workers=1)

    def kill_loaders(*given, **options):
        if (tmp_path / "broken" / LAST).exists():
            for process in multiprocessing.active_children():
                process.kill()
        return weigh_losses(*given, **options)

    monkeypatch.setattr(objective, "weigh_losses", kill_loaders)
    with pytest.raises(UserError, match=r"^a data-loader worker was killed") as printed:
        _train(job, tmp_path / "broken", speed)
    assert "DEPTHMASK_WORKERS=0" in printed.value.hint
    monkeypatch.setattr(objective, "weigh_losses", weigh_losses)
    resumed = _train(job, tmp_path / "broken")
    _assert_same(resumed, _train(job, tmp_path / "whole"))


@pytest.mark.parametrize("error", [ConnectionResetError, EOFError])
def test_a_loader_process_killed_while_it_hands_over_a_batch_is_reported_too(job, tmp_path, monkeypatch, error):
    def lose_connection(*_):
        raise error  # as where the worker is still being ended: torch finds no dead worker, and raises the error itself

    monkeypatch.setattr("multiprocessing.resource_sharer._ResourceSharer.get_connection", lose_connection)
    with pytest.raises(UserError, match=r"^a data-loader worker was killed"):
        _train(job, tmp_path, replace(SPEED, num_workers=1))


@pytest.mark.slow
def test_workers_do_not_change_the_weights(job, tmp_path):
    whole = _train(job, tmp_path / "0")
    for num_workers in (1, 4):
        _assert_same(_train(job, tmp_path / str(num_workers), replace(SPEED, num_workers=num_workers)), whole)


def test_another_seed_gives_other_weights(job, tmp_path):
    one, other = _train(job, tmp_path / "0"), _train(replace(job, seed=1), tmp_path / "1")
    assert one.history != other.history


@pytest.mark.parametrize(
    ("number", "workers", "call", "step"),
    [
        (signal.SIGTERM, 2, (4, True), 4),
        pytest.param(signal.SIGTERM, 0, (4, True), 4, marks=pytest.mark.slow),
        # in the last step of the epoch; in the validation after it, before its last batch and in that
        pytest.param(signal.SIGUSR1, 2, (3, True), 3, marks=pytest.mark.slow),
        pytest.param(signal.SIGUSR2, 0, (1, False), 3, marks=pytest.mark.slow),
        pytest.param(signal.SIGUSR1, 1, (2, False), 4, marks=pytest.mark.slow),
    ],
)
def test_a_signal_to_all_saves_and_stops_and_the_next_run_ends_as_if_nothing_had_been(
    job, tmp_path, monkeypatch, number, workers, call, step
):
    job = replace(job, phases=[_phase(job, validation_samples=8)])
    whole = _train(job, tmp_path / "whole")
    calls = []

    def ask_to_stop(*given, **options):
        calls.append(torch.is_grad_enabled())
        if calls[-1] == call[1] and calls.count(call[1]) == call[0]:
            for process in multiprocessing.active_children():
                os.kill(process.pid, number)  # before this process, as the system may do it
                os.kill(process.pid, signal.SIGTERM)
            for again in (number, signal.SIGTERM, number):
                os.kill(os.getpid(), again)
        return weigh_losses(*given, **options)

    monkeypatch.setattr(objective, "weigh_losses", ask_to_stop)
    speed = replace(SPEED, checkpoint_steps=None, num_workers=workers)
    with pytest.raises(
        Interrupted, match=f"stopped by {number.name}; rerun the same command to resume from step {step}$"
    ) as stopped:
        _train(job, tmp_path / "stopped", speed)
    assert stopped.value.exit_code == 128 + number
    assert load_state(tmp_path / "stopped" / LAST).values["total_steps"] == step
    monkeypatch.setattr(objective, "weigh_losses", weigh_losses)
    _assert_same(_train(job, tmp_path / "stopped", speed), whole)


def test_a_loss_that_is_not_finite_stops_before_the_weights_take_it_in(job, tmp_path, monkeypatch):
    seen = []

    def explode(*given, **options):
        total, terms = weigh_losses(*given, **options)
        seen.append(1)
        return (total * float("nan") if len(seen) == 2 else total), terms

    monkeypatch.setattr(objective, "weigh_losses", explode)
    with pytest.raises(UserError, match=r"the loss is nan at epoch 1, step 2 .*lower its learning_rate"):
        _train(job, tmp_path)
    tensors, values = load_state(tmp_path / LAST)
    assert values["total_steps"] == 1
    assert all(torch.isfinite(t).all() for t in tensors.values())


def test_early_stop_ends_the_phase(job, tmp_path, monkeypatch):
    losses = iter([3.0, 2.0, 2.5, 2.0, 1.0])
    validate = loop.validate
    monkeypatch.setattr(loop, "validate", lambda *arguments: validate(*arguments) | {"loss": next(losses)})
    state = _train(replace(job, phases=[_phase(job, epochs=12, early_stop_epochs=2)]), tmp_path)
    # an equal loss is no better one
    assert [row["validation_loss"] for row in state.history] == [3.0, 2.0, 2.5, 2.0]


def test_an_unknown_validation_loss_neither_stops_nor_slows_nor_chooses(job, tmp_path, monkeypatch):
    validate = loop.validate
    monkeypatch.setattr(loop, "validate", lambda *arguments: validate(*arguments) | {"loss": math.nan})
    changes = {"early_stop_epochs": 1, "schedule": "plateau", "patience_epochs": 0, "keep": "best", "epochs": 4}
    state = _train(replace(job, phases=[_phase(job, **changes)]), tmp_path)
    assert len(state.history) == 4 and len({row["learning_rate"] for row in state.history}) == 1


def test_a_task_of_which_nothing_is_known_is_an_error_that_names_the_key(job, tmp_path, monkeypatch):
    monkeypatch.setattr(ComposedSet, "count_known", lambda self: {"mask": 12, "depth": 0})
    with pytest.raises(UserError, match=r"pretrain.tasks: depth, but no training sample has a known depth; set it to mask,"):
        _train(replace(job, phases=[_phase(job, tasks="depth")]), tmp_path)


def test_keep_best_hands_on_the_weights_of_the_best_epoch(job, tmp_path):
    phase = _phase(job, epochs=4, keep="best", learning_rate=0.3, clip_norm=None, schedule="constant")
    state = _train(replace(job, phases=[phase]), tmp_path)
    fabric = make_fabric(job.compute)
    batches = list(loading.load_fixed(loading.open_part(job, phase, "validation", 4, state.model.background_input), 4))
    loss = objective.validate(state.model, batches, objective.make_objective(phase, job.loss), fabric)["loss"]
    assert loss == pytest.approx(min(row["validation_loss"] for row in state.history), rel=1e-5)


def test_too_large_a_batch_is_an_error_that_names_the_key(job, tmp_path, monkeypatch):
    monkeypatch.setattr(loading, "open_samples", lambda *a, **k: _Few())
    with pytest.raises(UserError, match=r"pretrain.batch_size: 4 is above the 3 training composites"):
        _train(job, tmp_path)


class _Few:
    def __len__(self):
        return 3

    def __getitem__(self, places):
        raise AssertionError("no sample is needed to see that there are too few")


@pytest.mark.parametrize("schedule", ["constant", "one_cycle", "cosine", "step", "plateau", "triangular2"])
def test_schedules_have_their_shapes(job, schedule):
    phase = _phase(
        job, schedule=schedule, milestones=[2], epochs=8, learning_rate=0.1, gamma=0.5, cycle_epochs=4, patience_epochs=1
    )
    optimizer = make_optimizer(torch.nn.Linear(2, 2), phase, fused=False)
    scheduler = make_scheduler(optimizer, phase, steps_per_epoch=4)
    rates = []
    for _ in range(8):
        for _ in range(4):
            optimizer.step()
            rates.append(optimizer.param_groups[0]["lr"])
            if not steps_each_epoch(scheduler):
                scheduler.step()
        if steps_each_epoch(scheduler):
            scheduler.step(1.0)
    top = max(range(32), key=rates.__getitem__)
    match schedule:
        case "constant":
            assert rates == [0.1] * 32
        case "one_cycle":
            assert rates[0] == pytest.approx(0.1 / 25) and 5 <= top <= 7 and rates[-1] < 1e-4
        case "cosine":
            assert rates[0] == 0.1 and rates[16] == pytest.approx(0.05) and rates == sorted(rates, reverse=True)
        case "step":
            assert rates[7] == 0.1 and rates[8:] == [pytest.approx(0.05)] * 24
        case "plateau":
            assert rates[:12] == [0.1] * 12 and rates[12] == pytest.approx(0.05)
        case "triangular2":
            assert top == 8 and rates[8] == pytest.approx(0.1) and rates[24] == pytest.approx(0.1 / 25 + (0.1 - 0.1 / 25) / 2)


def test_weight_decay_spares_norms_and_biases(job):
    model = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.BatchNorm2d(2))
    groups = make_optimizer(model, _phase(job, weight_decay=0.1), fused=False).param_groups
    assert [(len(g["params"]), g["weight_decay"]) for g in groups] == [(1, 0.1), (3, 0.0)]


def test_the_checkpoint_folder_follows_what_decides_and_code_and_is_held_by_one(tmp_path):
    folder = find_folder("pretrain", {"epochs": 1}, "stages.pretrain", tmp_path)
    assert folder == find_folder("pretrain", {"epochs": 1}, "stages.pretrain", tmp_path)
    assert folder != find_folder("pretrain", {"epochs": 2}, "stages.pretrain", tmp_path)
    assert folder != find_folder("pretrain", {"epochs": 1}, "stages.finetune", tmp_path)
    with hold_folder(folder, "training"):
        (folder / "last.safetensors").write_text("")
        with pytest.raises(UserError, match="the same training is still running"), hold_folder(folder, "training"):
            pass
    assert not folder.exists()
    with pytest.raises(Killed), hold_folder(folder, "training"):
        (folder / "last.safetensors").write_text("")
        raise Killed
    assert (folder / "last.safetensors").exists()


def test_speed_options_come_from_the_environment():
    assert read_speed_options({"DEPTHMASK_WORKERS": "0", "DEPTHMASK_CHECKPOINT_STEPS": "5"}) == SpeedOptions(0, 5, 1.0)
    assert read_speed_options({"DEPTHMASK_WORKERS": "0", "DEPTHMASK_TIMES": "1"}) == SpeedOptions(0, None, 1.0, times=True)
    assert read_speed_options({"DEPTHMASK_WORKERS": "0", "DEPTHMASK_TENSORBOARD": "0"}).trackers == ()
    with pytest.raises(UserError, match="DEPTHMASK_TENSORBOARD=no; allowed: 0 or 1"):
        read_speed_options({"DEPTHMASK_TENSORBOARD": "no"})
    with pytest.raises(UserError, match="DEPTHMASK_WORKERS=many; allowed"):
        read_speed_options({"DEPTHMASK_WORKERS": "many"})
    with pytest.raises(UserError, match="DEPTHMASK_TIMES=2; allowed: 0 or 1"):
        read_speed_options({"DEPTHMASK_TIMES": "2"})


def test_the_range_test_suggests_where_the_loss_falls_fastest():
    rates = torch.logspace(-5, 0, 50, dtype=torch.float64).numpy()
    losses = 1 - 0.8 / (1 + (1e-3 / rates) ** 2) + 50 * rates**2
    assert 3e-4 < suggest_rate(rates, losses) < 3e-3
    with pytest.raises(UserError, match="never fell"):
        suggest_rate(rates, rates)


def test_the_range_test_writes_a_plot_and_a_table(tmp_path, raw, split, start, capsys):
    (split / "statistics.json").write_text('{"channels": {"image": {"mean": [0.5, 0.5, 0.5], "std": [0.2, 0.2, 0.2]}}}')
    arguments = ["--params", str(raw.parents[0] / "p.yaml"), "--raw", str(raw), "--split", str(split), "--start", str(start)]
    arguments += ["--steps", "12"]
    text = (pytest.importorskip("pathlib").Path(__file__).parents[2] / "params.yaml").read_text()
    (raw.parents[0] / "p.yaml").write_text(
        text.replace("image_size_px: 80", "image_size_px: 16").replace("  width: 16 ", "  width: 4 ")
    )
    assert lr_range([*arguments, "--max-rate", "0.1", "--out", str(tmp_path / "out")]) == 0
    assert "suggested pretrain.learning_rate" in capsys.readouterr().out
    assert (tmp_path / "out/pretrain.png").read_bytes().startswith(b"\x89PNG")
    assert len((tmp_path / "out/pretrain.csv").read_text().splitlines()) >= 4
    assert lr_range([*arguments, "--steps", "3"]) == 1
