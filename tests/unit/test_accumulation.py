"""Micro-batches give the gradient of the whole batch, for every loss; out of memory, fewer samples are computed at once."""

from __future__ import annotations

import copy
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import nn

from depthmask.base.errors import UserError
from depthmask.data.batch import Batch
from depthmask.models.prediction import Prediction
from depthmask.params import LossParams
from depthmask.params.loss import DepthLossWeights, MaskLossWeights
from depthmask.registry.losses import LOSSES
from depthmask.training.accumulate import OUT_OF_MEMORY, WHOLE_BATCH, GradientAccumulator
from depthmask.training.distributed import SINGLE_PROCESS, Processes, make_fabric
from depthmask.training.objective import Objective
from depthmask.training.sharing import Share, SharedBatchNorm2d, share_layers
from depthmask.training.timing import Stopwatch

BATCH, SIZE_PX, LEVELS = 8, 33, 5
ALL = [tuple(term) for term in LOSSES]


class Tiny(nn.Module):
    """Gives all that any loss reads. Without a norm, samples know nothing of one another; dropout draws for each."""

    background_input = False

    def __init__(self, norm: nn.Module | None = None):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), norm or nn.Identity(), nn.Tanh(), nn.Dropout2d(0.4))
        self.head = nn.Conv2d(6, 2 + LEVELS, 3, padding=1)

    def forward(self, image, background=None):
        maps = self.head(self.body(image))
        return Prediction(maps[:, :1], torch.sigmoid(maps[:, 1:2]), depth_bins_BKHW=maps[:, 2:])


def _make_batch() -> Batch:
    """Samples that differ in how much of them is known, so that means over parts are not parts of the mean."""
    draw = torch.Generator().manual_seed(1)
    image, mask, depth = (torch.rand((BATCH, channels, SIZE_PX, SIZE_PX), generator=draw) for channels in (3, 1, 1))
    known = torch.rand((BATCH, 1, SIZE_PX, SIZE_PX), generator=draw) < torch.linspace(0.1, 1, BATCH).view(-1, 1, 1, 1)
    mask_known = torch.arange(BATCH) % 3 != 1
    return Batch(image, (mask > 0.6).float() * mask_known[:, None, None, None], depth, known, None, mask_known)


def _weigh(balance=None, **weights) -> LossParams:
    sections = {"mask": MaskLossWeights, "depth": DepthLossWeights}
    chosen = {task: kind(**weights.get(task, {})) for task, kind in sections.items()}
    return LossParams(**chosen, foreground=3.0, scale=2.0, balance=balance)


def _compute(model, loss, params, micro_batch=None, record=None, log=lambda line: None):
    """Loss, terms and gradients of one step, of a copy of the model."""
    model, fabric = copy.deepcopy(model).train(), make_fabric(params.compute.model_copy(update={"precision": "float32"}))
    record = {} if record is None else record
    objective = Objective(loss, ("mask", "depth"), 1)
    watch = Stopwatch(fabric.device, False)
    fabric_model = fabric.setup_module(model)
    whole = GradientAccumulator(model, fabric_model, objective, fabric, SINGLE_PROCESS, watch, BATCH, micro_batch, record, log)
    value, terms = whole.compute(_make_batch(), seed=7)
    assert {task: int(num) for task, num in whole.num_known.items()} == {"mask": 5, "depth": BATCH, "shape": BATCH}
    gradients = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    return model, value, terms, gradients


def _assert_close(one, other):
    for a, b in zip(one[1:3], other[1:3]):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-7)
    assert one[3].keys() == other[3].keys() and one[3]
    largest = max(gradient.abs().max() for gradient in one[3].values())
    for name, gradient in one[3].items():
        torch.testing.assert_close(
            other[3][name], gradient, rtol=2e-5, atol=2e-6 * float(largest), msg=lambda m, n=name: f"{n}: {m}"
        )


@pytest.mark.parametrize(("task", "name"), ALL, ids=[f"{task}_{name}" for task, name in ALL])
def test_two_at_once_give_the_gradient_of_all_eight(task, name, params):
    loss = _weigh(**{task: {name: 1.5}})
    torch.manual_seed(0)
    model = Tiny()
    _assert_close(_compute(model, loss, params), _compute(model, loss, params, micro_batch=2))


@pytest.mark.parametrize("micro_batch", [1, 3, 5])
def test_parts_of_any_size_with_a_balance_that_looks_at_the_whole_batch(micro_batch, params):
    loss = _weigh(balance={"max": 20.0}, mask={"dice": 0.01, "l1_sum": 1e-5}, depth={"log_l1": 1.0, "smoothness": 0.1})
    torch.manual_seed(0)
    model = Tiny()
    record = {}
    _assert_close(_compute(model, loss, params), _compute(model, loss, params, micro_batch, record))
    assert record["micro_batch"] <= micro_batch and record["micro_batch_because"] == "DEPTHMASK_MICRO_BATCH"


