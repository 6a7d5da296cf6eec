"""A training with two threads never waits for a thread that the environment keeps from it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from depthmask.base.errors import UserError
from depthmask.compute import openmp
from depthmask.compute.openmp import claim_threads, find_thread_limit

SOURCE = Path(__file__).parents[2] / "workflow"
# a convolution's backward pass in bfloat16 is where a training stood still
STEP = """
import hashlib, torch
from depthmask.base.entry_points import print_errors_as_lines
from depthmask.compute.openmp import claim_threads

@print_errors_as_lines
def main():
    claim_threads(2, "compute.threads")
    torch.manual_seed(0)
    layer = torch.nn.Conv2d(16, 32, 3, padding=1)
    with torch.autocast("cpu", torch.bfloat16):
        layer(torch.rand(8, 16, 32, 32)).square().mean().backward()
    print(torch.get_num_threads(), hashlib.sha256(layer.weight.grad.numpy().tobytes()).hexdigest())

raise SystemExit(main())
"""
ENVIRONMENTS = [
    {"OMP_DYNAMIC": "TRUE"},
    {"OMP_MAX_ACTIVE_LEVELS": "0"},
    {"OMP_THREAD_LIMIT": "2"},
    {"OMP_NUM_THREADS": "nonsense", "OMP_PLACES": "nonsense", "OMP_PROC_BIND": "nonsense"},
    {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "MKL_DYNAMIC": "TRUE"},
    {"OMP_WAIT_POLICY": "ACTIVE", "OMP_PROC_BIND": "TRUE", "GOMP_CPU_AFFINITY": "0"},
    {"KMP_AFFINITY": "disabled", "KMP_BLOCKTIME": "infinite", "OMP_SCHEDULE": "nonsense"},
]


def take_step(changes: dict[str, str], seconds: int = 180) -> subprocess.CompletedProcess[str]:
    """A step in a process of its own; subprocess.TimeoutExpired where it stands still."""
    steering = ("OMP_", "GOMP_", "KMP_", "MKL_")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(steering)}
    environment |= {"PYTHONPATH": str(SOURCE)} | changes
    return subprocess.run([sys.executable, "-c", STEP], env=environment, capture_output=True, text=True, timeout=seconds)


@pytest.fixture(scope="module")
def usual() -> str:
    done = take_step({})
    assert done.returncode == 0 and done.stdout.startswith("2 "), done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("changes", ENVIRONMENTS, ids=lambda changes: next(iter(changes)))
def test_two_threads_compute_the_same_bytes_whatever_the_environment_says(usual, changes):
    done = take_step(changes)
    assert (done.returncode, done.stdout) == (0, usual), done.stderr


def test_a_limit_below_the_threads_is_one_line_that_names_it():
    done = take_step({"OMP_THREAD_LIMIT": "1"})
    assert done.returncode == 1 and not done.stdout
    error, hint = done.stderr.splitlines()
    assert error.startswith("error: environment: OMP_THREAD_LIMIT=1 allows fewer threads than compute.threads: 2")
    assert hint.startswith("hint: ") and "unset OMP_THREAD_LIMIT" in hint


@pytest.mark.parametrize("command", [("depthmask", "models", "compact"), ("stages.report", "--help")])
def test_an_affinity_that_torch_would_read_forever_is_one_line(command):
    environment = os.environ | {"PYTHONPATH": str(SOURCE), "GOMP_CPU_AFFINITY": "nonsense"}
    done = subprocess.run([sys.executable, "-m", *command], env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and not done.stdout
    assert done.stderr.startswith("error: environment: GOMP_CPU_AFFINITY=nonsense; allowed: numbers of cores")
    assert len(done.stderr.splitlines()) == 1


def test_a_limit_is_compared_with_what_is_asked_for(monkeypatch):
    before = torch.get_num_threads()
    monkeypatch.setattr(openmp, "find_thread_limit", lambda: 3)
    try:
        claim_threads(3, "here")
        assert torch.get_num_threads() == 3
        with pytest.raises(UserError, match=r"OMP_THREAD_LIMIT=3 allows fewer threads than here: 4"):
            claim_threads(4, "here")
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def test_the_limit_of_this_process_is_known():
    limit = find_thread_limit()
    assert limit is None or limit >= torch.get_num_threads()
