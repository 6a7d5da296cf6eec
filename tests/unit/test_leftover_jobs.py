"""What becomes of a killed Snakemake's Slurm jobs, with a Slurm of two scripts."""

from __future__ import annotations

import os

import pytest

from cluster import leftovers

SQUEUE = """#!/bin/sh
cat {folder}/now
[ ! -e {folder}/next ] || mv {folder}/next {folder}/now
"""
SCANCEL = """#!/bin/sh
echo "$@" > {folder}/cancelled
"""


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """A folder whose file `now` holds what squeue prints, and `next` what it prints from the second time on."""
    for name, text in (("squeue", SQUEUE), ("scancel", SCANCEL)):
        (tmp_path / name).write_text(text.format(folder=tmp_path))
        (tmp_path / name).chmod(0o755)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(leftovers, "LOOK_EVERY_S", 0.01)
    return tmp_path


def test_jobs_that_have_not_begun_are_cancelled_and_others_waited_for(slurm, capsys):
    here = slurm / "here"
    others = [f"7|RUNNING|rule_pretrain|{slurm}", f"8|PENDING|(null)|{here}", f"9|RUNNING|my own|{here}"]
    (slurm / "now").write_text("\n".join([f"3|PENDING|rule_split|{here}", f"4|RUNNING|rule_pretrain|{here}", *others]))
    (slurm / "next").write_text("\n".join(others))
    leftovers.settle_leftover_jobs()
    assert (slurm / "cancelled").read_text().split() == ["--state=PENDING", "3"]
    printed = capsys.readouterr()
    assert "cancelled Slurm jobs of a killed run that had not begun (3)" in printed.out + printed.err


def test_a_running_one_is_named_with_what_stops_it(slurm, capsys, monkeypatch):
    (slurm / "now").write_text(f"4|RUNNING|rule_pretrain|{slurm}/here\n5|COMPLETING|rule_finetune|{slurm}/here\n")
    asked = []
    original = leftovers._list_jobs

    def ask() -> dict[str, str]:
        asked.append(original())
        if len(asked) == 3:
            (slurm / "now").write_text("")
        return asked[-1]

    monkeypatch.setattr(leftovers, "_list_jobs", ask)
    leftovers.settle_leftover_jobs()
    printed = capsys.readouterr()
    assert (printed.out + printed.err).count("scancel 4 5") == 1
    assert asked[-1] == {}
    assert not (slurm / "cancelled").exists()


def test_nothing_happens_without_slurm(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PATH", str(tmp_path))
    leftovers.settle_leftover_jobs()
    assert capsys.readouterr().out == ""
