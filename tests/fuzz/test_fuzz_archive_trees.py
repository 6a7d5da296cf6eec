"""Random trees in one to three archives: a source that has nothing else comes out, or a line that names what is there."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from fuzzing import count_cases
from making_zips import make_png, make_zip

from depthmask.base.errors import UserError
from depthmask.download.fetch import fetch
from depthmask.params import DownloadParams, load_params
from depthmask.params.mixture import strip_source

PROJECT = Path(__file__).parents[2]
SHORT = 400
DRIVE = "20240101T101010Z"
FOLDERS = ("bg", "fg", "bg", "fg", "photos", "set", "bg_depth", "Bg", "é", "images", "pack.json", "README")
FILES = ("1.png", "2.png", "3.png", "README.md", "Thumbs.db", "._1.png", "pack.json", "bg", "fg", "notes.dat")
ARCHIVES = (
    *("bg.zip", "fg.zip", "photos.zip", "bg (1).zip", "x.zip", "pack.json.zip", f"bg-{DRIVE}-001.zip", f"bg-{DRIVE}-002.zip"),
    *(f"set-{DRIVE}-001.zip", f"set-{DRIVE}-002.zip", "README.zip", "bg_depth.zip"),
)
PICTURES = {"bg": make_png(20), "fg": make_png(20, "RGBA")}


def make_tree(rng):
    """Backgrounds and cut-outs in the right folders, moved and mixed with others."""
    files = {}
    wrap = "/".join(rng.choice(FOLDERS) for _ in range(rng.choice((0, 0, 1, 2))))
    for kind in rng.choice((("bg", "fg"), ("bg", "fg"), ("bg",), ("fg",))):
        for number in range(1, 4):
            folder = rng.choice((kind, kind, kind, f"{kind}/{kind}", "")) if rng.random() < 0.1 else kind
            files["/".join(filter(None, (wrap, folder, f"{number}.png")))] = PICTURES[kind]
    for _ in range(rng.choice((0, 0, 1, 3))):
        path = "/".join([rng.choice(FOLDERS) for _ in range(rng.randrange(3))] + [rng.choice(FILES)])
        files[path] = rng.choice((b"x" * 40, PICTURES["bg"], PICTURES["fg"]))
    names = list(files)
    for name in names:  # not a file and a folder of one name, which is rejected at once
        if any(other.startswith(f"{name}/") for other in names):
            del files[name]
    return files


@pytest.mark.slow
def test_random_trees_are_read_or_rejected_in_a_line(tmp_path):
    values = strip_source(load_params(PROJECT / "params.yaml").download).model_dump()
    read = 0
    for number in range(count_cases(SHORT)):
        rng = random.Random(number)
        mine, out = tmp_path / f"{number}", tmp_path / "raw"
        mine.mkdir()
        trees = {name: make_tree(rng) for name in rng.sample(ARCHIVES, rng.choice((1, 1, 2, 3)))}
        for name, files in trees.items():
            (mine / name).write_bytes(make_zip(files))
        alone = len(trees) == 1 and rng.random() < 0.7
        path = mine / next(iter(trees)) if alone else mine
        try:
            fetch(DownloadParams(**values | {"source": "assets", "path": str(path)}), out)
        except UserError as error:
            text = str(error)
            assert str(mine) in text and ".part" not in text and "\n" not in text, f"{number}: {text}"
        else:
            read += 1
            given = {data for files in trees.values() for data in files.values()}
            found = [file for file in out.rglob("*") if file.is_file() and file.name != "source.json"]
            assert len(found) >= 2 and all(file.read_bytes() in given for file in found), number
        assert not list(tmp_path.glob(".*")), number
    print(f"{read} of {count_cases(SHORT)} were read")
    assert read >= count_cases(SHORT) // 20
