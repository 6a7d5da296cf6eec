"""A whole step of every network, and of every kind of encoder, on a GPU that is not there (`faking_cuda`), without waiting."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest
import torch
from faking_cuda import faking_cuda, is_on_gpu
from making_encoders import TINY, make_timm_folder, make_transformers_folder
from making_models import make_settings

from depthmask.data.batch import Batch
from depthmask.models.model_file import DepthMaskModel, make_model
from depthmask.params import LossParams
from depthmask.params.loss import DepthLossWeights, MaskLossWeights
from depthmask.registry.networks import NETWORKS
from depthmask.training.accumulate import GradientAccumulator
from depthmask.training.distributed import SINGLE_PROCESS
from depthmask.training.fabric import Fabric
from depthmask.training.finite import FiniteWatch
from depthmask.training.objective import Objective
from depthmask.training.timing import Stopwatch
from depthmask.weights.libraries import find_library_encoder

SIDE_PX = 64
STATS = {"mean": [0.5], "std": [0.2]}
CHANNELS = {"image": {"mean": [0.5] * 3, "std": [0.2] * 3}, "mask": STATS, "depth": STATS}
DEPTH = {"unit": "metre", "max": 20.0}
TIMM = ("resnet10t", "convnext_atto", "test_vit")
EVERYDAY = ("compact", "encoder_decoder")
CASES = [
    pytest.param(name, background, marks=[] if name in EVERYDAY and background else pytest.mark.slow)
    for name, spec in NETWORKS.items()
    for background in (False, True)
    if (spec.takes_background if background else not spec.needs_background)
]


def _need(package: str) -> None:
    try:
        importlib.import_module(package)
    except (ImportError, RuntimeError) as error:
        pytest.skip(f"{package} cannot be imported ({error})")


def _make_batch(background: bool) -> Batch:
    image, mask, depth = (torch.rand(2, channels, SIDE_PX, SIDE_PX, device="cuda") for channels in (3, 1, 1))
    return Batch(image, mask, depth, depth > 0.5, image if background else None)


def _take_step(model: DepthMaskModel, precision: str, micro_batch: int | None) -> None:
    """A step of training with all that the network gives, then a prediction."""
    depth = {"l1": 1.0} | ({"cross_entropy": 1.0} if model.spec.has_depth_bins else {})
    weights = LossParams(mask=MaskLossWeights(l1=1.0), depth=DepthLossWeights(**depth), foreground=2.0, scale=1.0, balance=None)
    objective, record = Objective(weights, ("mask", "depth"), 1), {}
    with faking_cuda() as watch:
        fabric = Fabric(accelerator="cuda", devices=1, precision=precision)
        model.to(fabric.device).to(memory_format=torch.channels_last).train()
        optimizer = torch.optim.AdamW(model.parameters(), fused=True)
        finite = FiniteWatch("pretrain", objective.name_columns(), 10, optimizer, fabric.device)
        fabric_model, optimizer = fabric.setup(model, optimizer)
        common = model, fabric_model, objective, fabric, SINGLE_PROCESS, Stopwatch(fabric.device, False)
        accumulator = GradientAccumulator(*common, 2, micro_batch, record, print)
        batch = _make_batch(model.background_input)
        loss, terms = accumulator.compute(batch, 0)
        finite.note(torch.stack([loss, *(value.detach() for value in terms.values())]), 0)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        with torch.inference_mode():
            maps = model.eval()(batch.image_B3HW, batch.background_B3HW)
    assert record["micro_batch"] == (micro_batch or 2) and watch.num_operations > 100
    assert is_on_gpu(maps.mask_prob_B1HW) and is_on_gpu(maps.depth_clamped_B1HW)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    assert trained and all(map(is_on_gpu, [*trained, *(p.grad for p in trained if p.grad is not None)]))


@pytest.mark.parametrize(("name", "background"), CASES)
def test_a_step_does_not_wait(name, background):
    if name == "smp_unet":
        _need("segmentation_models_pytorch")
    _take_step(
        make_model(make_settings(name, width=8, dropout=0.5, background_input=background), CHANNELS, DEPTH), "bf16-mixed", None
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", ["compact", "encoder_decoder", "two_stream_separable"])
def test_a_step_in_float32_and_micro_batches_does_not_wait(name):
    model = make_model(make_settings(name, width=8, dropout=0.5, background_input=True), CHANNELS, DEPTH)
    _take_step(model, "32-true", 1)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [*TINY, *(f"timm:{name}" for name in TIMM)])
def test_a_step_with_an_encoder_of_a_library_does_not_wait(kind, tmp_path: Path):
    if kind in TINY:
        _need("transformers")
        encoder = f"transformers:{make_transformers_folder(tmp_path / 'tiny', kind)}"
    else:
        _need("timm")
        encoder = f"timm:{make_timm_folder(tmp_path / 'tiny', kind.removeprefix('timm:'))}"
    found = find_library_encoder(encoder, True)
    settings = make_settings("encoder_decoder", encoder=encoder, background_input=True)
    _take_step(make_model(settings, CHANNELS, DEPTH, encoder=found.card, encoder_config=found.config), "bf16-mixed", None)
