"""Predictions by OpenVINO: those of torch but for rounding, whatever the sizes, the batch and the threads, or torch instead."""

from __future__ import annotations

import importlib.util
import sys

import numpy as np
import pytest
import torch
from making_models import make_card

import depthmask
from depthmask.base.errors import UserError
from depthmask.base.files import read_json
from depthmask.cli import main
from depthmask.models.model_file import DepthMaskModel
from depthmask.registry.networks import NETWORKS
from depthmask.serving import loading, openvino_engine
from depthmask.serving.each_photo import Models
from depthmask.serving.models_of_call import describe_models
from depthmask.serving.shipped import SHIPPED

openvino_wanted = pytest.mark.skipif(importlib.util.find_spec("openvino") is None, reason="needs the extra openvino")


@pytest.fixture(autouse=True)
def without_openvino():
    """Not here."""


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("DEPTHMASK_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "openvino"


def draw_photos(*sizes):
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (*size, 3), dtype=np.uint8) for size in sizes]


def measure_difference(given, expected):
    assert given.mask.shape == expected.mask.shape
    return max(np.abs(given.mask - expected.mask).max(), np.abs(given.depth - expected.depth).max() / expected.depth_max)


@openvino_wanted
@pytest.mark.parametrize("background", [True, False])
def test_maps_are_those_of_torch_at_every_size_but_for_rounding(background, capfd):
    plain, fast = (depthmask.load_shipped(background, device="cpu", engine=engine) for engine in ("torch", "openvino"))
    assert plain.engine == "torch" and fast.engine.startswith("OpenVINO 20")
    photos = draw_photos((60, 80), (90, 70), (61, 224))  # the last is padded
    backgrounds = [photo[::-1].copy() for photo in photos] if background else None
    for given, expected in zip(fast.predict_batch(photos, backgrounds), plain.predict_batch(photos, backgrounds), strict=True):
        assert measure_difference(given, expected) < 1e-4
    assert capfd.readouterr() == ("", "")  # no size fell back to torch


@openvino_wanted
@pytest.mark.parametrize("name", sorted(set(NETWORKS) - {"smp_unet"}))  # of an extra
def test_every_network_is_converted(name):
    card = make_card(name, background_input=NETWORKS[name].needs_background)
    with torch.random.fork_rng(), torch.inference_mode():
        torch.manual_seed(0)
        fast = openvino_engine.OpenVinoModel(DepthMaskModel(card).eval())
        fast(*[torch.zeros(1, 3, 64, 96)] * (1 + fast.model.background_input))
    assert fast.refused == []


@openvino_wanted
def test_other_photos_in_the_call_change_no_bit():
    fast = depthmask.load_shipped(False, device="cpu", size_px=64, engine="openvino")
    photos = draw_photos(*[(60, 80)] * 3)
    for given, alone in zip(fast.predict_batch(photos), map(fast.predict, photos), strict=True):
        assert np.array_equal(given.mask, alone.mask) and np.array_equal(given.depth, alone.depth)


@openvino_wanted
def test_the_converted_network_is_read_from_the_cache_and_a_damaged_one_is_replaced(own_cache, monkeypatch):
    (photo,) = draw_photos((48, 64))
    first = loading.load(SHIPPED[False], "cpu", 64, engine="openvino").predict(photo)
    (file,) = own_cache.rglob("*.bin")
    whole = file.read_bytes()
    file.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    again = loading.load(SHIPPED[False], "cpu", 64, engine="openvino").predict(photo)
    assert file.read_bytes() == whole
    monkeypatch.setattr(openvino_engine, "_convert", lambda *_: pytest.fail("was converted although it is in the cache"))
    cached = loading.load(SHIPPED[False], "cpu", 64, engine="openvino").predict(photo)
    assert np.array_equal(first.mask, again.mask) and np.array_equal(first.mask, cached.mask)


@openvino_wanted
def test_without_a_place_for_a_cache_the_result_is_the_same(tmp_path, monkeypatch):
    (photo,) = draw_photos((48, 64))
    expected = loading.load(SHIPPED[False], "cpu", 64, engine="openvino").predict(photo)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("DEPTHMASK_CACHE", str(tmp_path / "file"))
    assert np.array_equal(loading.load(SHIPPED[False], "cpu", 64, engine="openvino").predict(photo).mask, expected.mask)


@openvino_wanted
def test_a_size_at_which_it_differs_is_predicted_by_torch_and_said(monkeypatch, capfd):
    monkeypatch.setattr(openvino_engine.TracedPlace, "forward", lambda self, x: x)  # a wrong conversion
    fast = depthmask.load_shipped(False, device="cpu", size_px=64, engine="openvino")
    (photo,) = draw_photos((48, 64))
    expected = depthmask.load_shipped(False, device="cpu", size_px=64, engine="torch").predict(photo)
    assert measure_difference(fast.predict(photo), expected) < 1e-5
    assert "at 64 x 48 px OpenVINO differs from torch by" in " ".join(capfd.readouterr().err.split())
    models = Models({False: fast}, {False: [SHIPPED[False]]})
    assert ["at 64 x 48 px" in line for line in describe_models(models)[0]["fallbacks"]] == [True]


