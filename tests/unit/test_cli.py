"""The depthmask command, and the script of stage check."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

from depthmask.cli import COMMANDS, main
from stages.check import PASSED
from stages.check import main as check_stage

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    (tmp_path / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    (tmp_path / "data").mkdir()
    for name in ("demo", "photos", "ensemble"):  # the paths that params.yaml names
        (tmp_path / "data" / name).symlink_to(ROOT / "data" / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def break_params(folder: Path) -> None:
    text = (folder / "params.yaml").read_text()
    (folder / "params.yaml").write_text(text.replace("seed: 0", "seed: -1"))


def test_check_says_ok(folder, capsys):
    assert main(["check"]) == 0
    printed = capsys.readouterr().out
    assert re.fullmatch(
        r"params\.yaml: ok; about \d.* of memory, \d.* of disk.*: pretrain .*, finetune .*, evaluate .*\n", printed
    )


def test_check_takes_another_file(folder, capsys):
    (folder / "params.yaml").rename(folder / "other.yaml")
    assert main(["check", "--params", "other.yaml"]) == 0
    assert capsys.readouterr().out.startswith("other.yaml: ok; about ")


def test_check_reports_the_mistake_in_one_line(folder, capsys):
    break_params(folder)
    assert main(["check"]) == 2
    printed = capsys.readouterr().err
    assert printed.count("\n") == 1
    assert printed.startswith("error: params.yaml: seed: -1; allowed: ")


def test_help_names_every_command(capsys):
    with pytest.raises(SystemExit) as end:
        main(["--help"])
    assert end.value.code == 0
    printed = capsys.readouterr().out
    for name, (_, does) in COMMANDS.items():
        assert name in printed
        assert does in " ".join(printed.split())


def test_unknown_command_and_unknown_option_are_rejected(folder, capsys):
    for argv in ([], ["chek"], ["--params", "x"], ["check", "--parms", "x"]):
        with pytest.raises(SystemExit) as end:
            main(argv)
        assert end.value.code == 2
    assert "--parms" in capsys.readouterr().err


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_its_module(name):
    assert importlib.util.find_spec(COMMANDS[name][0]) is not None


def test_command_starts_without_the_heavy_packages():
    code = "import sys, depthmask.cli; print(sorted({'torch', 'dvc', 'numpy', 'pydantic'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT / "workflow", capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_stage_writes_the_same_bytes_for_any_good_params(folder):
    for seed in ("seed: 0", "seed: 7"):
        text = (folder / "params.yaml").read_text()
        (folder / "params.yaml").write_text(text.replace("seed: 0", seed))
        assert check_stage(["--out", "data/check.txt"]) == 0
        assert (folder / "data/check.txt").read_text() == PASSED


def test_stage_writes_nothing_for_bad_params(folder, capsys):
    break_params(folder)
    assert check_stage(["--out", "data/check.txt"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not (folder / "data/check.txt").exists()
