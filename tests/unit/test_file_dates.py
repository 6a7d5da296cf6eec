"""DVC's judgement holds under Snakemake whatever the dates of files say."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from making_graphs import make_project
from running_tools import is_dvc_clean, is_snakemake_done, run, run_snakemake

from depthmask.base.errors import UserError
from depthmask.file_dates import date_back, is_dated_after, read_disk_clock
from stage_graph import load_stages

YEAR_S = 365 * 24 * 3600.0


def set_date(path: Path, date: float) -> None:
    """As Snakemake sees it: a folder that it made is dated by a file in it."""
    stamp = path / ".snakemake_timestamp"
    for one in (path, *([stamp] if stamp.exists() else [])):
        os.utime(one, (date, date))


def test_outputs_that_are_not_older_are_dated_back_and_the_future_is_reported(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    now = read_disk_clock(Path("notes/clock"), write=True)
    for name in ("old", "same", "future"):
        Path(name).write_text(name)
    Path("folder").mkdir()
    Path("folder/.snakemake_timestamp").write_text("")
    Path("link").symlink_to("old")
    set_date(Path("old"), now - 5)
    set_date(Path("same"), now)
    for name in ("future", "folder", "folder/.snakemake_timestamp"):
        set_date(Path(name), now + YEAR_S)
    os.utime("link", (now + YEAR_S, now + YEAR_S), follow_symlinks=False)
    assert is_dated_after("future", now) and is_dated_after("folder", now) and is_dated_after("link", now)
    assert not is_dated_after("same", now) and not is_dated_after("missing", now)
    date_back(["old", "same", "missing", "future", "folder", "link"], now)
    assert Path("old").stat().st_mtime == pytest.approx(now - 5, abs=0.01), "a date that is right stays"
    assert [Path(name).lstat().st_mtime < now for name in ("same", "future", "folder/.snakemake_timestamp", "link")] == [True] * 4
    assert Path("folder").stat().st_mtime > now, "Snakemake does not look at it"
    assert Path("future").read_text() == "future"
    told = capsys.readouterr().err
    day = time.strftime("%Y-%m-%d", time.localtime(now + YEAR_S))
    assert told.startswith("note: future (and 2 more) was dated in the future") and day in told and told.count("\n") == 1


def test_a_date_that_cannot_be_changed_is_one_line_that_names_the_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("model.bin").write_text("x")
    set_date(Path("model.bin"), time.time() + YEAR_S)

    def refuse(path, *_, **__):
        raise PermissionError(1, "Operation not permitted", path)

    monkeypatch.setattr(os, "utime", refuse)
    with pytest.raises(UserError, match=r"^model.bin: is dated in the future .* \(operation not permitted\); touch it"):
        date_back(["model.bin"], time.time())


def test_without_the_file_of_the_main_process_the_clock_is_the_machines(tmp_path):
    assert read_disk_clock(tmp_path / "none", write=False) == pytest.approx(time.time(), abs=60)
    assert not (tmp_path / "none").exists()


GRAPH = """
stages:
  first:
    cmd: cut -c1-3 source/text.txt > first.txt && mkdir folder && cp first.txt folder/copy.txt
    deps: [source]
    outs: [first.txt, folder]
  last:
    cmd: cat folder/copy.txt > last.txt && grep title params.yaml >> last.csv
    deps: [folder]
    params: [report.title]
    outs: [last.txt, last.csv: {cache: false}]
"""
OUTPUTS = ("first.txt", "folder", "last.txt", "last.csv")


@pytest.mark.slow
def test_under_snakemake_contents_decide_whatever_the_dates_say(tmp_path, monkeypatch):
    root = make_project(tmp_path / "project", GRAPH)
    monkeypatch.chdir(root)
    assert run_snakemake(root) == {"first", "last"}
    future = time.time() + YEAR_S
    for name in (*OUTPUTS, "source", "params.yaml"):
        set_date(root / name, future)
    assert all(stage.clean for stage in load_stages(with_status=True)), "dates alone make nothing stale"
    assert (root / "first.txt").stat().st_mtime == pytest.approx(future, abs=1), "nor are they changed where nothing is stale"
    for text, dated in (("outputs", OUTPUTS), ("inputs in it", ("source", "source/text.txt")), ("both", (*OUTPUTS, "source"))):
        (root / "source/text.txt").write_text(text)
        for name in dated:
            set_date(root / name, future)
        assert run_snakemake(root) == {"first", "last"}, text
        assert (root / "last.txt").read_text() == f"{text[:3]}\n"
    # a stage below a clean one that is dated in the future
    params = (root / "params.yaml").read_text()
    (root / "params.yaml").write_text(params.replace("title: depthmask", "title: other"))
    set_date(root / "folder", future)
    printed = run(root, "snakemake", "--cores", "2").stdout
    assert "note: folder was dated in the future" in printed and "title: other" in (root / "last.csv").read_text()
    assert is_dvc_clean(root) and is_snakemake_done(root)
