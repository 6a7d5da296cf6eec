"""What keeps DVC from comparing or storing files is one line under Snakemake too, before anything runs."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from making_graphs import make_project

import stage_graph
from depthmask.base.errors import ParamsError, UserError
from depthmask.dvc_failures import explain_dvc_error
from depthmask.preflight.project import check_params
from stage_graph import load_stages

GRAPH = "stages: {join: {cmd: cat source/*.txt > joined.txt, deps: [source], outs: [joined.txt]}}"
LATIN_1 = os.fsdecode(b"source/caf\xe9.txt")


def _put_latin_1_name(root: Path) -> None:
    (root / LATIN_1).write_text("x")


def _use_cache_in_a_file(root: Path) -> None:
    config = root / ".dvc/config"
    config.write_text(f"{config.read_text()}[cache]\n    dir = {root / 'params.yaml'}/cache\n")


def _put_brace(root: Path) -> None:
    (root / "source/{x}").mkdir()
    (root / "dvc.yaml").write_text(GRAPH.replace("[source]", "['source/{x}']"))


FAULTS: list[tuple[Callable[[Path], None], str]] = [
    (lambda root: (root / "source/a.txt").symlink_to("nowhere"), r"source/a\.txt: is a broken link, not a file; remove it"),
    (_put_latin_1_name, r"^source/caf\\xe9\.txt: has a name that is not UTF-8; rename it$"),
    (_use_cache_in_a_file, r"params\.yaml/cache/files/md5: DVC's cache cannot be written \(not a directory\); make it writable"),
    (_put_brace, r"^dvc\.yaml: join: source/\{x\} contains a brace, which Snakemake treats as a wildcard; rename it$"),
]


@pytest.mark.parametrize(("spoil", "printed"), FAULTS, ids=["link", "name", "cache", "brace"])
def test_is_one_line_that_names_the_file(tmp_path, monkeypatch, spoil, printed):
    root = make_project(tmp_path / "project", GRAPH)
    (root / "joined.txt").write_text("an earlier result")
    spoil(root)
    monkeypatch.chdir(root)
    with pytest.raises(UserError, match=printed) as error:
        load_stages(with_status=True)
    assert "\n" not in str(error.value)
    assert (root / "joined.txt").read_text() == "an earlier result"


@pytest.mark.parametrize("link", ["hardlink", "symlink"])
def test_a_result_that_dvc_linked_to_its_cache_and_snakemake_would_not_replace_is_one_line(tmp_path, monkeypatch, link):
    root = make_project(
        tmp_path / "project", GRAPH.replace("joined.txt", "joined/all.txt").replace("[joined/all.txt]", "[joined]")
    )
    (root / "joined").mkdir()
    (root / "joined/all.txt").write_text("an earlier result")
    (root / "joined/all.txt").chmod(0o444)
    monkeypatch.chdir(root)
    monkeypatch.setattr(os, "access", lambda path, mode: bool(Path(path).stat().st_mode & 0o200))  # root may write anywhere
    assert load_stages(with_status=True), "with copies, it is no business of DVC's"
    config = root / ".dvc/config"
    config.write_text(f"{config.read_text()}[cache]\n    type = {link}\n")
    with pytest.raises(UserError, match=rf"^joined/all.txt: is write-protected, .*\(cache.type {link}\).*dvc checkout --relink$"):
        load_stages(with_status=True)


def test_check_names_what_dvc_cannot_record_before_dvc_looks(tmp_path, monkeypatch):
    root = make_project(tmp_path / "project", GRAPH)
    monkeypatch.chdir(root)
    folder = root / "data/demo" / os.fsdecode(b"\xfcber")
    folder.mkdir()
    with pytest.raises(ParamsError, match=r"params\.yaml: download\.path: data/demo/\\xfcber: has a name that is not UTF-8"):
        check_params()
    folder.rename(root / "data/demo/über")
    check_params()


@pytest.mark.parametrize(
    ("error", "printed"),
    [
        (
            PermissionError(13, "Permission denied", "/x/cache"),
            "/x/cache: permission denied; check its owner and write permission",
        ),
        (UnicodeEncodeError("utf-8", "caf\udce9", 3, 4, "surrogates not allowed"), "dvc.yaml: 'utf-8' codec can't encode"),
        (RuntimeError("two\nlines"), "dvc.yaml: two lines; `dvc status` may say more"),
        (KeyError(), "dvc.yaml: KeyError; `dvc status` may say more"),
    ],
)
def test_other_errors_of_dvc_are_one_line_as_well(error, printed):
    explained = explain_dvc_error(error, [])
    assert explained is not None and printed in str(explained) and "\n" not in str(explained)


def test_a_bug_of_ours_keeps_its_traceback(tmp_path, monkeypatch):
    monkeypatch.chdir(make_project(tmp_path / "project", GRAPH))
    monkeypatch.setattr(stage_graph, "META_KEYS", None)
    with pytest.raises(TypeError):
        load_stages(with_status=True)
