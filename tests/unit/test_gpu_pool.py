"""Jobs side by side get GPUs of their own; on a machine of made-up GPUs, with real processes and locks."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from depthmask.base.errors import UserError
from depthmask.compute import device, gpu_pool
from depthmask.compute.gpu_pool import Gpu, claim_gpus, list_gpus, parse_gpus
from depthmask.params import ComputeParams
from depthmask.runs import hardware
from depthmask.training import launching

PROJECT = Path(__file__).parents[2]
FOUR = [Gpu(f"GPU-{number}0000000-0000-0000-0000-00000000000{number}") for number in range(4)]
UUIDS = [gpu.uuid for gpu in FOUR]
DIVIDED = Gpu("GPU-90000000-1111", ("MIG-11111111-aaaa", "MIG-22222222-bbbb"))
LISTED = """GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-5d5ba0d6-d33d-2b2c-524d-9e3d8d2b8a77)
  MIG 3g.20gb     Device  0: (UUID: MIG-c6d4f1ef-42e4-5de3-91c7-45d71c87eb3f)
  MIG 2g.10gb     Device  1: (UUID: MIG-cba663e8-9bed-5b25-b243-5985ef7c9beb)
GPU 1: NVIDIA GeForce RTX 4090 (UUID: GPU-00000000-1111-2222-3333-444444444444)
"""
# takes GPUs like a job, says which it sees, and keeps them until its standard input ends
JOB = """import os, sys
from pathlib import Path
from depthmask.compute.gpu_pool import Gpu, claim_gpus
folder, count, *uuids = sys.argv[1:]
claim_gpus(int(count), find_gpus=lambda: [Gpu(uuid) for uuid in uuids], folder=Path(folder))
print(os.environ.get("CUDA_VISIBLE_DEVICES", "unset"), flush=True)
sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def nothing_held(monkeypatch) -> Iterator[None]:
    """This process has claimed nothing before a test, and gives back what it claims in it."""
    monkeypatch.setattr(gpu_pool, "_held", [])
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    yield
    for lock in gpu_pool._held:
        lock.release()


@pytest.fixture
def start_job(tmp_path) -> Iterator:
    """A function that starts a job beside the others; each ends with the test."""
    with contextlib.ExitStack() as running:

        def start(count: int = 1, uuids: list[str] = UUIDS, **variables: str) -> subprocess.Popen:
            environ = {name: value for name, value in os.environ.items() if name != "CUDA_VISIBLE_DEVICES"}
            environ |= {"PYTHONPATH": str(PROJECT / "workflow")} | variables
            command = [sys.executable, "-c", JOB, str(tmp_path / "locks"), str(count), *uuids]
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
            job = running.enter_context(subprocess.Popen(command, env=environ, text=True, **pipes))
            running.callback(job.kill)
            return job

        yield start


def _read(job: subprocess.Popen) -> list[str]:
    return job.stdout.readline().strip().split(",")


def _claim(folder: Path, count: int = 1, gpus: list[Gpu] = FOUR, visible: str | None = None) -> str | None:
    """What a job of this process sees afterwards, as if it were a process of its own that keeps running."""
    environment = {} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}
    before, gpu_pool._held[:] = list(gpu_pool._held), []
    claim_gpus(count, environment, lambda: gpus, folder)
    gpu_pool._held.extend(before)
    return environment.get("CUDA_VISIBLE_DEVICES")


def test_jobs_that_start_at_once_get_different_gpus(start_job):
    jobs = [start_job() for _ in range(4)]
    assert sorted(_read(job)[0] for job in jobs) == UUIDS


def test_a_job_that_is_killed_leaves_its_gpu_to_the_next(start_job):
    first, second = start_job(uuids=UUIDS[:2]), start_job(uuids=UUIDS[:2])
    freed, kept = _read(first), _read(second)
    first.send_signal(signal.SIGKILL)
    first.wait()
    assert _read(start_job(uuids=UUIDS[:2])) == freed != kept