@openvino_wanted
def test_a_size_at_which_it_gives_no_numbers_is_predicted_by_torch_and_said(monkeypatch, capfd):
    def compile_without_depth(self, size):
        def run(pictures):
            mask, depth = openvino_engine._run_torch(self.model, pictures)
            return mask, torch.full_like(depth, torch.nan)

        return run

    monkeypatch.setattr(openvino_engine.OpenVinoModel, "_compile", compile_without_depth)
    fast = depthmask.load_shipped(False, device="cpu", size_px=64, engine="openvino")
    assert np.isfinite(fast.predict(draw_photos((48, 64))[0]).depth).all()
    assert "at 64 x 48 px OpenVINO differs from torch by nan" in " ".join(capfd.readouterr().err.split())


@openvino_wanted
def test_a_network_that_cannot_be_converted_is_predicted_by_torch_and_said(monkeypatch, capfd):
    def fail(*_):
        raise RuntimeError("no such\noperator")

    monkeypatch.setattr(openvino_engine, "_convert", fail)
    assert depthmask.load_shipped(False, device="cpu").engine == "torch"
    error = " ".join(capfd.readouterr().err.split())
    assert "cannot be converted for OpenVINO (RuntimeError: no such operator); predicting with torch" in error
    with pytest.raises(UserError, match="choose the engine torch"):
        depthmask.load_shipped(False, device="cpu", engine="openvino")


@openvino_wanted
def test_it_uses_torch_s_threads_and_compiles_again_when_they_change():
    fast = openvino_engine.OpenVinoModel(loading.load_model(SHIPPED[False]), SHIPPED[False])
    threads = torch.get_num_threads()
    try:
        for number in (1, 2, 1):
            torch.set_num_threads(number)
            with torch.inference_mode():
                fast(torch.zeros(1, 3, 32, 32))
    finally:
        torch.set_num_threads(threads)
    assert sorted(fast._runs) == [(32, 32, 1), (32, 32, 2)]


@openvino_wanted
def test_compiled_sizes_are_bounded_by_their_number_and_their_pixels(monkeypatch):
    monkeypatch.setattr(openvino_engine.OpenVinoModel, "_prepare", lambda self, size: None)
    fast = openvino_engine.OpenVinoModel(loading.load_model(SHIPPED[False]), SHIPPED[False])
    for width in range(32, 32 * 42, 32):
        fast._find_run((32, width))
    assert [size[1] for size in fast._runs] == list(range(32 * 10, 32 * 42, 32))
    for height in (1024, 1056, 1088, 1120, 1152):
        fast._find_run((height, 1024))
    assert [size[0] for size in fast._runs] == [1088, 1120, 1152]
    fast._find_run((4096, 4096))  # more than allowed: alone
    assert [size[0] for size in fast._runs] == [4096]


@openvino_wanted
def test_the_command_notes_the_engine_and_records_it(tmp_path, monkeypatch, capfd):
    from PIL import Image

    monkeypatch.chdir(tmp_path)
    Image.fromarray(draw_photos((48, 64))[0]).save("a.jpg")
    assert main(["predict", "a.jpg", "--out", "fast", "--size-px", "64", "--device", "cpu"]) == 0
    assert "predicting with OpenVINO 20" in capfd.readouterr().err
    assert main(["predict", "a.jpg", "--out", "plain", "--size-px", "64", "--device", "cpu", "--engine", "torch"]) == 0
    assert "OpenVINO" not in capfd.readouterr().err
    engines = [read_json(tmp_path / out / "predictions.json")["models"][0]["engine"] for out in ("fast", "plain")]
    assert engines[0].startswith("OpenVINO 20") and engines[1] == "torch"
    masks = [np.asarray(Image.open(tmp_path / out / "a_mask.png")).astype(int) for out in ("fast", "plain")]
    assert np.abs(masks[0] - masks[1]).max() <= 1


@openvino_wanted
def test_nothing_is_sent_to_its_maker():
    openvino = openvino_engine.import_openvino()
    from openvino.tools.ovc import telemetry_utils

    assert openvino.__version__ and telemetry_utils.tm.__name__ == "openvino.tools.ovc.telemetry_stub"


def test_without_the_package_torch_predicts_and_asking_for_it_says_what_to_install(monkeypatch, capfd):
    monkeypatch.setitem(sys.modules, "openvino", None)
    assert depthmask.load_shipped(False, device="cpu").engine == "torch"
    assert capfd.readouterr().err == ""
    with pytest.raises(UserError, match=r"engine: openvino needs the package openvino; install with: pip install -e"):
        depthmask.load_shipped(False, device="cpu", engine="openvino")


@pytest.mark.parametrize("engine", ["onnx", None])
def test_an_unknown_engine_is_refused(engine):
    with pytest.raises(UserError, match=r"^engine: .*; allowed: auto, torch, openvino$"):
        depthmask.load_shipped(False, device="cpu", engine=engine)


def test_it_is_for_the_cpu_only(monkeypatch):
    monkeypatch.setattr(loading, "choose_device", lambda *_, **__: "cuda")
    with pytest.raises(UserError, match="engine: openvino computes on the CPU, but the device is cuda"):
        depthmask.load_shipped(False, engine="openvino")
