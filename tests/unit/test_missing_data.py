"""A clone without data whose remote storage has them says how to fetch them, under Snakemake and in `depthmask check`."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from making_graphs import DVC_YAML, make_project
from running_tools import run, run_dvc

from depthmask.missing_data import note_missing_data_here
from stage_graph import load_stages

pytestmark = pytest.mark.slow

OUTPUTS = ("first.txt", "second_a", "second_b", "last.txt")


@pytest.fixture(scope="module")
def pushed(tmp_path_factory) -> Path:
    """The small pipeline after `dvc repro` and `dvc push` to a folder beside it."""
    root = make_project(tmp_path_factory.mktemp("pushed") / "project", DVC_YAML)
    assert run_dvc(root) == {"guard", "first", "second@a", "second@b", "last"}
    run(root, "dvc", "remote", "add", "--default", "shelf", str(root.parent / "shelf"))
    run(root, "dvc", "push")
    return root


@pytest.fixture
def clone(pushed, tmp_path, monkeypatch) -> Path:
    """What git would have of it: no data, no cache."""
    root = tmp_path / "project"
    shutil.copytree(pushed, root, ignore=shutil.ignore_patterns("cache", "tmp", *OUTPUTS))
    monkeypatch.chdir(root)
    return root


@pytest.fixture
def look(capsys):
    """What the start of Snakemake says."""

    def look() -> list[str]:
        load_stages(with_status=True)
        return capsys.readouterr().err.splitlines()

    return look


def describe(number: str, option: str = "") -> str:
    fetched = f"to fetch what was pushed, before anything is made again: dvc pull{option}"
    return f"note: {number} of 0.0 MB that dvc.lock records {'is' if number[0] == '1' else 'are'} not in DVC's cache; {fetched}"


def test_a_clone_without_data_says_how_to_fetch_them_and_is_done_after_it(clone, look, capsys):
    assert look() == [describe("4 outputs")]
    note_missing_data_here()
    assert capsys.readouterr().err.splitlines() == [describe("4 outputs")]
    run(clone, "dvc", "pull")
    assert look() == []
    assert all(stage.clean for stage in load_stages(with_status=True))
    note_missing_data_here()
    assert capsys.readouterr().err == ""


def test_nothing_is_said_without_a_remote(clone, look, capsys):
    run(clone, "dvc", "remote", "remove", "shelf")
    assert look() == []
    note_missing_data_here()
    assert capsys.readouterr().err == ""


def test_a_remote_that_is_not_the_default_is_named(clone, look):
    run(clone, "dvc", "remote", "default", "--unset")
    assert look() == [describe("4 outputs", " --remote shelf")]


def test_outputs_that_the_cache_has_are_not_missing(clone, look, pushed):
    shutil.copytree(pushed / ".dvc/cache", clone / ".dvc/cache")
    assert look() == []
    next((clone / ".dvc/cache/files").rglob("*.dir")).unlink()
    assert look() == [describe("2 outputs")], "second_a and second_b, with the same content"


def test_what_would_run_anyway_is_not_counted(clone, look):
    params = clone / "params.yaml"
    params.write_text(params.read_text().replace("title: depthmask", "title: other"))
    assert look() == [describe("3 outputs")], "last reads the title"
    (clone / "source/text.txt").write_text("xyz")
    assert look() == []


def test_a_changed_command_is_not_counted_either_nor_what_is_below(clone, look):
    graph = clone / "dvc.yaml"
    graph.write_text(graph.read_text().replace("mkdir second_${item} &&", "mkdir -p second_${item} &&"))
    assert look() == [describe("1 output")]


@pytest.mark.parametrize("text", ["", "stages: [", "schema: '2.0'\nstages: {a: {outs: [{}]}}\n"])
def test_a_check_leaves_it_to_dvc_to_say_that_its_files_are_damaged(clone, capsys, text):
    (clone / "dvc.lock").write_text(text)
    note_missing_data_here()
    (clone / "dvc.lock").unlink()
    note_missing_data_here()
    assert capsys.readouterr().err == ""