def test_a_training_on_two_gpus_gets_two_that_are_free(start_job):
    assert _read(start_job()) == UUIDS[:1]
    assert _read(start_job(count=2)) == UUIDS[1:3]
    assert _read(start_job()) == UUIDS[3:]


def test_the_fifth_job_on_four_gpus_shares_one_and_says_so(start_job):
    jobs = [start_job() for _ in range(4)]
    taken = [_read(job)[0] for job in jobs]
    fifth = start_job()
    shared = _read(fifth)
    _, said = fifth.communicate()
    assert f"note: all GPUs are in use by other jobs of yours; sharing {shared[0]}" in said
    for job in jobs:
        _, said = job.communicate()
        assert said == ""
    assert shared == [UUIDS[0]] and len(set(taken)) == 4


def test_of_gpus_in_use_the_one_with_the_fewest_jobs_is_shared(tmp_path):
    two = FOUR[:2]
    assert [_claim(tmp_path, gpus=two) for _ in range(3)] == [UUIDS[0], UUIDS[1], UUIDS[0]]
    for lock in gpu_pool._held:
        if lock.lock_file.endswith(".0.lock"):  # the first two jobs end; the third still uses the first GPU
            lock.release()
    assert [_claim(tmp_path, gpus=two) for _ in range(3)] == [UUIDS[1], UUIDS[0], UUIDS[1]]


def test_a_variable_that_is_set_is_chosen_from_and_written_as_it_was(tmp_path):
    assert _claim(tmp_path, visible="2,3") == "2"
    assert _claim(tmp_path) == UUIDS[0]
    assert _claim(tmp_path, visible="2, 3") == "3"  # 2 is in use
    assert _claim(tmp_path, visible=f"{UUIDS[0]},GPU-1") == "GPU-1"  # a UUID cut short; the first is in use


@pytest.mark.parametrize("visible", ["", "-1", "NoDevFiles", " "])
def test_a_variable_that_hides_every_gpu_stays(tmp_path, visible):
    assert _claim(tmp_path / "locks", visible=visible) == visible
    assert not (tmp_path / "locks").exists()


@pytest.mark.parametrize("visible", ["1", UUIDS[1], "MIG-11111111-aaaa", "MIG-GPU-90000000-1111/1/0"])
def test_a_variable_that_leaves_no_choice_stays_without_a_word(tmp_path, visible, capfd):
    assert [_claim(tmp_path, visible=visible) for _ in range(2)] == [visible, visible]
    assert capfd.readouterr().err == ""


def test_what_a_variable_that_leaves_no_choice_names_is_in_use_for_others(tmp_path):
    assert _claim(tmp_path, visible="0") == "0"
    assert _claim(tmp_path) == UUIDS[1]


def test_devices_after_one_that_does_not_exist_do_not_count(tmp_path):
    assert [_claim(tmp_path, visible="1,9,2,3") for _ in range(2)] == ["1", "1"]  # as CUDA has it


def test_the_only_gpu_needs_no_variable(tmp_path, capfd):
    assert _claim(tmp_path, gpus=FOUR[:1]) is None and capfd.readouterr().err == ""
    assert _claim(tmp_path, gpus=FOUR[:1]) is None
    assert "sharing" in capfd.readouterr().err


def test_mig_devices_are_given_one_by_one(tmp_path):
    gpus = [DIVIDED, FOUR[0]]
    assert [_claim(tmp_path, gpus=gpus) for _ in range(3)] == [*DIVIDED.instances, UUIDS[0]]
    assert [_claim(tmp_path / "by number", gpus=gpus, visible="0") for _ in range(2)] == [*DIVIDED.instances]
    assert _claim(tmp_path / "named", gpus=gpus, visible=",".join(DIVIDED.instances)) == DIVIDED.instances[0]


def test_a_training_on_two_gpus_gets_no_mig_devices(tmp_path):
    assert _claim(tmp_path, 2, [DIVIDED, *FOUR]) == ",".join(UUIDS[:2])
    assert _claim(tmp_path, 2, [DIVIDED, *FOUR], visible="0,4,3") == "4,3"
    assert _claim(tmp_path, 2, [DIVIDED, *FOUR[:2]]) == ",".join(UUIDS[:2])  # no choice, but CUDA would begin with a MIG device


