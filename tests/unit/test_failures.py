"""What a machine cannot do ends in one line that names the keys to lower; what is a fault of the program keeps its traceback."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import yaml
from torch import nn

from depthmask.base.entry_points import print_errors_as_lines
from depthmask.base.errors import UserError
from depthmask.base.failures import KEYS, explain_failure, name_stage
from depthmask.loading.loader import explain_lost_workers
from depthmask.metrics import gather
from stages import pretrain
from stages import split as split_stage

ROOT = Path(__file__).resolve().parents[2]
HUGE = 1 << 52  # bytes, more than any processor addresses


def catch(act) -> Exception:
    with pytest.raises(Exception) as caught:
        act()
    return caught.value


def overflow_batch_norm() -> None:
    nn.BatchNorm2d(2).train()(torch.zeros(1, 2, 1, 1))


REAL = {
    "numpy": (lambda: np.zeros(HUGE, np.uint8), "not enough memory for another 4.5e+06 GB; lower"),
    "torch": (
        lambda: torch.zeros(HUGE, dtype=torch.uint8),
        "not enough memory for another 4.5e+06 GB; lower",
    ),
    "python": (lambda: bytearray(HUGE), "not enough memory; lower pretrain.batch_size"),
    "batch norm": (overflow_batch_norm, "batch norm needs more than one value of each channel; raise batch_size"),
    "integer": (lambda: np.arange(3, dtype=np.int32) + 10**30, "too large to compute with"),
    "opencv, no side": (lambda: cv2.resize(np.zeros((0, 4, 3), np.uint8), (4, 4)), "an image has a side of 0 px"),
    "opencv, no size": (lambda: cv2.resize(np.zeros((4, 4, 3), np.uint8), (0, 0)), "an image has a side of 0 px"),
}


@pytest.mark.parametrize("name", REAL)
def test_a_librarys_own_exception_is_explained(name):
    act, printed = REAL[name]
    error = catch(act)
    explained = explain_failure(error, "pretrain")
    assert explained is not None, repr(error)
    assert explained.message.startswith("pretrain: ") and printed in explained.message and "\n" not in str(explained)


class OutOfMemoryError(RuntimeError):
    """As CUDA's is called."""


@pytest.mark.parametrize(
    "error",
    [
        OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 8 GiB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to"),
        RuntimeError("[enforce fail] data. DefaultCPUAllocator: not enough memory: you tried to allocate 10 bytes."),
        RuntimeError("Caught _ArrayMemoryError in DataLoader worker process 0.\nnumpy...: Unable to allocate 7.28 TiB"),
        RuntimeError("MPS backend out of memory (MPS allocated: 4 GB)"),
        OSError(12, "Cannot allocate memory"),
    ],
)
def test_what_cannot_be_raised_here_is_known_by_its_words(error):
    for stage, keys in KEYS.items():
        assert explain_failure(error, stage).message.endswith(f"; lower {keys}")
    assert "the sizes of images" in explain_failure(error, "unknown").message


@pytest.mark.parametrize(
    "act",
    [
        lambda: 1 // 0,
        lambda: {}["batch_size"],
        lambda: torch.zeros(2) + torch.zeros(3),
        lambda: cv2.cvtColor(np.zeros((4, 4), np.uint8), cv2.COLOR_RGB2GRAY),
        lambda: int("memory"),
    ],
)
def test_a_fault_of_the_program_keeps_its_traceback(act):
    error = catch(act)
    assert explain_failure(error, "pretrain") is None
    with pytest.raises(type(error)):
        print_errors_as_lines(act)()


def test_a_stage_is_named_by_its_script():
    assert name_stage(pretrain.main) == "pretrain"


def test_a_prediction_that_is_not_finite_is_a_line_with_what_to_do():
    maps = torch.full((1, 1, 4, 4), float("nan"))
    with pytest.raises(UserError, match="predicted mask has values that are not finite; train again with a lower learning_rate"):
        gather(maps, maps, None)


def test_a_mistake_in_a_loader_process_is_its_own_line_alone():
    text = "Caught UserError in DataLoader worker process 0.\nOriginal Traceback (most recent call last):\n  File x\n"
    with pytest.raises(UserError) as printed, explain_lost_workers():
        raise UserError(f"{text}depthmask.base.errors.UserError: rooms/3.jpg: damaged image; remove it\n")
    assert str(printed.value) == "rooms/3.jpg: damaged image; remove it"


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 1])
def test_a_training_without_enough_memory_ends_in_one_line(tmp_path, raw, start, workers):
    """In a process that may take little more than its libraries, with the check's refusal left out."""
    values = yaml.safe_load((ROOT / "params.yaml").read_text())
    values["pretrain"] |= {"image_size_px": 512, "batch_size": 64, "samples_per_epoch": 64, "epochs": 1, "validation_samples": 1}
    values["compute"] |= {"threads": 1, "device": "cpu"}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(values))
    assert split_stage.main(["--params", f"{tmp_path}/params.yaml", "--raw", str(raw), "--out", f"{tmp_path}/split"]) == 0
    inputs = [("--raw", raw), ("--split", "split"), ("--start", start)]
    files = [*inputs, ("--weights", "w"), ("--history", "h.csv"), ("--run", "run.json")]
    # torch for CUDA takes 3 GB of addresses by being imported, torch for the CPU 0.6
    measure = [sys.executable, "-c", "import psutil, torch; print(psutil.Process().memory_info().vms)"]
    limit = int(subprocess.check_output(measure)) + (5 << 29)
    command = [sys.executable, "-m", "stages.pretrain", *(str(word) for pair in files for word in pair)]
    environment = os.environ | {"PYTHONPATH": str(ROOT / "workflow"), "DEPTHMASK_WORKERS": str(workers), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)),
    )
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("error: pretrain: not enough memory") and "lower pretrain.batch_size, pretrain.image_size_px" in last
    assert not (tmp_path / "w").exists()


MORE = "; `dvc status` or `git status` may say more"


def make_error(module: str, name: str, text: str) -> Exception:
    """An exception of a package that need not be installed for this."""
    return type(name, (Exception,), {"__module__": module})(text)


@pytest.mark.parametrize(
    ("error", "printed"),
    [
        (catch(lambda: "photos/caf\udce9.jpg".encode()), r"split: photos/caf\xe9.jpg: a name that is not UTF-8; rename it"),
        (
            make_error("dvc.exceptions", "DvcException", "cannot\nlock"),
            f"split: DVC: cannot lock{MORE}",
        ),
        (make_error("dvc_data.index", "Error", ""), f"split: DVC: Error{MORE}"),
        (make_error("scmrepo.exceptions", "SCMError", "no HEAD"), f"split: git: no HEAD{MORE}"),
        (
            make_error("_pygit2", "GitError", "dubious owner"),
            f"split: git: dubious owner{MORE}",
        ),
    ],
)
def test_names_and_the_tools_own_errors_are_one_line(error, printed):
    assert str(explain_failure(error, "split")) == printed


def test_text_that_is_no_name_keeps_its_traceback():
    assert explain_failure(catch(lambda: "é".encode("ascii")), "split") is None
