"""A clone that was moved or copied, with its environment or without, runs its own code."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from depthmask.base import own_code
from depthmask.base.errors import UserError
from depthmask.base.own_code import find_own_code, find_project

ROOT = Path(__file__).resolve().parents[2]
COMMAND = ["/env/bin/python", "/env/bin/depthmask", "check"]
STAGE = ["python", "-X", "utf8", "-m", "stages.check", "--out", "x"]

# stands in for the Python that makes environments: what it installs names its folder as pip's commands do
MAKER = r"""#!/bin/sh
case "$*" in
  -V) echo Python 3.11.7;;
  "-m venv"*)
    rm -rf .venv; mkdir -p .venv/bin .venv/lib/python3.11/site-packages; echo venv >> made.log; cp "$0" .venv/bin/python;;
  *"--version"*) [ -e .venv/bin/pip ] || exit 1;;
  *"-r requirements.lock"*)
    echo packages >> made.log
    for name in pip dvc snakemake; do printf '#!%s/.venv/bin/python\n' "$(pwd -P)" > .venv/bin/$name; done;;
  *"-e .")
    echo depthmask >> made.log
    printf "#!/bin/sh\n'''exec' \"%s/.venv/bin/python\" \"\$0\"\n" "$(pwd -P)" > .venv/bin/depthmask
    echo "$(pwd -P)/workflow" > .venv/lib/python3.11/site-packages/__editable__.depthmask-0.1.0.pth;;
