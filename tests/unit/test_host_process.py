"""A program that imports depthmask and predicts with it stays as it was; our own processes are set up."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from depthmask.compute.device import prepare_device
from depthmask.loading.loader import _prepare_worker
from depthmask.models.model_file import DepthMaskModel, ModelCard, save_model
from depthmask.params import NetworkParams

SOURCE = Path(__file__).parents[2] / "workflow"
# what a host may have set, or left as it was. Not Python's own random numbers: other packages draw from them when imported
HOST = """
import json, logging, os, signal, sys, warnings
import cv2, numpy, torch
import ruamel.yaml, sympy  # both add filters of warnings when first imported, sympy by torch
import torch._dynamo  # names its own cache in the environment when torch first imports it, for any operation on the meta device
from torch.utils import deterministic
from PIL import Image, ImageFile

def look():
    return {
        "environment": dict(os.environ),
        "cv2 threads": cv2.getNumThreads(),
        "cv2 optimised": cv2.useOptimized(),
        "torch threads": [torch.get_num_threads(), torch.get_num_interop_threads()],
        "deterministic": [torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled(),
                          deterministic.fill_uninitialized_memory],
        "cudnn": [torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic, torch.backends.cudnn.allow_tf32],
        "matmul": [torch.get_float32_matmul_precision(), torch.backends.mkldnn.enabled],
        "dtype": str(torch.get_default_dtype()),
        "grad": [torch.is_grad_enabled(), torch.is_inference_mode_enabled()],
        "random": [hash(torch.get_rng_state().numpy().tobytes()), hash(numpy.random.get_state()[1].tobytes())],
        "handlers of signals": {str(s): repr(signal.getsignal(s)) for s in signal.valid_signals() if s not in (9, 19)},
        "filters of warnings": list(map(repr, warnings.filters)),
        "logging": [repr(logging.root.handlers), logging.root.level, logging.root.manager.disable],
        "hooks": [repr(sys.excepthook), repr(sys.stdout), repr(sys.stderr)],
        "pillow": [Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES],
        "openmp": read_openmp(),
    }

def read_openmp():
    import ctypes
    library = ctypes.CDLL(None)
    names = ("omp_get_dynamic", "omp_get_max_active_levels", "omp_get_max_threads")
    return {name: getattr(library, name)() for name in names if hasattr(library, name)}

cv2.setNumThreads(3)
torch.set_num_threads(2)
before = look()
import depthmask
predictor = depthmask.load(sys.argv[1], device="cpu")
answer = predictor.predict(numpy.full((48, 64, 3), 90, numpy.uint8))
assert answer.mask.shape == (48, 64)
print(json.dumps({name: [before[name], value] for name, value in look().items() if value != before[name]}))
"""
NO_MALLOPT = """
import ctypes, sys
class Library(ctypes.CDLL):
    def __getattr__(self, name):
        assert name != "mallopt", "mallopt was looked up"
        return super().__getattr__(name)
ctypes.CDLL = Library
"""


@pytest.fixture(scope="module")
def model_file(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    settings = NetworkParams(
        encoder="efficientnet_lite0", name="compact", width=4, dropout=0.0, background_input=False
    ).model_dump()
    save_model(DepthMaskModel(ModelCard(settings, (0.5,) * 3, (0.25,) * 3, "metre", 20.0, image_size_px=32)), path)
    return path


def run_host(script: str, model_file: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    steering = ("OMP_", "GOMP_", "DEPTHMASK_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(steering)}
    kept |= {"PYTHONPATH": str(SOURCE), **environment}
    command = [sys.executable, "-c", script, str(model_file)]
    return subprocess.run(command, env=kept, capture_output=True, text=True, timeout=180, check=False)


def test_loading_and_predicting_change_nothing_in_the_host_process(model_file):
    done = run_host(NO_MALLOPT + HOST, model_file)
    assert done.returncode == 0, done.stderr
    assert (json.loads(done.stdout), done.stderr) == ({}, "")


def test_the_look_at_the_host_finds_what_changes(model_file):
    changes = "cv2.setNumThreads(0); os.environ['GOMP_SPINCOUNT'] = '1000'"
    changing = HOST.replace("import depthmask\n", f"{changes}; import depthmask\n")
    done = run_host(changing, model_file)
    assert set(json.loads(done.stdout)) == {"environment", "cv2 threads"}, done.stderr


@pytest.mark.parametrize(
    ("environment", "words"),
    [({"OMP_THREAD_LIMIT": "1"}, "torch.set_num_threads(1)"), ({"OMP_DYNAMIC": "TRUE"}, "unset it")],
    ids=["limit", "dynamic"],
)
def test_threads_that_would_wait_forever_are_rejected_and_not_changed(model_file, environment, words):
    done = run_host(HOST, model_file, **environment)
    assert done.returncode == 1
    assert "UserError: environment: OMP_" in done.stderr and words in done.stderr.splitlines()[-1]


def test_a_stage_sets_the_environment_before_torch_is_loaded():
    script = "import os, sys, stages; print(os.environ['GOMP_SPINCOUNT'], 'torch' in sys.modules)"
    done = run_host(script, Path("none"))
    assert done.stdout.split() == ["1000", "False"], done.stderr


PREPARING = """
import sys, torch
from depthmask.compute.device import prepare_device
from depthmask.params import ComputeParams
for wanted in (True, False, True):
    others = {"device": "cpu", "precision": "auto", "threads": 1, "channels_last": True, "compile": False}
    prepare_device(ComputeParams(deterministic=wanted, **others))
    assert torch.are_deterministic_algorithms_enabled() is wanted
    assert not torch.is_deterministic_algorithms_warn_only_enabled()
print([name for name in ("torch._dynamo", "torch._inductor") if name in sys.modules])
"""


def test_a_stage_is_deterministic_without_loading_the_compiler():
    done = run_host(PREPARING, Path("none"))
    assert done.stdout.split("\n")[0] == "[]", done.stderr


class ThreadsOfOpenCv(Dataset):
    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> int:
        return cv2.getNumThreads()


def test_opencv_is_single_threaded_in_trainings_and_their_workers(params):
    before, threads = cv2.getNumThreads(), torch.get_num_threads()
    is_deterministic = torch.are_deterministic_algorithms_enabled()
    try:
        cv2.setNumThreads(2)
        for method in ("fork", "spawn"):
            loader = DataLoader(
                ThreadsOfOpenCv(), batch_size=None, num_workers=1, worker_init_fn=_prepare_worker, multiprocessing_context=method
            )
            assert list(loader) == [1, 1], method
        prepare_device(params.compute.model_copy(update={"device": "cpu"}))
        assert cv2.getNumThreads() == 1
    finally:
        cv2.setNumThreads(before)
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(is_deterministic)
