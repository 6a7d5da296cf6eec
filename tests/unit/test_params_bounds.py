"""Numbers that no machine can run are refused before anything is done, in a line with the key; what is left of them works."""

from __future__ import annotations

import copy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import yaml

from depthmask.augment import Augmenter
from depthmask.base.errors import Interrupted, ParamsError
from depthmask.compose.compose import prepare_background
from depthmask.data.batch import ByteBatch
from depthmask.data.sample import Background, Camera
from depthmask.params import AugmentParams, Params, make_params
from depthmask.preflight.capacity import Machine, check_capacity
from depthmask.preflight.estimate import estimate_run
from depthmask.training import loop
from depthmask.training.schedules import make_scheduler

ROOT = Path(__file__).resolve().parents[2]
GOOD = yaml.safe_load((ROOT / "params.yaml").read_text())
MACHINE = Machine(num_cores=2, memory_bytes=24e9, disk_free_bytes=1e11, disk_bytes=2e11)
GRID = {"transform": "grid_distortion", "probability": 0.5, "num_steps": 20, "limit": 0.3}


def make_values(changes: dict[str, object]) -> dict:
    values = copy.deepcopy(GOOD)
    values["compute"] |= {"device": "cpu", "precision": "float32"}
    for key, value in changes.items():
        section = values
        *way, last = key.split(".")
        for part in way:
            section = section[part]
        section[last] = value
    return values


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"compose.field_of_view_deg": 1e-9}, "compose.field_of_view_deg"),
        ({"pretrain.image_size_px": 16, "pretrain.batch_size": 1}, "pretrain.batch_size: 1; at 16 px the deepest map"),
        ({"finetune.more_phases": [{"image_size_px": 16, "batch_size": 1}]}, "finetune.more_phases.0.batch_size: 1; at 16 px"),
        ({"pretrain.batch_size": 2_000_000, "pretrain.samples_per_epoch": 2_000_000}, "pretrain.batch_size"),
        ({"model.width": 256, "pretrain.image_size_px": 4096}, "pretrain.image_size_px"),
        ({"pretrain.samples_per_epoch": 10**18}, "pretrain.samples_per_epoch"),
        ({"pretrain.samples_per_epoch": 10**9, "pretrain.epochs": 10**6}, "pretrain.epochs, pretrain.samples_per_epoch"),
        ({"evaluate.num_samples": 10**12}, "evaluate.num_samples"),
        ({"evaluate.baseline_samples": 10**12}, "evaluate.baseline_samples"),
        ({"pretrain.validation_samples": 10**7}, "pretrain.validation_samples"),
        ({"loss.balance": {"max": 1e300}}, "loss.balance.max"),
        ({"loss.mask": {"dice": 1e300}}, "loss.mask.dice"),
        ({"loss.depth": {"l1": 1e-300}}, "loss.depth.l1"),
        ({"loss.scale": 1e300}, "loss.scale"),
        ({"compute.threads": 256}, "compute.threads"),
        (
            {"augment.geometric": [GRID], "pretrain.image_size_px": 16},
            "augment.geometric.0.num_steps: 20 cells do not fit in 16 px",
        ),
        ({"augment.geometric": [GRID], "evaluate.image_size_px": 16}, "(evaluate.image_size_px)"),
        ({"augment.geometric": [GRID] * 100}, "augment.geometric"),
        ({"pretrain.learning_rate": 1000.0}, "pretrain.learning_rate"),
        ({"pretrain.schedule": "step", "pretrain.milestones": [10**30]}, "pretrain.milestones.0"),
        ({"pretrain.more_phases": [{"epochs": 1}] * 1000}, "pretrain.more_phases"),
        ({"download.depth.max": 1e300}, "download.depth.max"),
        ({"model.dropout": 0.999999}, "model.dropout"),
        ({"seed": 10**400}, "seed"),
    ],
    ids=lambda value: ", ".join(value) if isinstance(value, dict) else None,
)
def test_what_no_machine_can_run_is_rejected_in_a_line(changes, named):
    with pytest.raises(ParamsError) as refused:
        params = make_params(make_values(changes), "params.yaml")
        check_capacity(estimate_run(params, MACHINE.num_cores), params.compute.threads, "params.yaml", MACHINE, {})
    assert named in refused.value.message and "\n" not in str(refused.value)