def test_where_there_are_too_few_nothing_is_taken(tmp_path):
    assert _claim(tmp_path / "locks", 5) is None
    assert not (tmp_path / "locks").exists()


def test_a_process_claims_once_and_a_rank_not_at_all(tmp_path):
    environment: dict[str, str] = {}
    for _ in range(2):
        claim_gpus(1, environment, lambda: FOUR, tmp_path)
    assert environment == {"CUDA_VISIBLE_DEVICES": UUIDS[0]} and len(gpu_pool._held) == 1
    gpu_pool._held.pop().release()
    rank = {"LOCAL_RANK": "1", "CUDA_VISIBLE_DEVICES": "0,1"}
    claim_gpus(1, rank, lambda: FOUR, tmp_path)
    assert rank["CUDA_VISIBLE_DEVICES"] == "0,1" and not gpu_pool._held


def test_what_nvidia_smi_lists_is_read():
    mig = ("MIG-c6d4f1ef-42e4-5de3-91c7-45d71c87eb3f", "MIG-cba663e8-9bed-5b25-b243-5985ef7c9beb")
    whole = Gpu("GPU-00000000-1111-2222-3333-444444444444")
    assert parse_gpus(LISTED) == [Gpu("GPU-5d5ba0d6-d33d-2b2c-524d-9e3d8d2b8a77", mig), whole]
    old = "GPU 0: A100 (UUID: GPU-b8ea)\n  MIG 3g.20gb Device 0: (UUID: MIG-GPU-b8ea/1/0)\n"
    assert parse_gpus(old) == [Gpu("GPU-b8ea", ("MIG-GPU-b8ea/1/0",))]


def test_without_a_driver_nothing_is_asked(monkeypatch, tmp_path):
    monkeypatch.setattr(hardware, "NVIDIA", tmp_path / "none")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("a program was run"))
    assert list_gpus() == []


@pytest.fixture
def machine(monkeypatch, tmp_path) -> Path:
    """A machine whose nvidia-smi, a file to be overwritten, lists FOUR; torch believes that it could use them."""
    program = tmp_path / "bin/nvidia-smi"
    program.parent.mkdir()
    lines = "".join(f"GPU {number}: NVIDIA H100 (UUID: {uuid})\n" for number, uuid in enumerate(UUIDS))
    program.write_text(f"#!/bin/sh\ncat <<END\n{lines}END\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    monkeypatch.setattr(hardware, "NVIDIA", program)
    monkeypatch.setattr(torch.backends.cuda, "is_built", lambda: True)
    monkeypatch.setattr(gpu_pool, "find_folder", lambda: tmp_path / "locks")
    # set back at the end, whatever the test's code sets
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    return program


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("echo Failed to initialize NVML: Driver/library version mismatch; exit 18", "Failed to initialize NVML"),
        ("exit 3", "code 3"),
    ],
)
def test_a_driver_that_does_not_answer_is_a_warning_with_a_way_out(machine, capfd, script, reason):
    machine.write_text(f"#!/bin/sh\n{script}\n")
    with pytest.raises(UserError, match=reason):
        list_gpus()
    claim_gpus(1)
    said = capfd.readouterr().err
    assert said.count("\n") == 1 and reason in said and "set CUDA_VISIBLE_DEVICES for each of them" in said
    assert "CUDA_VISIBLE_DEVICES" not in os.environ


def test_a_folder_of_somebody_else_is_a_warning(machine, monkeypatch, tmp_path, capfd):
    monkeypatch.setattr(gpu_pool, "find_folder", lambda: tmp_path / "bin/nvidia-smi/locks")
    claim_gpus(1)
    assert "warning: " in capfd.readouterr().err and "CUDA_VISIBLE_DEVICES" not in os.environ


