"""Training, validation and prediction on a GPU that is not there, see `faking_cuda`: no device is mixed up, nothing waits."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from faking_cuda import NotOnGpu, faking_cuda, is_on_gpu
from making_models import make_card, make_settings
from torch._subclasses.fake_tensor import FakeTensorDeviceMismatchError
from torch.nn import functional as F

from depthmask.data.batch import AFFINE_TO_INVERSE, Batch, ByteBatch
from depthmask.execution.speed_options import SpeedOptions
from depthmask.loading import loader
from depthmask.losses import weigh_losses
from depthmask.models.inference import make_predict
from depthmask.models.model_file import DepthMaskModel, make_model
from depthmask.models.prediction import NormalizationStats, Prediction
from depthmask.params import LossParams, PhaseParams
from depthmask.params.loss import DepthLossWeights, MaskLossWeights
from depthmask.registry.losses import LOSSES, Term
from depthmask.training import loop
from depthmask.training.fabric import Fabric
from depthmask.training.objective import Objective, validate
from depthmask.training.progress import Progress
from depthmask.training.stage import make_job

SMALL = {"image_size_px": 32, "batch_size": 4, "samples_per_epoch": 8, "epochs": 2, "validation_samples": 4}
CHANNELS = {"image": {"mean": [0.5] * 3, "std": [0.2] * 3}}
DEPTH = {"unit": "metre", "max": 20.0}
SIDE_PX = 40  # above the least of every loss


class EpochEnds(Exception):
    """All steps of an epoch are done; after it the host may wait."""


@pytest.fixture
def train(monkeypatch, tmp_path, raw, split, params) -> Callable:
    """A function that does the steps of an epoch on `cuda`, as the stage pretrain does them but for streams."""
    ended = []

    def end_epoch(state, *_):
        ended.append(state)
        raise EpochEnds

    monkeypatch.setattr(loop, "_end_epoch", end_epoch)
    monkeypatch.setattr(loader, "_move_ahead", lambda loaded, device, last: (batch.to(device, last) for batch in loaded))

    def run(precision="bf16-mixed", micro_batch=None, model=None, **changes):
        phase = {name: getattr(params.pretrain, name) for name in PhaseParams.model_fields} | SMALL | changes
        job = replace(make_job(params, "pretrain", raw, split), phases=[PhaseParams(**phase)])
        speed = SpeedOptions(num_workers=0, checkpoint_steps=None, checkpoint_minutes=60, micro_batch=micro_batch)
        model = model or make_model(make_settings(dropout=0.5, background_input=True), CHANNELS, DEPTH)
        with faking_cuda() as watch:
            fabric = Fabric(accelerator="cuda", devices=1, precision=precision)
            with contextlib.suppress(EpochEnds), Progress("pretrain", is_shown=False) as progress:
                loop.train(model, job, fabric, speed, tmp_path, progress)
        (state,) = ended
        assert state.total_steps == 2 and watch.num_operations > 500
        assert all(map(is_on_gpu, state.model.state_dict().values())) and is_on_gpu(state.sums)
        return state

    return run


@pytest.mark.parametrize(
    "changes",
    [
        {"optimizer": "adamw", "clip_norm": 1.0, "ema_decay": 0.9, "schedule": "one_cycle"},
        pytest.param(
            {"optimizer": "sgd", "schedule": "cosine", "precision": "32-true", "ema_decay": None}, marks=pytest.mark.slow
        ),
        pytest.param({"micro_batch": 1, "ema_decay": 0.9, "schedule": "triangular2"}, marks=pytest.mark.slow),
        pytest.param({"tasks": "mask", "schedule": "step", "milestones": [1]}, marks=pytest.mark.slow),
        pytest.param({"loss_upscale": 2, "schedule": "plateau"}, marks=pytest.mark.slow),
    ],
    ids=["adamw", "sgd", "micro-batches", "one task", "upscaled"],
)
def test_the_steps_of_an_epoch_do_not_wait(train, changes):
    state = train(**changes)
    moved = [value for values in state.optimizer.state.values() for value in values.values() if isinstance(value, torch.Tensor)]
    assert moved and all(map(is_on_gpu, moved))
    assert (state.ema is None) == (changes.get("ema_decay", 0.9) is None)


def _put_in(model: torch.nn.Module, fault: Callable[[torch.Tensor], object]) -> torch.nn.Module:
    """The model, with something that is done to its first feature map."""
    first = next(module for module in model.modules() if isinstance(module, torch.nn.Conv2d))

    def apply(_: torch.nn.Module, __: tuple, x: torch.Tensor) -> torch.Tensor:
        found = fault(x)
        return found if isinstance(found, torch.Tensor) and found.shape == x.shape else x

    first.register_forward_hook(apply)
    return model


ON_CPU = torch.ones(1, 1, 2, 1)


def _wait_in_backward(x: torch.Tensor) -> torch.Tensor:
    x.register_hook(lambda gradient: gradient * gradient.norm().item())
    return x


PUT_IN = {
    "a tensor on the CPU": (lambda x: x[..., :2, :] * ON_CPU, "cuda:0 and cpu|cuda:0, cpu"),
    "item": (lambda x: x.mean().item(), "_local_scalar_dense.* wait for a value: test_steps_on_a_gpu"),
    "float": (lambda x: float(x.mean()), "wait for a value"),
    "bool": (lambda x: bool((x > 0).any()), "wait for a value"),
    "tolist": (lambda x: x.tolist(), "copies to the CPU"),
    "nonzero": (lambda x: x.nonzero(), "nonzero.* wait for a shape"),
    "a mask as index": (lambda x: x[x > 0], "index.* wait for a shape"),
    "an index on the CPU": (lambda x: x[torch.tensor([0])], "indices are on the CPU"),
    "unique": (lambda x: x.unique(), "wait for a shape"),
    "to the CPU": (lambda x: x.cpu(), "copies to the CPU"),
    "numbers from the host": (lambda x: x.new_tensor([1.0, 2.0]), "copies from the CPU"),
    "waiting in the backward pass": (_wait_in_backward, "wait for a value"),
    "unsigned numbers": (lambda x: x.to(torch.uint16) + 1, "no kernel for torch.uint16"),
    "half precision": (
        lambda x: torch.linalg.norm(torch.linalg.inv(x[..., :2, :2].bfloat16())),
        "no kernel|not implemented|Low precision",
    ),
    "differing sums": (
        lambda x: F.interpolate(F.interpolate(x, scale_factor=2, mode="bicubic"), x.shape[-2:]),
        "not deterministic",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", PUT_IN)
def test_a_step_with_a_fault_is_found(train, name):
    fault, message = PUT_IN[name]
    model = make_model(make_settings(background_input=True), CHANNELS, DEPTH)
    with pytest.raises((NotOnGpu, FakeTensorDeviceMismatchError, NotImplementedError, RuntimeError), match=message):
        train(model=_put_in(model, fault))


def _draw_maps(channels: int = 1) -> torch.Tensor:
    return torch.rand(3, channels, SIDE_PX, SIDE_PX, device="cuda")


def _make_batch() -> Batch:
    """With unknown masks, and depths known only up to a scale and a shift."""
    known = _draw_maps() > 0.5
    relation = torch.full((3,), AFFINE_TO_INVERSE, dtype=torch.uint8, device="cuda")
    mask_known = torch.ones(3, dtype=torch.bool, device="cuda")
    return Batch(_draw_maps(3), _draw_maps(), _draw_maps(), known, None, mask_known, ~known, relation)


def _make_outputs(has_logits: bool) -> Prediction:
    """All that a network may give, in half precision, with gradients."""
    stats = NormalizationStats(0.2, 0.3, 0.4, 0.25)
    logits, mask, depth, bins = (_draw_maps(channels).bfloat16().requires_grad_() for channels in (1, 1, 1, 5))
    return Prediction(logits if has_logits else None, depth, mask, bins, stats)


@pytest.mark.parametrize("term", LOSSES, ids=[f"{term.task}_{term.name}" for term in LOSSES])
def test_no_loss_waits_forward_or_backward(term: Term):
    sections = {"mask": MaskLossWeights, "depth": DepthLossWeights}
    weights = {task: kind(**({term.name: 1.0} if task == term.task else {})) for task, kind in sections.items()}
    with faking_cuda() as watch:
        for upscale in (1, 2):
            outputs = _make_outputs(LOSSES[term].reads == "logits")
            loss, _ = weigh_losses(
                outputs, _make_batch(), LossParams(**weights, foreground=3.0, scale=1.0, balance=None), upscale=upscale
            )
            loss.backward()
            gradients = [value.grad for value in outputs[:4] if value is not None and value.grad is not None]
            assert is_on_gpu(loss) and gradients and all(map(is_on_gpu, gradients))
    assert watch.num_operations > 10


def test_the_balance_of_losses_does_not_wait(params):
    balanced = LossParams.model_validate(params.loss.model_dump() | {"balance": {"max": 9.0}})
    with faking_cuda():
        loss, terms = weigh_losses(_make_outputs(has_logits=True), _make_batch(), balanced)
    assert is_on_gpu(loss) and {term.task for term in terms} == {"mask", "depth"}


def _make_byte_batch(relative: bool) -> ByteBatch:
    batch = ByteBatch.allocate(3, SIDE_PX, SIDE_PX, with_background=True)
    for maps in (batch.image, batch.mask, batch.background, batch.depth):
        maps[:] = 0
    batch.valid[:] = True
    if not relative:
        return batch
    return replace(batch, relative=np.ones_like(batch.valid), relation=np.full(3, AFFINE_TO_INVERSE, np.uint8))


@pytest.mark.parametrize("precision", ["bf16-mixed", "32-true"])
def test_validation_waits_at_its_end_only(params, precision):
    model = DepthMaskModel(make_card(background_input=True))
    objective = Objective(params.loss, ("mask", "depth"), 1)
    with faking_cuda(waits_in=["training/objective.py", "metrics/__init__.py"]) as watch:
        fabric = Fabric(accelerator="cuda", devices=1, precision=precision)
        batches = [_make_byte_batch(False), 3, _make_byte_batch(True)]
        validate(model.to("cuda"), batches, objective, fabric, channels_last=True)
    # whether predictions are finite, whether there is any foreground, numbers of samples, sums of losses, scores
    assert [line.split(": ", 1)[1] for line in watch.waits] == [
        *['for name, is_finite in zip(("mask", "depth"), finite.tolist(), strict=True):'] * 2,
        "if not foreground.any():  # as in the test set, see `evaluation.not_scored`",
        *["means = losses.cpu().sum(dim=1) / known.cpu().sum(dim=1)"] * 2,
        "return dict(zip((*objective.name_columns(), *SCORES), (*means.tolist(), *scores.cpu().nanmean(dim=1).tolist())))",
    ]


@pytest.mark.parametrize("background", [False, True])
def test_a_prediction_waits_for_its_maps_only(background):
    model = DepthMaskModel(make_card(background_input=background))
    pictures = torch.zeros(2, 3, 40, 48)
    with faking_cuda(waits_in=["inference.py"]) as watch:
        maps = make_predict(model, "cuda", channels_last=True)(pictures, pictures if background else None)
    assert len(watch.waits) == 2 and all("maps = PredictedMaps(" in line for line in watch.waits)
    assert [tuple(values.shape) for values in maps] == [(2, 1, 40, 48)] * 2
