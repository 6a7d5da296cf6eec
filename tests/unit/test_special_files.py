"""A pipe, a socket or a broken link where a file should be: one line that names it, and no waiting."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
from pathlib import Path

import pytest
from fuzzing import run_in_process

from depthmask.base.entry_points import print_errors_as_lines
from depthmask.base.paths import find_unfit, name_special
from depthmask.commands import check
from depthmask.download.fetch import fetch
from depthmask.params import DownloadParams
from depthmask.params.mixture import strip_source


def make_socket(path):
    with contextlib.chdir(path.parent), socket.socket(socket.AF_UNIX) as made:  # its path may have no more than some 100 bytes
        made.bind(path.name)


def make_circle(path):
    path.symlink_to(path.name)


SPECIAL = {
    "pipe": (os.mkfifo, "a pipe"),
    "socket": (make_socket, "a socket"),
    "link to a device": (lambda path: path.symlink_to("/dev/zero"), "a device"),
    "link to nothing": (lambda path: path.symlink_to("nowhere"), "a broken link"),
    "link in a circle": (make_circle, "a broken link"),
}
PLACES = ["bg/room.jpg", "bg_depth/room.png", "fg/thing.png", "pack.json", "more.zip"]


@pytest.fixture
def source(tmp_path, small_demo):
    return shutil.copytree(small_demo, tmp_path / "source")


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("kind", SPECIAL)
def test_what_is_no_file_among_a_sources_files_is_one_line(tmp_path, source, params, kind, place):
    make, what = SPECIAL[kind]
    (source / place).unlink(missing_ok=True)
    make(source / place)
    download = DownloadParams(**(strip_source(params.download).model_dump() | {"path": str(source)}))
    outcome = run_in_process(print_errors_as_lines(lambda _: fetch(download, tmp_path / "raw") and 0), [], seconds=20)
    assert outcome.kind == "refused", outcome.text
    assert f"{source / place}: is {what}, not a" in outcome.text  # a file, an image
    assert not (tmp_path / "raw").exists()
    assert {entry.name for entry in tmp_path.iterdir()} == {"source"}


@pytest.mark.parametrize("kind", SPECIAL)
def test_check_finds_it_anywhere_since_dvc_would_open_it(tmp_path, source, kind, monkeypatch):
    make, what = SPECIAL[kind]
    (source / "notes/old").mkdir(parents=True)
    make(source / "notes/old/x")
    monkeypatch.chdir(tmp_path)
    text = (Path(__file__).parents[2] / "params.yaml").read_text()
    (tmp_path / "photos").mkdir()
    text = (
        text.replace("path: data/demo", "path: source")
        .replace("photos: data/photos", "photos: photos")
        .replace("data/ensemble", "photos")
    )
    (tmp_path / "params.yaml").write_text(text)
    outcome = run_in_process(check.main, ["--params", "params.yaml"], seconds=20)
    assert outcome.kind == "refused", outcome.text
    assert f"params.yaml: download.path: source/notes/old/x: is {what}; remove it" in outcome.text
    (source / "notes/old/x").unlink()
    make(tmp_path / "photos/x.jpg")
    outcome = run_in_process(check.main, ["--params", "params.yaml"], seconds=20)
    assert outcome.kind == "refused" and f"evaluate.photos: photos/x.jpg: is {what}" in outcome.text, outcome.text


def test_check_names_a_file_that_dvc_could_not_name(tmp_path, source, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    text = (Path(__file__).parents[2] / "params.yaml").read_text()
    text = (
        text.replace("path: data/demo", "path: source")
        .replace("photos: data/photos", "photos: photos")
        .replace("data/ensemble", "photos")
    )
    (tmp_path / "params.yaml").write_text(text)
    for folder, key in (("photos", "evaluate.photos"), ("source/bg", "download.path")):
        named = os.fsencode(tmp_path / folder) + b"/caf\xe9.jpg"
        os.close(os.open(named, os.O_CREAT))
        outcome = run_in_process(check.main, ["--params", "params.yaml"], seconds=20)
        line = rf"params.yaml: {key}: {folder}/caf\xe9.jpg: has a name that is not UTF-8; rename it"
        assert outcome.kind == "refused" and line in outcome.text, outcome.text
        Path(os.fsdecode(named)).unlink()


def test_links_to_files_and_folders_are_followed_once(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a/file").write_text("x")
    (tmp_path / "a/link").symlink_to("file")
    (tmp_path / "a/up").symlink_to("..")
    assert list(find_unfit(tmp_path)) == []
    os.mkfifo(tmp_path / "a/pipe")
    assert [path for path, _ in find_unfit(tmp_path)] == [str(tmp_path / "a/pipe")]
    assert name_special(tmp_path / "a/link") is None and name_special(tmp_path / "none") is None


def test_a_pipe_among_photos_is_one_line(tmp_path):
    from depthmask.base.errors import UserError
    from depthmask.serving.photos import read_photos

    os.mkfifo(tmp_path / "dog.jpg")
    with pytest.raises(UserError, match=r"dog.jpg: is a pipe, not a file; remove it"):
        read_photos(tmp_path, None)
