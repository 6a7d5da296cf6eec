"""The page's parts behind the browser: models to choose from, predictions, results and their files, addresses. Without Gradio."""

from __future__ import annotations

import base64
import io
import json
import os
import socket
import subprocess
import sys
import threading
import zipfile
import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from making_models import save_small_model
from PIL import Image

import depthmask.app.results as results_module
import depthmask.app.server as server
from depthmask.app.choices import SHIPPED_LABEL, Choice, list_choices
from depthmask.app.results import KEPT_MAX, PREFIX, Result, Results, make_workplace, pack_result
from depthmask.app.server import format_address, is_local, isolate, list_hosts, open_socket, require_gradio
from depthmask.app.shown import RAW_MAX, describe_result
from depthmask.app.worker import Upload, Worker
from depthmask.base.errors import UserError
from depthmask.commands.app import main as app
from depthmask.commands.predict import main as predict
from depthmask.hub.fetching import FoundModel
from depthmask.pictures.colours import find_depth_range
from depthmask.serving.predictor import PhotoPrediction

OPTIONS = {"device": "cpu", "size_px": None, "mask_size_px": None, "flip": False}


def make_result(name: str = "dog.jpg", side_px: int = 12, level: int = 0) -> Result:
    """A photo of one grey level, with a mask that rises from left to right and a depth from top to bottom."""
    ramp = np.linspace(0, 1, side_px, dtype=np.float32)
    mask, depth = np.tile(ramp, (side_px, 1)), np.tile(1 + 6 * ramp[:, None], (1, side_px))
    prediction = PhotoPrediction(mask, depth, "metre", 8.0, (32, 32), (32, 32))
    declared = {"unit": "metre", "polarity": "near_is_small", "max": 8.0, "raw_max": 65535}
    entry = {"photo": name, "model": "m.safetensors", "background": None, "size_px": [side_px] * 2}
    entry |= {"network_size_px": [32, 32], "mask_network_size_px": [32, 32]}
    return Result(name, np.full((side_px, side_px, 3), level, np.uint8), prediction, declared, [], entry)


@pytest.fixture
def worker():
    made = Worker(OPTIONS)
    yield made
    made.close()


@pytest.fixture
def small(tmp_path) -> Choice:
    """A small model that takes the photo alone."""
    return Choice("small", (save_small_model(tmp_path / "small.safetensors"),), takes_background=False, needs_background=False)


def save_photo(path: Path, width: int = 40, height: int = 30) -> Path:
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)).save(path, format="PNG")
    return path


def test_models_named_come_first_then_the_one_trained_here(tmp_path, capfd):
    folder = tmp_path / "models"
    folder.mkdir()
    for name in ("pretrain", "finetune", "other"):
        save_small_model(folder / f"{name}.safetensors")
    (folder / "damaged.safetensors").write_bytes(b"no model")
    (folder / "notes.txt").touch()
    named = save_small_model(tmp_path / "named.safetensors")
    choices = list_choices([FoundModel(named), FoundModel(folder / "other.safetensors", "hf://a/b@c")], folder)
    assert [Path(choice.label).stem for choice in choices[:-1]] == ["named", "b@c", "finetune", "pretrain"]
    assert choices[-1].label == SHIPPED_LABEL and choices[-1].takes_background and not choices[-1].needs_background
    assert not choices[0].takes_background
    error = capfd.readouterr().err
    assert error.count("\n") == 1 and "damaged.safetensors" in error and error.endswith("it is not offered\n")


def test_models_that_come_with_depthmask_are_offered_where_no_other_is(tmp_path):
    (choice,) = list_choices([], tmp_path / "none")
    assert choice.label == SHIPPED_LABEL and len(choice.paths) == 2


def test_a_named_file_that_is_no_model_is_refused_in_one_line(tmp_path, capfd):
    (tmp_path / "x.safetensors").write_bytes(b"no model")
    for name, line in (("x", "not a whole model file"), ("y", "no such file")):
        with pytest.raises(UserError, match=line):
            list_choices([FoundModel(tmp_path / f"{name}.safetensors")], tmp_path / "none")
    model = save_small_model(tmp_path / "z.safetensors")
    with pytest.raises(UserError, match="named twice"):
        list_choices([FoundModel(model), FoundModel(tmp_path / "z.safetensors")], tmp_path / "none")


def spoil_photo(folder: Path, fault: str) -> Path:
    path = folder / "dog.jpg"
    if fault == "damaged":
        save_photo(path)
        path.write_bytes(path.read_bytes()[:60])
    elif fault == "text":
        path.write_text("this is no picture", encoding="utf-8")
    elif fault == "web page":
        path.write_text("<!doctype html><p>not found", encoding="utf-8")
    elif fault == "float":
        Image.fromarray(np.zeros((8, 8), np.float32)).save(path, format="TIFF")
    elif fault == "empty":
        path.touch()
    elif fault == "tiny":
        save_photo(path, 1, 1)
    return path


