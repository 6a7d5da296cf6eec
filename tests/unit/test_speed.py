"""What makes a step fast and must not change it: skipped updates, compiling, the choice of the precision."""

from __future__ import annotations

import pytest
import torch
from making_models import make_settings

from depthmask.base.errors import UserError
from depthmask.compute.device import choose_precision
from depthmask.execution.speed_options import read_speed_options
from depthmask.models.model_file import make_model
from depthmask.runs import hardware
from depthmask.training import compiling
from depthmask.training.compiling import compile_model
from depthmask.training.distributed import make_fabric
from depthmask.training.finite import CHECK_EVERY_STEPS, FiniteWatch

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
    watch.defer_checks(optimizer, torch.device("cpu"))
    _step(weight, optimizer, watch, 0, 2.0)
    assert not torch.equal(weight, torch.ones(5))
    watch.check()
    kept = weight.detach().clone()
    state = {key: value.clone() for key, value in optimizer.state[weight].items() if isinstance(value, torch.Tensor)}
    for number, loss in ((5, float("nan")), (6, 1.0), (7, float("inf"))):
        _step(weight, optimizer, watch, number, loss)
        assert torch.equal(weight, kept)
    assert state and all(torch.equal(value, optimizer.state[weight][key]) for key, value in state.items())
    with pytest.raises(UserError, match=r"^pretrain: the loss is nan at epoch 2, step 2 \(mask_dice nan\); lower its"):
        watch.check()


def test_the_watch_looks_by_itself_every_so_many_steps():
    weight = torch.nn.Parameter(torch.ones(1))
    optimizer = FUSED["sgd"]([weight])
    watch = FiniteWatch("pretrain", ["loss", "mask_dice"], 1000, optimizer, torch.device("cpu"))
    watch.defer_checks(optimizer, torch.device("cpu"))
    for number in range(1, CHECK_EVERY_STEPS - 1):
        _step(weight, optimizer, watch, number, float("inf") if number == 3 else 1.0)
    with pytest.raises(UserError, match="the loss is inf at epoch 1, step 4"):
        _step(weight, optimizer, watch, CHECK_EVERY_STEPS - 1, 1.0)


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
    settings = make_settings("compact", width=4, dropout=0.5, background_input=False)
    return make_model(settings, {"image": {"mean": [0.5] * 3, "std": [0.2] * 3}}, {"unit": "metre", "max": 20.0})


@pytest.fixture
def counted(monkeypatch):
    """The compiler that only traces; the value lists what was compiled."""
    seen, real = [], torch.compile
    monkeypatch.setattr(compiling, "BACKEND", "eager")
    monkeypatch.setattr(torch, "compile", lambda network, **options: seen.append(network) or real(network, **options))
    return seen


def _compile(model, params):
    return compile_model(model, make_fabric(params.compute), batch_size=2, size_px=16)


def test_trying_the_compiler_leaves_weights_and_random_states_alone(model, params, counted):
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    torch.manual_seed(5)
    state = torch.get_rng_state()
    network, outcome = _compile(model, params)
    assert network is not model and outcome == "on"
    assert len(counted) == 2 and counted[0] is not model and counted[1] is model
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())


def test_the_compiler_is_told_to_be_deterministic(model, params, counted, monkeypatch):
    from torch._inductor import config

    monkeypatch.setattr(config, "deterministic", False)
    before = torch.are_deterministic_algorithms_enabled()
    torch.set_deterministic_debug_mode("error")
    try:
        _compile(model, params)
        assert config.deterministic is True
    finally:
        torch.use_deterministic_algorithms(before)


def test_a_compiler_that_fails_costs_one_line(model, params, counted, monkeypatch):
    def refuse(graph, inputs):
        raise RuntimeError("no C++ compiler\nfound")

    monkeypatch.setattr(compiling, "BACKEND", refuse)
    network, outcome = _compile(model, params)
    assert network is model and outcome.startswith("off: the compiler failed (")
    assert "no C++ compiler" in outcome and "\n" not in outcome


def test_compile_is_off_by_default(params):
    assert params.compute.compile is False


def test_devices_and_micro_batch_come_from_the_environment():
    speed = read_speed_options({"DEPTHMASK_DEVICES": "2", "DEPTHMASK_MICRO_BATCH": "8"})
    assert (speed.devices, speed.micro_batch) == (2, 8)
    assert (read_speed_options({}).devices, read_speed_options({}).micro_batch) == (1, None)
    with pytest.raises(UserError, match="DEPTHMASK_DEVICES=two; allowed"):
        read_speed_options({"DEPTHMASK_DEVICES": "two"})
