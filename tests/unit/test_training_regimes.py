"""Regimes of the published systems: one task at a time, losses of a phase's own, times of the parts of a step."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml

from depthmask.base.errors import ParamsError
from depthmask.base.files import read_csv, read_json, write_json
from depthmask.models.model_file import DepthMaskModel, load_model, make_model
from depthmask.params import NetworkParams, PhaseParams, make_params
from depthmask.registry.networks import NETWORKS
from depthmask.training.freezing import TASKS, freeze_modules, list_tasks, set_training
from depthmask.training.schedules import make_optimizer
from stages.pretrain import main as pretrain

PROJECT = Path(__file__).parents[2]
CHANNELS = {"image": {"mean": [0.5] * 3, "std": [0.2] * 3}}
BRANCHED = [name for name, spec in NETWORKS.items() if spec.has_branches]
OWN_LOSS = {"mask": {"l1": 1.0}, "depth": {"mse": 1.0}, "foreground": 1.0, "scale": 1.0, "balance": None}


def _make_model(name: str) -> DepthMaskModel:
    torch.manual_seed(0)
    settings = NetworkParams(
        name=name, width=4, dropout=0.5, background_input=NETWORKS[name].takes_background, encoder="efficientnet_lite0"
    )
    return make_model(settings, CHANNELS, {"unit": "metre", "max": 20.0})


def _copy_state(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def _list_changes(before: dict[str, torch.Tensor], module: torch.nn.Module) -> set[str]:
    return {name for name, tensor in module.state_dict().items() if not torch.equal(before[name], tensor)}


def _take_step(model: DepthMaskModel, tasks: str, params) -> None:
    """One step as the loop takes it, with decay and momentum that would move what has no gradient."""
    phase = PhaseParams(
        **{name: getattr(params.pretrain, name) for name in PhaseParams.model_fields}
        | {"tasks": tasks, "weight_decay": 0.1, "learning_rate": 0.01}
    )
    with freeze_modules(model, phase) as frozen:
        set_training(model, frozen)
        optimizer = make_optimizer(model, phase, fused=False)
        pictures = [torch.rand(2, 3, 32, 32) for _ in range(1 + model.background_input)]
        prediction = model(*pictures)
        maps = {"mask": lambda: prediction.mask_prob_B1HW, "depth": lambda: prediction.depth_B1HW}
        sum((maps[task]() ** 2).mean() for task in list_tasks(tasks)).backward()
        optimizer.step()


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("name", BRANCHED)
def test_the_frozen_branch_stands_still_and_all_else_learns(name, task, params):
    model = _make_model(name)
    other = "depth" if task == "mask" else "mask"
    _take_step(model, "both", params)  # leaves gradients behind
    before = {key: [_copy_state(module) for module in model.network.branches[key]] for key in TASKS}
    whole = _copy_state(model)
    _take_step(model, task, params)
    for state, module in zip(before[other], model.network.branches[other], strict=True):
        assert _list_changes(state, module) == set()
        assert all(parameter.grad is None for parameter in module.parameters())
    for state, module in zip(before[task], model.network.branches[task], strict=True):
        assert _list_changes(state, module) & {name for name, _ in module.named_parameters()}
    own = {id(p) for key in TASKS for module in model.network.branches[key] for p in module.parameters()}
    shared = {name for name, parameter in model.named_parameters() if id(parameter) not in own}
    assert _list_changes(whole, model) & shared


@pytest.mark.parametrize("task", TASKS)
def test_a_frozen_branch_of_its_own_size_is_not_computed_while_the_other_trains(task, params):
    model, pictures = _make_model("branched_unet"), [torch.rand(2, 3, 32, 32) for _ in range(2)]
    maps = {"mask": "mask_logits_B1HW", "depth": "depth_B1HW"}
    with freeze_modules(model, params.pretrain.change(tasks=task)) as frozen:
        set_training(model, frozen)
        prediction = model(*pictures)
        assert [other for other, name in maps.items() if getattr(prediction, name) is not None] == [task]
        model.eval()
        assert all(getattr(model(*pictures), name) is not None for name in maps.values())


def test_both_tasks_freeze_nothing_and_a_block_leaves_nothing_frozen(params):
    model = _make_model("compact")
    with freeze_modules(model, params.pretrain) as frozen:
        assert frozen == []
    with freeze_modules(model, params.pretrain.change(tasks="mask")) as frozen:
        set_training(model, frozen)
        assert frozen
        assert not any(module.training for module in frozen)
        assert not all(parameter.requires_grad for parameter in model.parameters())
    assert all(parameter.requires_grad for parameter in model.parameters())


@pytest.fixture
def project(tmp_path, monkeypatch, raw, split) -> Path:
    """A folder with a small params.yaml, to run a stage's script in."""
    values = yaml.safe_load((PROJECT / "params.yaml").read_text())
    values["model"] |= {"width": 4, "background_input": False}
    values["pretrain"] |= {"image_size_px": 16, "batch_size": 4, "samples_per_epoch": 8, "epochs": 1, "validation_samples": 4}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(values))
    write_json(split / "statistics.json", {"channels": CHANNELS})
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DEPTHMASK_WORKERS", "0")
    return tmp_path