@pytest.mark.parametrize("fault", ["damaged", "text", "web page", "float", "empty", "missing", "tiny"])
def test_a_photo_is_refused_with_the_line_of_predict(tmp_path, capfd, worker, small, fault):
    path = spoil_photo(tmp_path, fault)
    capfd.readouterr()
    code = predict([str(path), "--model", str(small.paths[0]), "--out", str(tmp_path / "out"), "--device", "cpu"])
    printed = capfd.readouterr().err.splitlines()
    if code == 0:  # a photo of one pixel can be predicted, if badly
        assert fault == "tiny" and worker.predict(small, Upload(path, "x.jpg"), None)[0].image.shape == (1, 1, 3)
        return
    with pytest.raises(UserError) as raised:
        worker.predict(small, Upload(path, "Fido & co.jpg"), None)
    assert f"error: {path}: " in printed[0]
    assert str(raised.value) == printed[0].removeprefix("error: ").replace(str(path), "Fido & co.jpg")


def test_a_background_of_another_shape_is_refused_with_the_line_of_predict(tmp_path, capfd, worker):
    photo, background = save_photo(tmp_path / "dog.png"), save_photo(tmp_path / "dog_background.png", 30, 40)
    (choice,) = list_choices([], tmp_path / "none")
    assert predict([str(photo), "--out", str(tmp_path / "out"), "--device", "cpu"]) == 1
    line = next(line for line in capfd.readouterr().err.splitlines() if line.startswith("error: "))
    with pytest.raises(UserError) as raised:
        worker.predict(choice, Upload(photo, "a.png"), Upload(background, "b.png"))
    expected = line.removeprefix("error: ").replace(str(background), "b.png").replace(str(photo), "a.png")
    assert str(raised.value) == expected and "aspect ratio" in expected


def test_what_is_lacking_is_said_before_anything_is_read(tmp_path, worker, small):
    with pytest.raises(UserError, match="no photo yet"):
        worker.predict(small, None, None)
    needs = replace(small, takes_background=True, needs_background=True)
    with pytest.raises(UserError, match=r"^a\.png: the model also takes the clean background; add it"):
        worker.predict(needs, Upload(tmp_path / "gone.png", "a.png"), None)


def test_a_fault_of_the_program_is_one_line_on_the_page_and_a_traceback_in_the_terminal(
    tmp_path, capfd, worker, small, monkeypatch
):
    def fail(*_: object) -> None:
        raise ZeroDivisionError("by nothing")

    path = save_photo(tmp_path / "dog.png")
    worker.load(small)
    monkeypatch.setattr("depthmask.serving.predictor.Predictor.predict_shrunk", fail)
    with pytest.raises(UserError, match=r"^a\.png: cannot be predicted \(ZeroDivisionError: by nothing\)"):
        worker.predict(small, Upload(path, "a.png"), None)
    assert "Traceback" in capfd.readouterr().err


def test_photos_asked_for_at_once_are_predicted_one_after_the_other_each_for_its_own(tmp_path, worker, small):
    paths = [tmp_path / f"{number}.png" for number in range(6)]
    for number, path in enumerate(paths):
        Image.new("RGB", (20 + number, 20), (40 * number, 0, 0)).save(path)
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(lambda path: worker.predict(small, Upload(path, path.name), None)[0], paths))
    for number, result in enumerate(found):
        assert result.name == f"{number}.png" and result.image.shape == (20, 20 + number, 3)
        assert (result.image[..., 0] == 40 * number).all() and result.prediction.mask.shape == (20, 20 + number)


def test_a_page_gets_its_own_last_result_and_no_other(tmp_path):
    results = Results(tmp_path)
    first, other = results.put("one", make_result(level=1)), results.put("two", make_result(level=2))
    second = results.put("one", make_result(level=3))
    assert len({first, second, other}) == 3
    assert (results.get(second).image == 3).all() and (results.get(other).image == 2).all()
    with pytest.raises(UserError, match="no longer kept; predict the photo again"):
        results.get(first)
    assert len(list(tmp_path.iterdir())) == 2
    results.drop("one")
    results.drop("never")
    assert [path.name for path in tmp_path.iterdir()] == [other]


@pytest.mark.parametrize("token", ["", "..", "../x", "one"])
def test_a_token_is_no_path_and_no_name_of_a_page(tmp_path, token):
    results = Results(tmp_path)
    results.put("one", make_result())
    with pytest.raises(UserError):
        results.get(token)


