"""depthmask predict: neither a photo's name nor anything it raises costs another photo, or predictions.json."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from making_models import save_small_model
from PIL import Image

from depthmask.base import paths
from depthmask.base.files import read_json
from depthmask.cli import main
from depthmask.serving import each_photo, pictures
from depthmask.serving.predictor import Predictor


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return save_small_model(tmp_path_factory.mktemp("model") / "m.safetensors")


@pytest.fixture
def photos(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("a.png", "m.png", "z.png"):
        Image.new("RGB", (40, 30), "red").save(folder / name)
    return folder


def predict(model: Path, *arguments: str) -> int:
    return main(["predict", *arguments, "--model", str(model), "--out", "out", "--device", "cpu"])


@pytest.mark.parametrize(
    ("name", "start"),
    [
        (b"n" * 234, "n" * 234),  # with 17 characters more, the longest that fits
        (b"n" * 239, "n" * 225 + "~"),
        (b"n" * 251, "n" * 225 + "~"),
        ("é".encode() * 120, "é" * 112 + "~"),
        (b"caf\xe9", r"caf\xe9_mask"),
        (b"caf\xe9" + b"n" * 240, "caf_" + "n" * 221 + "~"),
    ],
)
def test_a_photo_whatever_its_name_is_predicted_and_listed(photos, model, name, start):
    shutil.copyfile(photos / "a.png", os.fsdecode(os.fsencode(photos) + b"/" + name + b".png"))
    (photos / "zz.png").write_bytes((photos / "a.png").read_bytes())
    assert predict(model, "photos") == 0
    index = read_json(Path("out/predictions.json"))
    (entry,) = [one for one in index["photos"] if one["photo"] == f"photos/{paths.show_path(os.fsdecode(name))}.png"]
    assert entry["files"]["mask"].startswith(f"out/{start}") and not list(Path().rglob("*.part"))
    for file in entry["files"].values():
        file = os.fsdecode(file.encode().replace(rb"\xe9", b"\xe9"))
        assert Image.open(file).size[0] > 0 and len(os.fsencode(Path(file).name)) <= 255
    assert "photos/zz.png" in {one["photo"] for one in index["photos"]}


def test_photos_that_differ_in_their_suffix_alone_are_both_predicted(photos, model):
    Image.new("RGB", (20, 30)).save(photos / "a.jpg")
    assert predict(model, "photos") == 0
    assert Image.open("out/a.jpg_mask.png").size == (20, 30)
    assert Image.open("out/a.png_mask.png").size == Image.open(photos / "a.png").size


def raise_for_m(function, position: int = 0):
    """The function, but with m.png, or the temporary file of its results, it raises what is no UserError."""

    def wrapped(*given, **options):
        if "m.png" in str(given[position]) or "out/.m" in str(given[position]):
            raise KeyError("of a library")
        return function(*given, **options)

    return wrapped


@pytest.mark.parametrize("where", ["read", "write"])
def test_whatever_a_photo_raises_the_others_are_predicted(photos, model, monkeypatch, capsys, where):
    if where == "read":
        monkeypatch.setattr(each_photo, "read_photo", raise_for_m(each_photo.read_photo))
    else:
        monkeypatch.setattr(pictures, "save_depth", raise_for_m(pictures.save_depth))
    with pytest.raises(KeyError):  # a fault of the program, which is to be reported
        predict(model, "photos")
    index = read_json(Path("out/predictions.json"))
    assert [one["photo"] for one in index["photos"]] == ["photos/a.png", "photos/z.png"]
    (failed,) = index["failed"]
    assert failed["photo"] == "photos/m.png"
    line = "photos/m.png: cannot be predicted (KeyError: 'of a library'); leave it out, and report this"
    assert failed["error"] == line and capsys.readouterr().err == f"error: {line}\n"
    assert not list(Path("out").glob(".*")) and not Path("out/m_mask.png").exists()


def test_a_network_that_fails_on_a_batch_is_tried_photo_by_photo(photos, model, monkeypatch):
    run, sizes = Predictor.predict_shrunk, []

    def fail_on_more_than_one(self, shrunk):
        sizes.append(len(shrunk))
        if len(shrunk) > 1:
            raise RuntimeError("of a library")
        return run(self, shrunk)

    monkeypatch.setattr(Predictor, "predict_shrunk", fail_on_more_than_one)
    assert predict(model, "photos") == 0
    assert sizes == [3, 1, 1, 1]
    assert len(read_json(Path("out/predictions.json"))["photos"]) == 3


def test_predictions_of_a_batch_are_those_of_each_photo_alone(photos, model):
    rng = np.random.default_rng(0)
    for name in ("a.png", "m.png", "z.png"):
        Image.fromarray(rng.integers(0, 256, (30, 40, 3), dtype=np.uint8)).save(photos / name)
    assert predict(model, "photos") == 0
    together = np.asarray(Image.open("out/m_mask.png")).astype(int)
    assert predict(model, "photos/m.png") == 0
    assert np.abs(np.asarray(Image.open("out/m_mask.png")).astype(int) - together).max() <= 1
