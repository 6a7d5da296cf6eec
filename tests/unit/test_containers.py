"""The Dockerfile and the Apptainer definition: what can be checked without building them."""

from __future__ import annotations

import fnmatch
import os
import re
import shlex
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "containers"
DOCKERFILE, DEFINITION = FOLDER / "Dockerfile", FOLDER / "depthmask.def"
INSTALL = "containers/install.sh"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def list_instructions() -> list[tuple[str, str]]:
    """Name and rest of each instruction of the Dockerfile, continued lines joined."""
    lines = [line for line in DOCKERFILE.read_text().splitlines() if not line.startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ").splitlines()
    return [(name, rest.strip()) for name, _, rest in (line.partition(" ") for line in joined if line)]


def list_sections() -> dict[str, list[str]]:
    """The lines of each section of the definition."""
    parts = re.split(r"^%(\w+)\n", DEFINITION.read_text(), flags=re.MULTILINE)
    return {name: [line.strip() for line in body.splitlines() if line.strip()] for name, body in zip(parts[1::2], parts[2::2])}


def is_sent(name: str) -> bool:
    """Whether Docker sends a file to the build: the last line that matches it, or a folder above it, decides."""
    sent = True
    for line in (FOLDER / "Dockerfile.dockerignore").read_text().splitlines():
        pattern = line.removeprefix("!")
        above = [name, *map(str, Path(name).parents)]
        if line and not line.startswith("#") and any(fnmatch.fnmatch(one, pattern) for one in above):
            sent = line.startswith("!")
    return sent


def test_what_is_copied_is_there_and_sent_to_the_build():
    copied = [shlex.split(rest)[:-1] for name, rest in list_instructions() if name == "COPY" and "--from=" not in rest]
    sources = [source for group in copied for source in group]
    assert {"pyproject.toml", "requirements.lock", "workflow", INSTALL} <= set(sources)
    for source in sources:
        assert (ROOT / source).exists() and is_sent(source), source
    assert is_sent("workflow/depthmask/cli.py")
    for left_out in (".git/config", "data/demo/pack.json", ".venv/bin/python", "workflow/depthmask/__pycache__/cli.pyc"):
        assert not is_sent(left_out), left_out
    files = [line.split()[0] for line in list_sections()["files"]]
    assert sorted(files) == sorted(sources)


def test_it_does_not_run_as_root_and_needs_no_name_for_its_user():
    instructions = list_instructions()
    last_stage = instructions[max(number for number, (name, _) in enumerate(instructions) if name == "FROM") :]
    (user,) = [rest for name, rest in last_stage if name == "USER"]
    assert user.isdecimal() and int(user) >= 1000
    assert last_stage.index(("USER", user)) > max(number for number, (name, _) in enumerate(last_stage) if name == "RUN")


def test_both_install_alike_with_a_python_and_extras_that_the_project_allows():
    bases = {rest.split()[0] for name, rest in list_instructions() if name == "FROM"}
    assert len(bases) == 1 and f"From: {next(iter(bases))}" in DEFINITION.read_text()
    minor = int(re.fullmatch(r"python:3\.(\d+)-slim-\w+", next(iter(bases)))[1])
    low, high = map(int, re.fullmatch(r">=3\.(\d+),<3\.(\d+)", PROJECT["requires-python"]).groups())
    assert low <= minor < high
    arguments = dict(rest.split("=") for name, rest in list_instructions() if name == "ARG")
    assert dict(line.split("=") for line in list_sections()["arguments"]) == arguments
    assert arguments["COMPUTE"] == "cpu"
    assert set(arguments["EXTRAS"].split(",")) <= set(PROJECT["optional-dependencies"])
    assert f'RUN {INSTALL} /opt/depthmask "$COMPUTE" "$EXTRAS"' in DOCKERFILE.read_text()
    assert f'{INSTALL} /opt/depthmask "{{{{ COMPUTE }}}}" "{{{{ EXTRAS }}}}"' in list_sections()["post"]


@pytest.mark.parametrize(("compute", "extras", "target"), [("cpu", "export", ".[export]"), ("cuda", "", "."), ("gpu", "", None)])
def test_the_script_installs_the_pinned_versions(compute, extras, target, tmp_path):
    """With a Python whose environment has a pip that only notes what it is asked for."""
    shutil.copy(ROOT / "requirements.lock", tmp_path)
    made, called = tmp_path / "made", tmp_path / "called"
    (tmp_path / "bin").mkdir()
    note = f'#!/bin/sh\necho $(basename "$0") "$@" >> {called}\n'
    (tmp_path / "note").write_text(note)
    (tmp_path / "note").chmod(0o755)
    stub = f'#!/bin/sh\nmkdir -p "$3/bin"; for name in pip depthmask; do cp {tmp_path / "note"} "$3/bin/$name"; done\n'
    (tmp_path / "bin/python3").write_text(stub)
    (tmp_path / "bin/python3").chmod(0o755)
    environment = os.environ | {"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"}
    done = subprocess.run([ROOT / INSTALL, made, compute, extras], cwd=tmp_path, env=environment, capture_output=True, text=True)
    if target is None:
        assert (done.returncode, done.stderr) == (2, "error: COMPUTE=gpu; allowed: cpu or cuda\n")
        return
    assert done.returncode == 0, done.stderr
    pinned = re.search(r"^torch==\S+", (ROOT / "requirements.lock").read_text(), re.MULTILINE)[0]
    torch = [f"pip install --no-deps --index-url https://download.pytorch.org/whl/cpu {pinned}"] if compute == "cpu" else []
    assert called.read_text().splitlines() == [*torch, f"pip install --constraint requirements.lock {target}", "depthmask --help"]


@pytest.mark.skipif(shutil.which("hadolint") is None, reason="hadolint is not installed (extra dev)")
def test_hadolint_finds_nothing():
    done = subprocess.run(["hadolint", "--no-color", DOCKERFILE], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")