def test_results_of_pages_that_never_say_goodbye_are_bounded(tmp_path):
    results = Results(tmp_path)
    tokens = [results.put(f"page {number}", make_result(level=number)) for number in range(KEPT_MAX + 3)]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(tokens[3:])
    assert (results.get(tokens[-1]).image == KEPT_MAX + 2).all()


def test_a_result_in_use_outlives_its_page(tmp_path):
    results = Results(tmp_path)
    kept = results.get(results.put("one", make_result(level=7)))
    results.drop("one")
    assert (kept.image == 7).all() and kept.prediction.mask[0, -1] == 1


def test_two_pages_at_once_never_see_each_other(tmp_path):
    results, wrong = Results(tmp_path), []

    def use(level: int) -> None:
        for _ in range(20):
            token = results.put(f"page {level}", make_result(level=level))
            wrong.extend([level] if not (results.get(token).image == level).all() else [])

    threads = [threading.Thread(target=use, args=(level,)) for level in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == [] and len(list(tmp_path.iterdir())) == 4


def unpack(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name) for name in archive.namelist()}


def read_picture(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)))


@pytest.mark.parametrize("is_soft", [False, True])
def test_the_archive_has_what_predict_writes_and_the_mask_at_the_threshold(tmp_path, is_soft):
    result = replace(make_result(side_px=10, level=9), flip=True)
    pack_result(result, 0.7, is_soft, tmp_path / "x.zip")
    files = unpack(tmp_path / "x.zip")
    grey = np.round(np.linspace(0, 1, 10) * 255)
    binary = np.where(np.arange(10) >= 7, 255, 0)
    assert (read_picture(files["dog_mask.png"]) == grey).all()
    assert (read_picture(files["dog_mask_at_threshold.png"]) == binary).all()
    cutout = read_picture(files["dog_cutout.png"])
    assert (cutout[..., :3] == 9).all() and (cutout[..., 3] == (grey if is_soft else binary)).all()
    depth = read_picture(files["dog_depth.png"])
    assert np.abs(depth / 65535 * 8 - result.prediction.depth).max() < 1e-4
    index = json.loads(files["predictions.json"])
    assert index["mask"] == {"kind": "alpha", "raw_max": 255, "threshold": 0.7, "cutout": "alpha" if is_soft else "hard"}
    assert index["flip"] is True
    (entry,) = index["photos"]
    assert entry["photo"] == "dog.jpg" and set(files) == {*entry["files"].values(), "predictions.json"}
    assert files["dog_points.glb"].startswith(b"glTF") and b"<canvas" in files["dog_scene.html"]
    assert Image.open(io.BytesIO(files["dog_side_by_side.jpg"])).format == "JPEG"
    assert [path.name for path in tmp_path.iterdir()] == ["x.zip"]


def test_a_probability_equal_to_the_threshold_is_foreground(tmp_path):
    pack_result(make_result(side_px=10), 1.0, False, tmp_path / "x.zip")
    assert (read_picture(unpack(tmp_path / "x.zip")["dog_mask_at_threshold.png"]) == [0] * 9 + [255]).all()


def test_points_are_for_the_camera_that_was_declared():
    wide, narrow = (results_module.make_points(replace(make_result(), field_of_view_deg=angle)) for angle in (90.0, 40.0))
    assert (wide.field_of_view_deg, narrow.field_of_view_deg) == (90, 40)
    assert np.ptp(wide.positions[:, 0]) > 2 * np.ptp(narrow.positions[:, 0]) > 0


def test_equal_results_give_equal_archives(tmp_path):
    for name in ("x.zip", "y.zip"):
        pack_result(make_result(), 0.5, False, tmp_path / name)
    assert (tmp_path / "x.zip").read_bytes() == (tmp_path / "y.zip").read_bytes()


@pytest.mark.parametrize("name", ["é" * 200 + ".jpg", ".jpg", "..", "x/y.png"])
def test_names_in_the_archive_are_names_of_files(tmp_path, name):
    pack_result(make_result(name), 0.5, False, tmp_path / "x.zip")
    for inside in unpack(tmp_path / "x.zip"):
        assert "/" not in inside and len(inside.encode()) <= 255


def read_values(shown: dict) -> tuple[np.ndarray, np.ndarray]:
    """Depth / depth_max and mask, as the page reads them."""
    width, height = shown["shown"]
    values = np.frombuffer(zlib.decompress(base64.b64decode(shown["values"])), "<u2").reshape(2, height, width)
    return values[0] / RAW_MAX, values[1] / RAW_MAX