def test_the_folder_is_of_this_user_alone(monkeypatch, tmp_path):
    monkeypatch.setattr(gpu_pool, "SHARED", tmp_path)
    folder = gpu_pool.find_folder()
    assert folder.parent == tmp_path and str(os.getuid()) in folder.name and folder.stat().st_mode & 0o777 == 0o700
    folder.rmdir()
    folder.symlink_to(tmp_path)
    with pytest.raises(UserError, match="belongs to another user"):
        gpu_pool.find_folder()


def _compute(device: str = "auto") -> ComputeParams:
    others = {"precision": "float32", "threads": 1, "deterministic": True, "channels_last": False, "compile": False}
    return ComputeParams(device=device, **others)


def test_a_stage_has_its_gpu_before_torch_first_asks_for_one(machine, monkeypatch):
    seen = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: bool(seen.append(os.environ.get("CUDA_VISIBLE_DEVICES"))))
    assert device.prepare_device(_compute()).type == "cpu"
    assert seen and set(seen) == {UUIDS[0]}


@pytest.mark.parametrize(
    "prepare", [lambda: device.prepare_device(_compute(device="cpu")), lambda: device.prepare_cpu(_compute())]
)
def test_a_stage_that_computes_on_the_cpu_takes_none(machine, monkeypatch, prepare):
    prepare()
    assert "CUDA_VISIBLE_DEVICES" not in os.environ and not gpu_pool._held


def test_torch_without_cuda_takes_none(machine, monkeypatch):
    monkeypatch.setattr(torch.backends.cuda, "is_built", lambda: False)
    device.prepare_device(_compute())
    assert not gpu_pool._held


def test_the_processes_of_a_training_share_what_was_taken_for_all(machine, monkeypatch):
    monkeypatch.setenv("DEPTHMASK_DEVICES", "2")
    started = []
    monkeypatch.setattr(launching, "launch", lambda command, count, _: started.append((count, dict(os.environ))) or 0)
    assert launching.on_every_device(device.prepare_cpu)([]) == 0
    ((count, environment),) = started
    assert count == 2 and environment["CUDA_VISIBLE_DEVICES"] == ",".join(UUIDS[:2]) and len(gpu_pool._held) == 2
    claim_gpus(1, environment | {"LOCAL_RANK": "0"})
    assert len(gpu_pool._held) == 2


IMPORTS = """import torch
asked = []
for name in ("is_available", "device_count", "_lazy_init"):
    setattr(torch.cuda, name, lambda: asked.append(1) or 0)
import stages.pretrain, stages.evaluate, stages.photos, stages.leaderboard.train
assert not asked, "torch has begun to use CUDA while a stage was imported"
torch.cuda.is_available()
assert asked
"""


@pytest.mark.slow
def test_importing_a_stage_does_not_begin_to_use_cuda():
    environ = os.environ | {"PYTHONPATH": str(PROJECT / "workflow")}
    done = subprocess.run([sys.executable, "-c", IMPORTS], env=environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("environment", "recorded"),
    [
        ({}, "GPU-a0"),
        ({"CUDA_VISIBLE_DEVICES": "2,3"}, "GPU-a0"),
        ({"CUDA_VISIBLE_DEVICES": "2,3", "LOCAL_WORLD_SIZE": "2"}, "GPU-a0, GPU-a1"),
        ({"CUDA_VISIBLE_DEVICES": "MIG-7"}, "MIG-7"),
        ({"CUDA_VISIBLE_DEVICES": "GPU-x,GPU-y", "LOCAL_WORLD_SIZE": "2"}, "GPU-x, GPU-y"),
    ],
)
def test_the_run_record_names_the_gpus(monkeypatch, environment, recorded):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    cuda = SimpleNamespace(
        is_available=lambda: True,
        get_device_name=lambda _: "H100",
        device_count=lambda: 2,
        get_device_properties=lambda number: SimpleNamespace(uuid=f"a{number}"),
    )
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))
    described = hardware.describe_hardware()
    assert described["gpu"] == "H100" and described["gpu_uuids"] == recorded
