"""Loader processes work whatever the length of TMPDIR."""

from __future__ import annotations

import multiprocessing
import multiprocessing.util
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from depthmask.base.errors import UserError
from depthmask.loading import sockets
from depthmask.loading.sockets import TMPDIR_BYTES_MAX, is_short, prepare_socket_folder

LOADING = """
import torch
from depthmask.loading.dataset import SampleSet
from depthmask.loading.loader import load_ahead

class Numbers(SampleSet):
    def _fill(self, batch, epochs, indices):
        for place, index in enumerate(indices):
            batch.image[place] = index

if __name__ == "__main__":
    samples = Numbers(4, 16, 0, None, False)
    places = [[(0, 0), (0, 1)], [(0, 2), (0, 3)]]
    for batch in load_ahead(samples, places, 2, torch.device("cpu"), False):
        print([round(float(image.amax()) * 255) for image in batch.image_B3HW])
"""


def make_long(folder: Path) -> Path:
    long = folder / ("t" * (TMPDIR_BYTES_MAX + 1))
    long.mkdir()
    return long


@pytest.fixture
def short(monkeypatch):
    """A folder with a short path, the only one; no folder for sockets has been made."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        monkeypatch.setattr(sockets, "SHORT_FOLDERS", (folder,))
        monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
        monkeypatch.setattr(multiprocessing.current_process(), "_config", {})
        monkeypatch.setattr(multiprocessing.util, "_finalizer_registry", {})  # what is made here is removed here
        yield Path(folder)


def test_with_a_long_tmpdir_sockets_are_in_a_short_private_folder(short, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(make_long(tmp_path)))
    for _ in range(2):  # for each phase
        prepare_socket_folder()
    (made,) = short.iterdir()
    assert made.stat().st_mode & 0o777 == 0o700
    assert multiprocessing.util.get_temp_dir() == str(made), "workers inherit it"
    assert tempfile.gettempdir().endswith("ttt"), "other temporary files stay in TMPDIR"


def test_with_a_short_tmpdir_nothing_is_made(short, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", "/tmp")
    prepare_socket_folder()
    assert not list(short.iterdir())
    assert is_short("/" + "t" * (TMPDIR_BYTES_MAX - 1)) and not is_short("/" + "é" * (TMPDIR_BYTES_MAX // 2 + 1)), "bytes count"


def test_without_any_short_folder_it_is_one_line(short, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(make_long(tmp_path)))
    short.rmdir()
    with pytest.raises(UserError, match=r"^environment: TMPDIR=/.*ttt is too long .* at most \d+ bytes, or DEPTHMASK_WORKERS=0$"):
        prepare_socket_folder()
    short.mkdir()


@pytest.mark.slow
def test_loader_processes_load_under_a_long_tmpdir_and_leave_nothing(tmp_path):
    """In a process of its own, since without a short folder it would never end."""
    script, long = tmp_path / "loading.py", make_long(tmp_path)
    script.write_text(LOADING)
    with tempfile.TemporaryDirectory(dir="/tmp") as short:
        environment = os.environ | {"TMPDIR": str(long), "XDG_RUNTIME_DIR": short, "PYTHONPATH": os.pathsep.join(sys.path)}
        done = subprocess.run([sys.executable, script], env=environment, capture_output=True, text=True, timeout=120)
        assert (done.returncode, done.stdout) == (0, "[0, 1]\n[2, 3]\n"), done.stderr
        assert not list(Path(short).iterdir()) and not list(long.iterdir())