def test_the_page_gets_the_values_of_every_pixel():
    result = make_result()
    shown = describe_result(result, "token", 0.5)
    depth, mask = read_values(shown)
    assert np.abs(depth * 8 - result.prediction.depth).max() < 8 / RAW_MAX and np.abs(mask - result.prediction.mask).max() < 1e-4
    near, far = find_depth_range(result.prediction.depth / 8, np.ones((12, 12), bool))
    assert (shown["near"], shown["far"]) == (near * 8, far * 8) and shown["unit"] == "metre"
    assert shown["note"] == "dog.jpg, alone, by m.safetensors at 32 × 32 px in 0.50 s"
    json.dumps(shown, allow_nan=False)


def test_a_large_photo_is_reduced_for_the_page_and_its_values_with_it():
    result = make_result(side_px=1536)
    shown = describe_result(result, "token", 0.5)
    depth, mask = read_values(shown)
    assert shown["shown"] == [1024, 1024] and (shown["width"], shown["height"]) == (1536, 1536)
    assert (
        np.abs(mask[0] - np.linspace(0, 1, 1024)).max() < 1e-3 and np.abs(depth[:, 0] * 8 - np.linspace(1, 7, 1024)).max() < 1e-2
    )
    picture = Image.open(io.BytesIO(base64.b64decode(shown["photo"].partition(",")[2])))
    assert picture.size == (1024, 1024)


def test_a_workplace_is_removed_and_so_are_those_of_killed_servers(tmp_path, monkeypatch):
    monkeypatch.setattr(results_module.tempfile, "tempdir", str(tmp_path))
    code = "import sys, depthmask.base.process_identity as p; sys.stdout.write(p.name_process())"
    dead = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    (tmp_path / f"{PREFIX}{dead}.abc").mkdir()
    (tmp_path / f"{PREFIX}1-2-00000000.abc").mkdir()  # of another machine
    with make_workplace() as folder:
        assert folder.stat().st_mode & 0o077 == 0
        assert len(list(tmp_path.iterdir())) == 2
        (folder / "photo").touch()
    assert [path.name for path in tmp_path.iterdir()] == [f"{PREFIX}1-2-00000000.abc"]


def test_a_port_in_use_is_one_line(capfd, monkeypatch):
    monkeypatch.setattr(server, "find_spec", lambda name: True)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert app(["--port", str(port)]) == 1
    line = f"error: --port {port}: in use by another program; choose another, or 0 for any that is free\n"
    assert capfd.readouterr().err == line


def test_an_address_of_elsewhere_is_one_line():
    for host in ("192.0.2.1", "no such host"):
        with pytest.raises(UserError, match=f"^--host {host}: "):
            open_socket(host, 0)


@pytest.mark.parametrize("port", ["-1", "65536", "x", "99999999999", "²"])
def test_a_port_that_is_none_is_refused(port, capfd):
    with pytest.raises(SystemExit):
        app(["--port", port])
    assert "allowed: a whole number from 0 to 65535" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("host", "local", "start"),
    [("127.0.0.1", True, "http://127.0.0.1:"), ("localhost", True, "http://"), ("0.0.0.0", False, "http://127.0.0.1:")],
)
def test_the_address_is_one_that_can_be_opened(host, local, start):
    assert is_local(host) is local
    with open_socket(host, 0) as listening:
        address = format_address(listening)
        port = int(address.rpartition(":")[2])
        assert address.startswith(start) and port > 0
        socket.create_connection(listening.getsockname()[:2] if local else ("127.0.0.1", port), timeout=5).close()


@pytest.mark.parametrize(
    ("address", "own"),
    [("http://127.0.0.2:7860", "127.0.0.2"), ("http://[::1]:7860", "[::1]"), ("http://127.0.0.1:7860", "127.0.0.1")],
)
def test_a_page_of_this_machine_answers_at_the_address_it_prints(address, own):
    assert set(list_hosts(address)) == {"127.0.0.1", "localhost", "[::1]", own}


def test_without_gradio_one_line_says_what_to_install(monkeypatch, capfd):
    monkeypatch.setattr(server, "find_spec", lambda name: None if name == "gradio" else True)
    with pytest.raises(UserError):
        require_gradio()
    assert app([]) == 1
    assert capfd.readouterr().err == "error: app: the page needs the package gradio: pip install -e '.[app]'\n"


def test_nothing_of_the_environment_shares_the_page(tmp_path, monkeypatch):
    monkeypatch.setattr(server.os, "environ", dict(os.environ) | {"GRADIO_SHARE": "True", "GRADIO_ANALYTICS_ENABLED": "True"})
    monkeypatch.setattr(server.tempfile, "tempdir", None)
    isolate(tmp_path)
    set_ = {name: value for name, value in server.os.environ.items() if name.startswith("GRADIO_")}
    assert set_ == {"GRADIO_ANALYTICS_ENABLED": "False", "GRADIO_TEMP_DIR": str(tmp_path)}
    assert server.os.environ["HF_HUB_OFFLINE"] == "1"
