"""Freed memory that is returned between batches."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from depthmask.commands import predict
from depthmask.compute import memory
from depthmask.compute.memory import GROWTH_BYTES_MAX, bound_memory
from depthmask.evaluation import score
from depthmask.params import load_params
from depthmask.preflight import estimate
from depthmask.serving import each_photo

PROJECT = Path(__file__).parents[2]
GIB = 1 << 30


class GrowingProcess:
    """Its memory as each item is asked for, in gibibytes."""

    def __init__(self, *used: float):
        self.used = [round(value * GIB) for value in used]

    def memory_info(self) -> SimpleNamespace:
        return SimpleNamespace(rss=self.used.pop(0))


@pytest.fixture
def trimmed(monkeypatch) -> list[int]:
    calls = []
    monkeypatch.setattr(memory, "_find", lambda name: {"malloc_trim": calls.append}[name])
    return calls


@pytest.mark.parametrize(
    ("used", "times"),
    [
        ((0.4, 3.0, 3.9, 4.0), 0),  # the first item's own use is no growth
        ((0.4, 1.2, 2.1, 2.3, 1.0, 2.2), 1),
        ((0.4, 1.2, 2.3, 0.9, 2.4), 2),
        ((5.0, 1.2), 0),
        ((), 0),
    ],
)
def test_memory_is_returned_once_it_is_a_gibibyte_above_the_first_items(monkeypatch, trimmed, used, times):
    assert GROWTH_BYTES_MAX == GIB
    monkeypatch.setattr(memory.psutil, "Process", lambda: GrowingProcess(*used))
    assert list(bound_memory(iter(range(len(used))))) == list(range(len(used)))
    assert trimmed == [0] * times


def test_without_glibc_items_pass_through(monkeypatch):
    monkeypatch.setattr(memory, "_find", lambda name: None)
    monkeypatch.setattr(memory.psutil, "Process", None)
    assert list(bound_memory("abc")) == ["a", "b", "c"]
    memory.keep_freed_memory()


def test_it_bounds_what_goes_through_many_images(monkeypatch):
    """The loops of scoring and of predicting; an estimate counts what it lets grow."""
    bounded = []
    monkeypatch.setattr(score, "bound_memory", lambda items: bounded.append("scoring") or items)
    monkeypatch.setattr(score, "load_in_order", lambda samples, batch_size: iter(samples))
    assert list(score.track_batches([1, 2], 1)) == [1, 2] and bounded == ["scoring"]
    monkeypatch.setattr(memory, "bound_memory", lambda items: bounded.append("predicting") or items)
    monkeypatch.setattr(each_photo, "predict_photos", lambda *given: iter(()))
    given = SimpleNamespace(batch_size=1, background=None), SimpleNamespace(batch_max=1)
    predict._predict_all(*given, [], {}, endings={}, points=None, done=SimpleNamespace(bugs=[]))
    assert bounded == ["scoring", "predicting"]
    params = load_params(PROJECT / "params.yaml")
    with_growth = estimate.estimate_run(params, 2).phases[-1]
    monkeypatch.setattr(estimate, "GROWTH_BYTES_MAX", 0)
    assert with_growth.stage == "evaluate"
    assert 0 < with_growth.memory_bytes - estimate.estimate_run(params, 2).phases[-1].memory_bytes <= GIB


@pytest.mark.skipif(not hasattr(os, "confstr") or "CS_GNU_LIBC_VERSION" not in os.confstr_names, reason="needs glibc")
def test_glibc_has_what_is_called():
    assert memory._find("malloc_trim")(0) in (0, 1) and memory._find("mallopt") is not None