def test_every_number_has_two_ends():
    """Whatever is added to the schema; the ends that are left open are those of parts of a whole."""
    schema, open_ended = Params.model_json_schema(), []

    def walk(node, key):
        if isinstance(node, list):
            return [walk(child, key) for child in node]
        if not isinstance(node, dict):
            return None
        if node.get("type") in ("integer", "number") and "enum" not in node:
            has_ends = [
                any(name in node for name in pair) for pair in (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum"))
            ]
            if not all(has_ends):
                open_ended.append(key)
        return [walk(child, f"{key}.{name}") for name, child in node.items()]

    walk(schema, "")
    assert not open_ended


def test_grid_distortion_works_on_as_many_pixels_as_it_has_cells():
    for size_px in (20, 21, 39):
        augment = AugmentParams(geometric=[GRID | {"probability": 1.0}], photometric=[])
        assert augment.find_fault_of_size(size_px) is None and augment.find_fault_of_size(19)
        maps = ByteBatch.allocate(2, size_px, size_px, True)
        for pixels in (maps.image, maps.mask, maps.depth, maps.valid, maps.background):
            pixels[...] = 1
        Augmenter(augment).augment(maps, 0, [0, 0], [0, 1])
        assert maps.image.min() == maps.image.max() == 1


@pytest.mark.parametrize(("warmup", "steps"), [(0.2, 5), (0.5, 2), (0.25, 4), (0.1, 10)])
def test_a_rise_that_would_take_no_step_leaves_the_rate_at_its_highest(warmup, steps):
    """Of a tiny set: 0.2 of 5 steps is a single one, at which torch would divide by the length of the rise."""
    phase = make_params(make_values({"pretrain.warmup_fraction": warmup, "pretrain.learning_rate": 0.5})).pretrain
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.5)
    scheduler = make_scheduler(optimizer, phase.change(epochs=1, schedule="one_cycle"), steps)
    rates = [scheduler.get_last_lr()[0]]
    for _ in range(steps - 1):
        optimizer.step()
        scheduler.step()
        rates.append(scheduler.get_last_lr()[0])
    assert rates[0] == pytest.approx(0.5) and rates == sorted(rates, reverse=True) and rates[-1] < 1e-4


def test_a_crop_to_the_smallest_angle_leaves_a_pixel():
    image = np.zeros((8, 8, 3), np.uint8)
    background = Background("a", image, np.ones((8, 8), np.float32), np.ones((8, 8), bool), Camera(4.0, 0.0, 1.0))
    scene = prepare_background(background, 16, "crop", 20.0, field_of_view_deg=1)
    assert scene.image.shape == (16, 16, 3)


def test_a_request_to_stop_is_heard_while_validation_samples_are_made():
    made = []

    def make(places):
        made.append(places)
        return places

    samples = type("Samples", (), {"__len__": lambda _: 10**9, "__getitem__": lambda _, places: make(places)})()
    run = SimpleNamespace(
        processes=SimpleNamespace(count=1, rank=0),
        find_stop=lambda: 15 if len(made) == 3 else None,
        job=SimpleNamespace(stage="pretrain"),
    )
    for steps, kept in ((0, "nothing was saved; rerun to start over"), (40, "rerun the same command to resume from step 40")):
        made.clear()
        with pytest.raises(Interrupted, match=f"pretrain: stopped by SIGTERM; {kept}") as stopped:
            loop._load_validation(samples, SimpleNamespace(total_steps=steps), run, SimpleNamespace(batch_size=8))
        assert stopped.value.exit_code == 143 and len(made) == 3
