"""The training step against a plain loop written from the descriptions: same loss, same gradient of every parameter."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from choosing_networks import mark_slow
from importing_benchmarks import import_benchmark

from depthmask.models.model_file import make_model
from depthmask.params import Params
from depthmask.params.reading import read_yaml
from depthmask.recipes import check_recipe
from depthmask.registry.networks import NETWORKS
from depthmask.training.freezing import freeze_modules

PROJECT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def benchmark():
    """benchmarks/training.py, which has both steps."""
    with import_benchmark("training") as module:
        yield module


def _take_step(benchmark, kind, params):
    torch.manual_seed(0)
    phase = params.pretrain.phases()[0]
    model = make_model(params.model.network, benchmark.CHANNELS, params.download.depth.model_dump()).double()
    batch = benchmark.convert(benchmark.make_batch(params, phase, 2, model.background_input), torch.float64)
    with freeze_modules(model, phase) as frozen:
        loss = float(benchmark.STEPS[kind](model, frozen, params, phase, batch)())
    return loss, {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


PUBLISHED = [name for name, spec in NETWORKS.items() if spec.is_published]


@pytest.mark.parametrize("recipe", mark_slow(PUBLISHED, also=["two_stream_separable"]))
def test_gradients_are_those_of_the_plain_loop(benchmark, recipe):
    """In float64, where rounding does not hide a difference; the largest seen was 2e-13 of the whole gradient's norm."""
    params = check_recipe(recipe, read_yaml(PROJECT / "params.yaml", Params))
    plain_loss, plain = _take_step(benchmark, "plain", params)
    our_loss, ours = _take_step(benchmark, "ours", params)
    assert our_loss == pytest.approx(plain_loss, rel=1e-12)
    assert ours.keys() == plain.keys()
    norm = torch.cat([slope.flatten() for slope in plain.values()]).norm()
    assert norm > 0
    for name, slope in plain.items():
        assert float((ours[name] - slope).norm() / norm) < 1e-9, name