esac
"""
ALL = ["venv", "packages", "depthmask"]


def make(clone: Path) -> tuple[list[str], list[str]]:
    """What `make` installs, and its notes."""
    (clone / "made.log").unlink(missing_ok=True)
    command = ["make", f"PYTHON={clone.parent / 'maker'}", ".venv/.installed"]
    done = subprocess.run(command, cwd=clone, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    log = clone / "made.log"
    notes = [line for line in done.stdout.splitlines() if line.startswith("note: ")]
    return log.read_text().split() if log.exists() else [], notes


@pytest.fixture
def clone(tmp_path) -> Path:
    """What `make` needs to set up an environment, which it has done."""
    root = tmp_path / "first clone"
    root.mkdir()
    (tmp_path / "maker").write_text(MAKER)
    (tmp_path / "maker").chmod(0o755)
    shutil.copy(ROOT / "Makefile", root)
    for name in ("requirements.lock", "pyproject.toml"):
        (root / name).write_text("")
    assert make(root) == (ALL, [])
    assert make(root) == ([], []), "it is done once"
    return root


def test_a_moved_clone_gets_its_environment_made_again_with_a_line(clone):
    moved = clone.rename(clone.with_name("moved"))
    assert make(moved) == (
        ALL,
        ["note: .venv was set up in another folder: this clone was moved or copied; making it again"],
    )
    assert str(moved) in (moved / ".venv/bin/dvc").read_text()
    assert make(moved) == ([], [])


def test_a_copied_clone_gets_an_environment_of_its_own(clone):
    copy = shutil.copytree(clone, clone.with_name("copy"), symlinks=True)
    installed, (note,) = make(copy)
    assert installed == ALL and "moved or copied" in note
    assert make(clone) == ([], []), "the first one's is left alone"


def test_an_interrupted_installation_in_a_moved_clone_is_begun_from_scratch(clone):
    (clone / ".venv/.installed").unlink()
    (clone / ".venv/bin/depthmask").unlink()
    installed, notes = make(clone.rename(clone.with_name("moved")))
    assert installed == ALL and len(notes) == 1


def test_an_environment_whose_python_is_gone_is_made_again(clone):
    (clone / ".venv/bin/python").unlink()
    (clone / ".venv/bin/python").symlink_to("/nowhere/python3")
    installed, notes = make(clone)
    assert installed == ALL and notes == ["note: .venv lacks its Python, which was moved or removed; making it again"]


def test_depthmask_installed_from_another_folder_is_installed_again(clone):
    (pth,) = (clone / ".venv").rglob("*.pth")
    pth.write_text("/somewhere/else/workflow\n")
    installed, notes = make(clone)
    assert installed == ["packages", "depthmask"], "the environment itself is kept"
    assert notes == ["note: .venv runs the code of another folder; installing this one"]
    assert make(clone) == ([], [])


def test_a_link_to_another_environment_is_used_or_replaced_but_what_it_leads_to_is_left_alone(clone):
    second = clone.with_name("second")
    second.mkdir()
    for name in ("Makefile", "requirements.lock", "pyproject.toml"):
        shutil.copy2(clone / name, second)
    (second / ".venv").symlink_to(clone / ".venv")
    assert make(second) == ([], [])
    moved = clone.rename(clone.with_name("moved"))
    (second / ".venv").unlink()
    (second / ".venv").symlink_to(moved / ".venv")
    before = sorted(path.name for path in (moved / ".venv").rglob("*"))
    assert make(second)[0] == ALL and not (second / ".venv").is_symlink()
    assert sorted(path.name for path in (moved / ".venv").rglob("*")) == before


@pytest.fixture
def other(tmp_path) -> Path:
    """A clone with code of its own, as far as it is recognised by."""
    root = tmp_path / "other"
    (root / "workflow/depthmask").mkdir(parents=True)
    (root / "workflow/depthmask/cli.py").write_text("")
    (root / "dvc.yaml").write_text("")
    (root / "data/photos").mkdir(parents=True)
    (root / "leaderboard").mkdir()
    (root / "leaderboard/dvc.yaml").write_text("")
    (root / "leaderboard/workflow").symlink_to("../workflow")
    return root


@pytest.mark.parametrize("command", [COMMAND, STAGE, ["python", "-m", "depthmask", "check"]])
@pytest.mark.parametrize("folder", [".", "data/photos", "leaderboard"])
def test_a_command_runs_the_code_of_the_clone_it_is_in(other, monkeypatch, command, folder):
    monkeypatch.delenv("PYTHONPATH", raising=False)
    assert find_own_code(command, other / folder) == other / "workflow"


def test_all_else_stays_as_it_is(other, tmp_path, monkeypatch):
    monkeypatch.delenv("PYTHONPATH", raising=False)
    assert find_own_code(COMMAND, ROOT) is None and find_own_code(COMMAND, ROOT / "leaderboard") is None
    assert find_own_code(COMMAND, tmp_path) is None and find_project(tmp_path) is None
    for command in (["python", "-m", "pytest"], ["python", "script.py", "depthmask"], ["python", "-c", "x"], ["python"]):
        assert find_own_code(command, other) is None, command
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(["", os.path.relpath(ROOT / "workflow", other)]))
    assert find_own_code(COMMAND, other) is None, "PYTHONPATH is the user's choice"


def test_code_is_not_run_unasked_where_a_user_need_not_expect_it(other, tmp_path, monkeypatch):
    line = rf"^{other} has code of its own, but this command is that of .*; run make there, .* PYTHONPATH={other}/workflow before"
    monkeypatch.delenv("PYTHONPATH", raising=False)
    monkeypatch.setattr(os, "geteuid", lambda: 4711)
    with pytest.raises(UserError, match=line):  # it belongs to another user
        find_own_code(COMMAND, other)
    monkeypatch.undo()
    monkeypatch.setenv("PYTHONPATH", str(other / "workflow"))
    with pytest.raises(UserError, match=line):  # it was started again, without effect
        find_own_code(COMMAND, other)
    monkeypatch.delenv("PYTHONPATH")
    monkeypatch.setattr(own_code, "SOURCE", tmp_path / "site-packages")
    with pytest.raises(UserError, match=line):  # depthmask was installed from no clone
        find_own_code(COMMAND, other)


def test_in_the_environment_of_another_clone(tmp_path):
    """An environment that finds this project's code and packages, used in a copy of the project."""
    copy = tmp_path / "copy"
    shutil.copytree(ROOT / "workflow", copy / "workflow", ignore=shutil.ignore_patterns("__pycache__", "shipped_models"))
    (copy / "dvc.yaml").write_text("")
    for name in ("commands/card.py", "preflight/project.py"):
        with (copy / "workflow/depthmask" / name).open("a") as module:
            module.write('\nprint("own code")\n')
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True)
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    packages = sysconfig.get_paths()["purelib"]
    (tmp_path / "venv/lib" / version / "site-packages/first.pth").write_text(f"{ROOT / 'workflow'}\n{packages}\n")
    python = tmp_path / "venv/bin/python"
    (tmp_path / "venv/bin/depthmask").write_text("import sys\nfrom depthmask.cli import main\nsys.exit(main())\n")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}

    def run(*command):
        return subprocess.run([python, *command], cwd=copy, env=environment, capture_output=True, text=True)

    note = f"note: running the code of {copy}, not that of {ROOT}, which this environment was set up for\n"
    for command in (("-m", "depthmask"), (tmp_path / "venv/bin/depthmask",)):
        done = run(*command, "card", "--help")
        assert done.returncode == 0 and done.stdout.startswith("own code\nusage: depthmask card"), done.stderr
        assert done.stderr == note
    done = run("-m", "stages.check", "--help")
    assert (done.returncode, done.stderr) == (0, note) and done.stdout.startswith("own code\nusage: stages.check")
    done = run("-I", "-m", "depthmask", "card")
    assert done.returncode == 1 and f"error: {copy} has code of its own" in done.stderr, "and no endless restart"