def _change(project: Path, **changes) -> dict:
    values = yaml.safe_load((project / "params.yaml").read_text())
    values["pretrain"] |= changes
    (project / "params.yaml").write_text(yaml.safe_dump(values))
    return values


def _run_pretrain(raw: Path, split: Path, start: Path, name: str) -> int:
    files = ["--weights", f"{name}.safetensors", "--history", f"{name}.csv", "--run", f"{name}.json"]
    return pretrain(["--raw", str(raw), "--split", str(split), "--start", str(start), *files])


def test_the_history_of_phases_with_other_losses_has_all_columns_and_empty_cells(project, raw, split, start):
    _change(
        project, more_phases=[{"tasks": "mask", "loss": OWN_LOSS, "loss_upscale": 4}, {"tasks": "depth", "image_size_px": 32}]
    )
    assert _run_pretrain(raw, split, start, "phases") == 0
    first, second, third = read_csv(project / "phases.csv")
    shared = {f"{part}_{term}" for part in ("train", "validation") for term in ("mask_dice", "mask_bce_with_logits")}
    depth = {f"{part}_{term}" for part in ("train", "validation") for term in ("depth_log_l1", "depth_log_gradient")}
    own = {"train_mask_l1", "validation_mask_l1"}
    assert set(first) == {"phase", "epoch", "step", "learning_rate", "train_loss", "validation_loss"} | shared | depth | own | {
        "validation_mask_iou",
        "validation_depth_delta1",
    }
    assert {name for name, value in first.items() if value == ""} == own
    assert {name for name, value in second.items() if value == ""} == shared | depth
    assert {name for name, value in third.items() if value == ""} == shared | own
    assert float(second["train_loss"]) == pytest.approx(float(second["train_mask_l1"]))


def test_measuring_times_changes_no_weight_and_reports_where_they_went(project, raw, split, start, monkeypatch, capsys):
    assert _run_pretrain(raw, split, start, "plain") == 0
    assert "milliseconds" not in capsys.readouterr().err
    monkeypatch.setenv("DEPTHMASK_TIMES", "1")
    assert _run_pretrain(raw, split, start, "timed") == 0
    one, other = (load_model(project / f"{name}.safetensors").state_dict() for name in ("plain", "timed"))
    assert all(torch.equal(tensor, other[name]) for name, tensor in one.items())
    assert (project / "plain.csv").read_bytes() == (project / "timed.csv").read_bytes()

    terms = ["loss_mask_bce_with_logits", "loss_mask_dice", "loss_depth_log_l1", "loss_depth_log_gradient"]
    times = read_json(project / "timed.json")["extra"]["seconds_of_a_step"]
    assert list(times)[:2] == ["load", "forward"]
    assert set(times) == {"load", "forward", *terms, "backward", "optimizer"}
    assert all(seconds > 0 for seconds in times.values())
    assert "seconds_of_a_step" not in read_json(project / "plain.json")["extra"]
    printed = capsys.readouterr().err
    assert "milliseconds per step" in printed
    assert all(name.replace("_", " ", 1) in printed for name in times)
    events = b"".join(path.read_bytes() for path in (project / "runs/pretrain").glob("events*"))
    assert all(f"seconds/{name}".encode() in events for name in times)


