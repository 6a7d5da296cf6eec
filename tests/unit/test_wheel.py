"""depthmask installed from its wheel, without the repository: what works with photos and a model file alone."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from depthmask.base import errors
from depthmask.base.errors import format_install_command
from depthmask.cli import COMMANDS

ROOT = Path(__file__).resolve().parents[2]
PACKAGED = ("pyproject.toml", "README.md", "LICENSE", "workflow")  # what a wheel is made from
MODEL = ROOT / "workflow/depthmask/serving/shipped_models/with_background.safetensors"
SMALL = ("--size-px", "64")
PATIENCE_S = 120


def list_tracked() -> list[str]:
    """What git has, or will have, of the files that a wheel is made from."""
    command = ["git", "ls-files", "-co", "--exclude-standard", "-z", *PACKAGED]
    listed = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True).stdout.decode().split("\0")
    return [name for name in listed if name and (ROOT / name).is_file()]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """Built from a copy, because setuptools leaves folders beside the sources."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in list_tracked():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, source / name)
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--no-index",
        "-w",
        out,
        source,
    ]
    subprocess.run(list(map(str, command)), check=True, capture_output=True)
    (path,) = out.glob("depthmask-*.whl")
    return path


@pytest.fixture(scope="module")
def environment(wheel, tmp_path_factory) -> Path:
    """A fresh virtual environment with the wheel; its dependencies are found where this environment has them."""
    root = tmp_path_factory.mktemp("fresh") / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", root], check=True)
    install = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        root / "bin/python",
        "install",
        "--quiet",
        "--no-deps",
        "--no-index",
        wheel,
    ]
    subprocess.run(list(map(str, install)), check=True, capture_output=True)
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    # a .pth file in a folder named by one is not read: an editable installation there is not found
    (root / "lib" / version / "site-packages/dependencies.pth").write_text(f"{sysconfig.get_paths()['purelib']}\n")
    return root


@pytest.fixture
def photos(tmp_path) -> Path:
    """A folder with a photo, the clean background and a model file, and nothing else."""
    folder = tmp_path / "photos"
    folder.mkdir()
    room = Image.open(ROOT / "data/demo/bg/000.jpg").convert("RGB")
    room.save(folder / "dog_background.png")
    figure = Image.open(sorted((ROOT / "data/demo/fg").iterdir())[0]).convert("RGBA").resize((60, 120))
    room.paste(figure, (80, 60), figure)
    room.save(folder / "dog.png")
    shutil.copyfile(MODEL, folder / "model.safetensors")
    return folder


def run(environment: Path, folder: Path, *command: object) -> subprocess.CompletedProcess[str]:
    """A command of the environment, which no variable leads to this repository."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "DEPTHMASK"))}
    call = [str(environment / "bin" / str(command[0])), *map(str, command[1:])]
    return subprocess.run(call, cwd=folder, env=clean, capture_output=True, text=True)


@pytest.mark.slow
def test_the_wheel_has_every_file_of_the_package_and_no_other(wheel):
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if ".dist-info/" not in name}
    prefix = "workflow/"
    assert packed == {name.removeprefix(prefix) for name in list_tracked() if name.startswith(f"{prefix}depthmask/")}


@pytest.mark.slow
def test_photos_are_predicted_and_models_exported_and_loaded(environment, photos):
    done = run(environment, photos, "depthmask", "predict", "dog.png", "--model", "model.safetensors", "--out", "made", *SMALL)
    assert done.returncode == 0, done.stderr
    predicted = json.loads((photos / "made/predictions.json").read_text())
    assert predicted["models"][0]["network"] and (photos / "made/dog_depth.png").is_file()
    with Image.open(photos / "dog.png") as photo, Image.open(photos / "made/dog_mask.png") as mask:
        assert mask.size == photo.size and np.ptp(np.asarray(mask)) > 100
    done = run(environment, photos, "depthmask", "export", "--model", "model.safetensors", "--out", "again.safetensors")
    assert done.returncode == 0 and (photos / "again.md").is_file(), done.stderr
    code = (
        "import depthmask, sys\n"
        "model = depthmask.load('again.safetensors', size_px=64)\n"
        "made = model.predict('dog.png', background='dog_background.png')\n"
        "print(depthmask.__file__, made.mask.shape, made.depth_unit, float(made.depth.max()) > 0)\n"
        "alone = depthmask.load_shipped(background_input=False)\n"  # a model file of the package
        "print(alone.predict('dog.png').mask.shape == made.mask.shape)\n"
    )
    done = run(environment, photos, "python", "-c", code)
    assert done.returncode == 0, done.stderr
    where, *said = done.stdout.split(maxsplit=1)
    assert Path(where).is_relative_to(environment)
    with Image.open(photos / "dog.png") as photo:
        assert said == [f"({photo.height}, {photo.width}) metre True\nTrue\n"]


@pytest.mark.slow
def test_every_command_starts_and_says_in_one_line_what_it_lacks(environment, photos):
    code = (
        "import importlib, sys\n"
        "from depthmask.cli import COMMANDS\n"
        "print(*COMMANDS)\n"
        "for module, _ in COMMANDS.values(): importlib.import_module(module)\n"
    )
    done = run(environment, photos, "python", "-c", code)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == list(COMMANDS)
    for command in (["check"], ["recipe"], ["dataset", "--count", "2", "--out", "made"]):
        done = run(environment, photos, "depthmask", *command)
        lines = done.stderr.splitlines()
        assert done.returncode in (1, 2) and "Traceback" not in done.stderr
        assert [line for line in lines if line.startswith("error: ")] == lines[-1:], done.stderr
        assert "site-packages" not in done.stderr, "a folder that no user knows"


@pytest.mark.slow
def test_the_page_starts_or_says_which_package_it_needs(environment, photos):
    if find_spec("gradio") is None:
        done = run(environment, photos, "depthmask", "app", "--port", 0)
        said = "error: app: the page needs the package gradio: pip install 'depthmask[app]'\n"
        assert (done.returncode, done.stderr) == (1, said), done.stderr
        return
    command = [environment / "bin/depthmask", "app", "--port", "0", "--model", "model.safetensors", *SMALL]
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "DEPTHMASK"))}
    with subprocess.Popen(list(map(str, command)), cwd=photos, env=clean, stdout=subprocess.PIPE, text=True) as process:
        line = process.stdout.readline()
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE_S) == 130
    assert line.startswith("http://127.0.0.1:"), line


def test_packages_of_extras_are_installed_from_the_clone_or_else_by_name(monkeypatch, tmp_path):
    assert format_install_command("hub") == "pip install -e '.[hub]'"
    monkeypatch.setattr(errors, "PROJECT", tmp_path / "pyproject.toml")
    assert format_install_command("hub") == "pip install 'depthmask[hub]'"


def test_every_hint_names_an_extra_that_there_is():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    code = {path: path.read_text() for path in sorted((ROOT / "workflow").rglob("*.py"))}
    named = {name for text in code.values() for name in re.findall(r'format_install_command\("([^"]*)"\)', text)}
    assert {"app", "hub", "video"} <= named <= set(extras)
    spelled_out = [path.name for path, text in code.items() if "pip install -e" in text]
    assert spelled_out == ["errors.py"], "others call format_install_command"
