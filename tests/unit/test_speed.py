"""What makes a step fast and must not change it: skipped updates, compiling where it pays, the choice of the precision."""

from __future__ import annotations

import pytest
import torch

from depthmask.base.errors import ParamsError, UserError
from depthmask.base.files import read_json
from depthmask.compute.device import choose_precision
from depthmask.execution.speed_options import read_speed_options
from depthmask.models.model_file import make_model
from depthmask.params import ComputeParams, ModelParams, make_params
from depthmask.runs import hardware
from depthmask.training import compiling
from depthmask.training.compiling import choose_network
from depthmask.training.distributed import make_fabric
from depthmask.training.finite import LOOK_EVERY, FiniteWatch

FUSED = {
    "adamw": lambda parameters: torch.optim.AdamW(parameters, lr=0.1, fused=True),
    "sgd": lambda parameters: torch.optim.SGD(parameters, lr=0.1, momentum=0.9, fused=True),
}


def _step(weight, optimizer, watch, number, loss):
    weight.grad = torch.full_like(weight, float("nan") if loss != loss else 1.0)
    watch.note(torch.tensor([loss, loss / 2]), number)
    optimizer.step()


@pytest.mark.parametrize("name", FUSED)
def test_an_update_after_a_bad_loss_is_skipped_without_a_look(name):
    weight = torch.nn.Parameter(torch.ones(5))
    optimizer = FUSED[name]([weight])
    watch = FiniteWatch("pretrain", ["loss", "mask_dice"], 4, optimizer, torch.device("cpu"))
    watch.wait_with_looks(optimizer, torch.device("cpu"))
    _step(weight, optimizer, watch, 0, 2.0)
    assert not torch.equal(weight, torch.ones(5))
    watch.look()
    kept = weight.detach().clone()
    state = {key: value.clone() for key, value in optimizer.state[weight].items() if isinstance(value, torch.Tensor)}
    for number, loss in ((5, float("nan")), (6, 1.0), (7, float("inf"))):
        _step(weight, optimizer, watch, number, loss)
        assert torch.equal(weight, kept)
    assert state and all(torch.equal(value, optimizer.state[weight][key]) for key, value in state.items())
    with pytest.raises(UserError, match=r"^pretrain: the loss is nan at epoch 2, step 2 \(mask_dice nan\); lower pretrain"):
        watch.look()


def test_the_watch_looks_by_itself_every_so_many_steps():
    weight = torch.nn.Parameter(torch.ones(1))
    optimizer = FUSED["sgd"]([weight])
    watch = FiniteWatch("pretrain", ["loss", "mask_dice"], 1000, optimizer, torch.device("cpu"))
    watch.wait_with_looks(optimizer, torch.device("cpu"))
    for number in range(1, LOOK_EVERY - 1):
        _step(weight, optimizer, watch, number, float("inf") if number == 3 else 1.0)
    with pytest.raises(UserError, match="the loss is inf at epoch 1, step 4"):
        _step(weight, optimizer, watch, LOOK_EVERY - 1, 1.0)


def test_auto_takes_bfloat16_on_a_cpu_with_instructions_for_it(tmp_path, monkeypatch):
    for flags, precision in (
        ("fpu sse avx512f amx_bf16 amx_tile", "bf16-mixed"),
        ("fpu sse avx512f avx512_bf16", "bf16-mixed"),
        ("fpu sse avx512f avx512_vnni", "32-true"),
    ):
        (tmp_path / "cpuinfo").write_text(f"processor\t: 0\nmodel name\t: Some CPU\nflags\t\t: {flags}\n")
        monkeypatch.setattr(hardware, "CPU_INFO", tmp_path / "cpuinfo")
        assert choose_precision("auto", "cpu") == precision
        assert choose_precision("float32", "cpu") == "32-true"
    monkeypatch.setattr(hardware, "CPU_INFO", tmp_path / "none")
    assert choose_precision("auto", "cpu") == "32-true"


@pytest.fixture
def model():
    torch.manual_seed(0)
    settings = ModelParams(name="compact", width=4, dropout=0.5, background_input=False)
    return make_model(settings, {"image": {"mean": [0.5] * 3, "std": [0.2] * 3}}, {"unit": "metre", "max": 20.0})


def _choose(model, params, wanted, num_steps=100):
    compute = ComputeParams(**params.compute.model_dump() | {"compile": wanted})
    return choose_network(model, compute, make_fabric(compute), 2, 16, num_steps)


@pytest.fixture
def counted(tmp_path, monkeypatch):
    """The compiler that only traces, and a cache of one's own; the value counts what was compiled."""
    seen, real = [], torch.compile
    monkeypatch.setenv("DEPTHMASK_CACHE", str(tmp_path))
    monkeypatch.setattr(compiling, "BACKEND", "eager")
    monkeypatch.setattr(torch, "compile", lambda network, **options: seen.append(network) or real(network, **options))
    return seen


def test_auto_measures_once_and_leaves_weights_and_random_states_alone(model, params, counted, tmp_path):
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    torch.manual_seed(5)
    state = torch.get_rng_state()
    network, why = _choose(model, params, "auto", num_steps=1)
    assert network is model and why.startswith("off: it does not pay (")  # one step cannot win back the tracing
    assert len(counted) == 1 and counted[0] is not model
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())
    assert _choose(model, params, "auto", num_steps=1)[1] == why and len(counted) == 1  # from the cache

    (key,) = known = read_json(tmp_path / compiling.FILE)
    compiling.write_json(tmp_path / compiling.FILE, {key: known[key] | {"eager": 1.0, "compiled": 0.5, "compiling": 20.0}})
    network, why = _choose(model, params, "auto", num_steps=41)
    assert network is not model and why == "on: it pays (500 ms a step against 1e+03, 20 s to compile, 41 steps)"
    assert _choose(model, params, "auto", num_steps=40)[0] is model


@pytest.mark.slow
def test_a_compiler_that_fails_costs_one_line(model, params, counted, monkeypatch):
    def refuse(graph, inputs):
        raise RuntimeError("no C++ compiler\nfound")

    monkeypatch.setattr(compiling, "BACKEND", refuse)
    for wanted in (True, "auto"):
        network, why = _choose(model, params, wanted)
        assert network is model and why.startswith("off: it failed (") and "no C++ compiler" in why and "\n" not in why


def test_compile_is_off_by_default_and_takes_no_other_word(model, params, counted):
    assert _choose(model, params, False) == (model, "off") and counted == []
    network, why = _choose(model, params, True)
    assert network is not model and why == "on"
    values = params.model_dump()
    values["compute"]["compile"] = "maybe"
    with pytest.raises(ParamsError, match=r"compute.compile: 'maybe'; allowed: .*'auto'"):
        make_params(values)


def test_devices_and_micro_batch_come_from_the_environment():
    speed = read_speed_options({"DEPTHMASK_DEVICES": "2", "DEPTHMASK_MICRO_BATCH": "8"})
    assert (speed.devices, speed.micro_batch) == (2, 8)
    assert (read_speed_options({}).devices, read_speed_options({}).micro_batch) == (1, None)
    with pytest.raises(UserError, match="DEPTHMASK_DEVICES=two; allowed"):
        read_speed_options({"DEPTHMASK_DEVICES": "two"})