def test_without_tensorboard_nothing_is_written_for_it_and_the_weights_are_the_same(project, raw, split, start, monkeypatch):
    monkeypatch.setenv("DEPTHMASK_TENSORBOARD", "0")
    assert _run_pretrain(raw, split, start, "without") == 0
    assert not (project / "runs").exists()
    monkeypatch.setenv("DEPTHMASK_TENSORBOARD", "1")
    assert _run_pretrain(raw, split, start, "with") == 0
    assert list((project / "runs/pretrain").glob("events*"))
    assert (project / "without.safetensors").read_bytes() == (project / "with.safetensors").read_bytes()
    assert (project / "without.csv").read_bytes() == (project / "with.csv").read_bytes()


MISTAKES = [
    ({"tasks": "masks"}, {}, ["pretrain.tasks: 'masks'", "'both', 'mask' or 'depth'"]),
    ({"tasks": "mask"}, {"name": "dilated_small"}, ["pretrain.tasks: mask", "dilated_small has no branches", "allowed: both"]),
    ({"loss_upscale": 3}, {}, ["pretrain.loss_upscale: 3", "1, 2 or 4"]),
    ({"loss": {**OWN_LOSS, "mask": {"focal": 1.0}}}, {}, ["pretrain.loss.mask.focal: unknown key", "dice"]),
    ({"loss": {"mask": {"l1": 1.0}}}, {}, ["pretrain.loss.depth: missing key", "balance"]),
    ({"loss": {**OWN_LOSS, "mask": {}}, "tasks": "mask"}, {}, ["pretrain.tasks: mask", "no mask loss has a weight"]),
    (
        {"more_phases": [{}, {"loss": {**OWN_LOSS, "depth": {"cross_entropy": 1.0}}}]},
        {},
        ["pretrain.more_phases.1.loss.depth.cross_entropy: 1", "encoder_decoder outputs no depth bins"],
    ),
    (
        {"more_phases": [{"loss": {**OWN_LOSS, "depth": {"ms_ssim": 1.0}}}]},
        {},
        ["pretrain.more_phases.0.loss.depth.ms_ssim", "33 px", "pretrain.more_phases.0.image_size_px: 16"],
    ),
    ({"more_phases": [{"image_size_px": 18}]}, {"name": "multi_dilation_unet"}, ["pretrain.more_phases.0.image_size_px: 18 px"]),
]


@pytest.mark.parametrize(("changes", "model", "printed"), MISTAKES, ids=[str(printed[0]) for _, _, printed in MISTAKES])
def test_a_regime_that_cannot_work_is_one_line_with_the_whole_key(project, changes, model, printed):
    values = _change(project, **changes)
    values["model"] |= model
    if model:
        values["loss"] = OWN_LOSS
    with pytest.raises(ParamsError) as error:
        make_params(values)
    assert "\n" not in str(error.value)
    for part in printed:
        assert part in str(error.value)


def test_an_enlarged_loss_may_use_what_the_phase_is_too_small_for(project):
    values = _change(project, loss={**OWN_LOSS, "depth": {"ms_ssim": 1.0}}, loss_upscale=4)
    assert make_params(values).pretrain.phases()[0].loss_upscale == 4
