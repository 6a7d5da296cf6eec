"""The checks of a machine's GPUs run in one command; here in a tiny form, where the devices are processes on the CPU."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from importing_benchmarks import import_benchmark

KEYS = {"steps", "waiting", "one", "side_by_side", "one_on_two_devices", "hardware"}


def _check(capsys) -> dict:
    with import_benchmark("gpu") as gpu:
        assert gpu.main(["--tiny", "--recipe", "dilated_small"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found.keys() == KEYS
    assert all(speed > 0 for speed in found["steps"]["images_per_second"].values())
    assert 0 <= found["waiting"]["share"] < 1
    assert len(found["side_by_side"]["images_per_second"]) == 2 and found["one_on_two_devices"]["images_per_second"] > 0
    return found


@pytest.mark.slow
def test_without_a_gpu_all_checks_run(capsys, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    found = _check(capsys)
    assert found["steps"]["device"] == "cpu" and found["side_by_side"]["gpus"] == ["none", "none"]


@pytest.mark.gpu
def test_trainings_side_by_side_use_gpus_of_their_own(capsys):
    found = _check(capsys)
    assert found["steps"]["device"].startswith("cuda")
    first, second = found["side_by_side"]["gpus"]
    busy = found["side_by_side"]["busy_percent"]
    assert len(busy) < 2 or (first != second and busy[first] > 0 and busy[second] > 0)


def test_how_busy_gpus_are_is_read_from_nvidia_smi(tmp_path: Path, monkeypatch):
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho 'GPU-a, 40'; echo 'GPU-b, [N/A]'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with import_benchmark("gpu") as gpu:
        monkeypatch.setattr(gpu, "LOOK_EVERY_S", 0.01)
        with gpu.SampledGpus() as sampled:
            while not sampled.average():
                pass
    assert sampled.average() == {"GPU-a": 40.0}
