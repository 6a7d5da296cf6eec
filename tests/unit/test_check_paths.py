"""Paths that params.yaml names: what overlaps with an output, is missing or of the wrong kind is refused in a line."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from depthmask.base.errors import ParamsError, UserError
from depthmask.params import Params, load_params, make_params
from depthmask.preflight.graph import read_graph
from depthmask.preflight.paths import check_layout, check_paths, list_outside
from depthmask.preflight.place import Place

ROOT = Path(__file__).resolve().parents[2]
NOBODY = 65534
OF_EACH = ("download_more", "download_other", "pack_other", "evaluate_other")  # one for each further source, or data set


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """A project with a source, photos, and outputs of an earlier run; it is the working folder."""
    for path in (
        "data/own/bg",
        "data/own/fg",
        "data/photos",
        "data/ensemble",
        "data/raw/bg",
        "reports/photos",
        ".git",
        ".checkpoints/x",
    ):
        (tmp_path / path).mkdir(parents=True)
    for path in ("data/own/bg/1.jpg", "data/own/fg/1.png", "data/raw/bg/1.jpg", "rooms.zip", "notes.txt"):
        (tmp_path / path).touch()
    shutil.copy(ROOT / "dvc.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def change(**changes: dict) -> Params:
    values = load_params(ROOT / "params.yaml").model_dump()
    values["download"] |= {"source": "assets", "path": "data/own"}
    for section, section_changes in changes.items():
        values[section] |= section_changes
    return make_params(values)


def run_check(params: Params) -> None:
    check_paths(params, "params.yaml")
    check_layout(params.download, "params.yaml")


def test_what_is_in_order_passes(folder):
    run_check(change())
    run_check(change(download={"path": "rooms.zip"}))
    run_check(change(download={"path": str(folder / "data/../data/own")}))


def _link(name: str, to: str) -> Callable[[], None]:
    return lambda: Path(name).symlink_to(to)


REFUSED = [
    ("path", "data/raw", None, "data/raw, which the stage download removes"),
    ("path", "./data//raw/../raw/", None, "is data/raw"),
    ("path", "data/raw/bg", None, "lies in data/raw"),
    ("path", "data", None, "data holds data/check.txt"),
    ("path", ".", None, "holds data/check.txt"),
    ("path", "/", None, "holds data/check.txt"),
    ("path", "data/split", None, "data/split, which the stage split removes"),  # before it is found missing
    ("path", "reports/photos", None, "reports/photos, which the stage photos removes"),
    ("path", "link", _link("link", "data/raw"), "link is data/raw"),
    ("path", "link/raw", _link("link", "data"), "link/raw is data/raw"),
    ("path", "data/own", _link("data/own/more", "../raw"), "data/own/more, a link, is data/raw"),
    ("path", ".checkpoints/x", None, "lies in .checkpoints"),
    ("path", ".git", None, ".git, which the tools clear"),
    ("photos", "reports/photos", None, "evaluate.photos: reports/photos, which the stage photos removes"),
    ("photos", "reports/samples/new", None, "lies in reports/samples"),
    ("path", "nope", None, "nope does not exist"),
    ("path", "x" * 300, None, "cannot be read (File name too long)"),
    ("path", "loop", _link("loop", "loop"), "cannot be read (Too many levels"),
    ("path", "notes.txt", None, "neither a folder nor an archive"),
    ("path", "fifo", lambda: os.mkfifo("fifo"), "neither a file nor a folder"),
    ("path", "/dev/null", None, "neither a file nor a folder"),
    ("path", "{x}", None, "contains a brace"),
    ("path", "data/photos", None, "data/photos/bg: no such folder"),  # a folder, but not of the layout
    ("photos", "nophotos", None, "evaluate.photos: nophotos does not exist"),
    ("photos", "notes.txt", None, "evaluate.photos: notes.txt is not a folder"),
    ("ensemble", "nomodels", None, "evaluate.ensemble: nomodels does not exist"),
    ("ensemble", "notes.txt", None, "evaluate.ensemble: notes.txt is not a folder"),
    ("ensemble", "data/models", None, "evaluate.ensemble: data/models holds data/models/"),
    ("photos", "a\0b", None, "contains a control character"),
    ("backgrounds", "data/own/clean", None, "download.backgrounds: data/own/data/own/clean does not exist"),
    ("sha256", "0" * 64, None, "download.sha256: data/own is a folder"),
]


@pytest.mark.parametrize(("key", "value", "make", "printed"), REFUSED, ids=range(len(REFUSED)))
def test_what_would_cost_files_is_rejected_in_a_line(folder, key, value, make, printed):
    if make is not None:
        make()
    params = change(**{"evaluate" if key in ("photos", "ensemble") else "download": {key: value}})
    with pytest.raises(ParamsError) as error:
        run_check(params)
    message = str(error.value)
    assert message.startswith("params.yaml: ") and "\n" not in message
    assert printed in message


def test_a_folder_without_permission_is_rejected(monkeypatch):
    monkeypatch.chdir("/")  # which everybody may read, other than the folders of tests
    params = change(download={"path": tempfile.mkdtemp()})
    folder = Path(params.download.path)
    folder.chmod(0)
    root = os.geteuid() == 0  # who may read everything
    try:
        if root:
            os.seteuid(NOBODY)
        with pytest.raises(ParamsError, match="permission denied"):
            check_paths(params, "params.yaml")
    finally:
        if root:
            os.seteuid(0)
        folder.rmdir()


def test_the_same_folder_by_another_spelling_is_found_by_its_inode(folder):
    """As on a disk that does not tell upper from lower case, or under another mount: two names, one folder."""
    one, other = Place.find("data/raw/bg"), Place.find("data/raw")
    renamed = Place(frozenset({"/elsewhere/RAW"}), frozenset({"/elsewhere", "/"}), other.identity, frozenset())
    assert renamed.relate(other) == "is"
    assert one.relate(renamed) == "lies in"
    assert renamed.relate(one) == "holds"


def test_inputs_that_a_copy_of_the_project_would_not_find_are_listed(folder):
    one = load_params(ROOT / "params.yaml").download.model_dump(include={"source", "depth"})
    assert list_outside(change()) == {}
    params = change(
        download={"path": "../own", "more_sources": {"a": one | {"path": "x/../../a", "weight": 1.0}}},
        evaluate={"photos": str(folder), "ensemble": "../models", "more": {"b": one | {"path": "../b"}}},
    )
    assert list_outside(params) == {
        "download.path": "../own",
        "download.more_sources.a.path": "x/../../a",
        "evaluate.ensemble": "../models",
        "evaluate.more.b.path": "../b",
    }


@pytest.mark.parametrize("graph", ["", "leaderboard"])
def test_outputs_and_inputs_are_those_that_dvc_finds(graph, monkeypatch):
    from depthmask.base.files import read_regular_file
    from depthmask.params.plain_yaml import parse_yaml
    from stage_graph import load_stages

    monkeypatch.chdir(ROOT / graph)
    values = parse_yaml(read_regular_file(Path("params.yaml")).decode(), "params.yaml")
    paths = read_graph(Path("dvc.yaml"), values)
    made = {output for stage in load_stages(with_status=False) for output in stage.outputs}
    assert all(any(path == known or path.startswith(f"{known}/") for known in paths.outputs) for path in made)
    none_yet = {path for path, stage in paths.outputs.items() if stage in OF_EACH}  # none is named yet
    assert all(
        any(path == known or path.startswith(f"{known}/") for path in made) for known in paths.outputs if known not in none_yet
    )
    assert paths.inputs["download.path"] == values["download"]["path"]


def test_an_output_that_begins_with_a_template_is_what_is_there(tmp_path):
    (tmp_path / "dvc.yaml").write_text("stages: {a: {foreach: [x, y], do: {outs: ['made_${item}/a.json', 'b/${item}.csv']}}}")
    assert read_graph(tmp_path / "dvc.yaml", {}).outputs == {"b": "a"}
    for name in ("made_x", "made_y", "other"):
        (tmp_path / name).mkdir()
    wanted = {str(tmp_path / name): "a" for name in ("made_x", "made_y")}
    assert read_graph(tmp_path / "dvc.yaml", {}).outputs == wanted | {"b": "a"}


@pytest.mark.parametrize("text", ["", "stages: [", "stages: 1", "stages: {a: 1}", "stages: {a: {outs: [1]}}"])
def test_a_graph_that_cannot_be_read_is_one_line(tmp_path, text):
    (tmp_path / "dvc.yaml").write_text(text)
    with pytest.raises(UserError, match=r"dvc\.yaml: cannot be read as a DVC graph") as error:
        read_graph(tmp_path / "dvc.yaml", {})
    assert "\n" not in str(error.value)