def test_a_norm_that_stands_still_changes_nothing_and_one_that_learns_sees_its_part_alone(params):
    loss = _weigh(mask={"dice": 1.0}, depth={"l1": 1.0})
    torch.manual_seed(0)
    model = Tiny(nn.BatchNorm2d(6))
    whole, parts = _compute(model, loss, params), _compute(model, loss, params, micro_batch=4)
    assert (whole[3]["head.weight"] - parts[3]["head.weight"]).abs().max() > 1e-4
    # by the two parts' own statistics; the running ones move once, by the mean of both
    outputs = model.body[0](_make_batch().image_B3HW)
    means = torch.stack([part.mean((0, 2, 3)) for part in outputs.split(4)])
    torch.testing.assert_close(parts[0].body[1].running_mean, 0.1 * means.mean(0), rtol=1e-5, atol=1e-7)
    assert parts[0].body[1].num_batches_tracked == whole[0].body[1].num_batches_tracked == 1

    standing = copy.deepcopy(model)
    standing.body[1].train = lambda mode=True: standing.body[1]
    standing.body[1].training = False
    for frozen in (standing,):
        frozen.train = lambda mode=True, frozen=frozen: frozen.body[3].train(mode) and frozen
        _assert_close(_compute(frozen, loss, params), _compute(frozen, loss, params, micro_batch=2))


def test_out_of_memory_halves_until_it_fits(params, monkeypatch):
    loss = _weigh(mask={"dice": 1.0}, depth={"log_gradient": 1.0})
    torch.manual_seed(0)
    model = Tiny(nn.BatchNorm2d(6))
    wanted = _compute(model, loss, params, micro_batch=2)
    messages, forward = [], Tiny.forward

    def run_out(self, image, background=None):
        prediction = forward(self, image, background)
        if len(image) > 2:
            raise torch.OutOfMemoryError("simulated")
        return prediction

    monkeypatch.setattr(Tiny, "forward", run_out)
    record = {}
    halved = _compute(model, loss, params, record=record, log=messages.append)
    assert record == {"micro_batch": 2, "micro_batch_because": OUT_OF_MEMORY}
    assert messages == [f"out of memory with {n} samples at once; continuing with {n // 2} at once" for n in (8, 4)]
    for name, gradient in wanted[3].items():
        assert torch.equal(halved[3][name], gradient), name
    for name, tensor in wanted[0].state_dict().items():  # of the attempts nothing is left in the running statistics
        assert torch.equal(halved[0].state_dict()[name], tensor), name
    messages.clear()
    again = _compute(model, loss, params, record=record, log=messages.append)
    assert messages == [] and torch.equal(again[1], halved[1])  # a resumed run starts with what fits

    monkeypatch.setattr(Tiny, "forward", lambda *_: (_ for _ in ()).throw(torch.OutOfMemoryError("simulated")))
    with pytest.raises(UserError, match=r"out of memory with 1 samples at once .* use a smaller image_size_px"):
        _compute(model, loss, params)


def test_a_whole_batch_says_so(params):
    record = {}
    _compute(Tiny(), _weigh(mask={"dice": 1.0}), params, record=record)
    assert record == {"micro_batch": BATCH, "micro_batch_because": WHOLE_BATCH}


def test_shared_layers_keep_the_names_and_a_kind_that_cannot_is_named():
    model = Tiny(nn.BatchNorm2d(6))
    names = list(model.state_dict())
    share_layers(model, Share())
    assert list(model.state_dict()) == names and type(model.body[1]) is SharedBatchNorm2d
    assert copy.deepcopy(model).body[1].share is model.body[1].share
    with pytest.raises(UserError, match=r"body.1 is a BatchNorm3d, which cannot be split into micro-batches"):
        share_layers(Tiny(nn.BatchNorm3d(6)), Share())


class Threads(Processes):
    """Processes that are threads of this one: they meet, and sum what each brings."""

    def __new__(cls, rank, brought, meeting):
        self = super().__new__(cls)
        self.__dict__.update(rank=rank, count=len(brought), brought=brought, meeting=meeting)
        return self

    def __init__(self, *_):
        pass

    def all_reduce_sum(self, tensor, group=None):
        self.brought[self.rank] = tensor.clone()
        self.meeting.wait(60)
        tensor.copy_(sum(self.brought))
        self.meeting.wait(60)


def test_a_norm_of_three_processes_is_the_norm_of_one():
    """In double precision, with slices of different sizes: outputs, all gradients and the running statistics."""
    torch.manual_seed(0)
    norm = nn.BatchNorm2d(4).double()
    nn.init.uniform_(norm.weight), nn.init.uniform_(norm.bias)
    x = torch.randn(7, 4, 3, 5, dtype=torch.float64) * 3 + 10
    output_gradient = torch.randn_like(x)
    norms = [copy.deepcopy(norm) for _ in range(3)]
    whole = x.clone().requires_grad_()
    output = norm(whole)
    output.backward(output_gradient)

    brought, meeting = [None] * 3, threading.Barrier(3)

    def run(rank):
        processes = Threads(rank, brought, meeting)
        share_layers(norms[rank], Share(processes))
        own = x[processes.slice_batch(7)].clone().requires_grad_()
        part = norms[rank](own)
        part.backward(output_gradient[processes.slice_batch(7)])
        return part.detach(), own.grad

    with ThreadPoolExecutor(3) as pool:
        parts, gradients = zip(*pool.map(run, range(3)))
    torch.testing.assert_close(torch.cat(parts), output.detach())
    torch.testing.assert_close(torch.cat(gradients), whole.grad)
    torch.testing.assert_close(sum(n.weight.grad for n in norms), norm.weight.grad)
    torch.testing.assert_close(sum(n.bias.grad for n in norms), norm.bias.grad)
    for other in norms:
        for name, buffer in norm.named_buffers():
            torch.testing.assert_close(dict(other.named_buffers())[name], buffer)
