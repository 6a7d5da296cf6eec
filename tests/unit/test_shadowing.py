"""A file that a stage would import in place of a package is named before it is imported."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from depthmask.base.shadowing import find_shadows, find_strangers

ROOT = Path(__file__).parents[2]
RAN = "raise SystemExit('the stranger ran')\n"


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """The code alone, in a folder of its own."""
    root = tmp_path_factory.mktemp("shadowing") / "project"
    shutil.copytree(ROOT / "workflow", root / "workflow", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "params.yaml", root)
    return root


def run_module(project, *command):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return subprocess.run(
        [sys.executable, *command],
        cwd=project,
        env=environment | {"PYTHONPATH": "workflow", "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
    )


def make(place):
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(RAN)
    return place


STRANGERS = [
    "workflow/yaml/__init__.py",
    "workflow/rich.py",
    "workflow/json.py",
    "workflow/google/protobuf/__init__.py",
    "pydantic.py",
]
COMMANDS = {"stage": ("-m", "stages.check", "--out", "check.txt"), "command": ("-m", "depthmask", "check")}


@pytest.mark.parametrize("stranger", STRANGERS)
@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_nothing_starts_beside_a_file_that_hides_a_package(project, stranger, command):
    place = make(project / stranger)
    try:
        done = run_module(project, *command)
    finally:
        place.unlink()
        top = project / Path(stranger).parts[0] / Path(stranger).parts[1] if stranger.startswith("workflow") else place
        if top.is_dir():
            shutil.rmtree(top)
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1, done.stderr
    assert done.stderr.startswith("error: ") and "could be imported instead of a package; remove it" in done.stderr
    assert Path(stranger).parts[-1 if "__init__" not in stranger else 1] in done.stderr
    assert "the stranger ran" not in done.stdout + done.stderr


def test_without_strangers_all_starts(project):
    assert run_module(project, "-m", "depthmask", "--help").returncode == 0


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("x.py", True),
        ("x.cpython-311-x86_64-linux-gnu.so", True),
        ("depthmask.py", True),
        ("x/__init__.py", True),
        ("x/deeper/y.py", True),
        ("captions/__init__.py", True),
        ("captions/x.rst", False),
        ("depthmask/x.py", False),
        ("__pycache__/x.cpython-311.pyc", False),
        ("common.smk", False),
        (".hidden/__init__.py", False),
        ("my-notes/x.py", False),
        ("x.txt", False),
    ],
)
def test_what_python_would_import_is_a_stranger_and_nothing_else(tmp_path, name, found):
    make(tmp_path / name)
    assert find_strangers(str(tmp_path)) == ([Path(name).parts[0]] if found else [])


def test_of_the_working_folder_only_what_hides_something(tmp_path):
    for name in ("my_analysis.py", "numpy.py", "json/__init__.py", "yaml/x.py", "depthmask.py", "docs/x.md"):
        make(tmp_path / name)
    assert find_shadows(str(tmp_path)) == ["depthmask.py", "json", "numpy.py"]


def test_the_projects_own_folders_are_in_order_and_looked_at_in_a_moment():
    since = time.perf_counter()
    assert find_strangers(str(ROOT / "workflow")) == [] and find_shadows(str(ROOT)) == []
    assert time.perf_counter() - since < 0.1
