"""depthmask export: graphs that agree with torch, files that carry what is known of them, and the model card."""

from __future__ import annotations

import hashlib
import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from making_models import make_settings
from torch import nn

from depthmask.base.errors import UserError
from depthmask.base.files import write_json
from depthmask.cli import main
from depthmask.encoders.packages import read_packaged_weights
from depthmask.export import formats as exporting
from depthmask.export.formats import TOLERANCE, compare, export_onnx, export_program, list_sizes
from depthmask.models.model_card import EncoderCard
from depthmask.models.model_file import DepthMaskModel, ModelCard, load_model, save_model
from depthmask.registry.encoders import ENCODERS
from depthmask.registry.networks import NETWORKS

SIDE, MAX_DEPTH = 64, 8.0
CASES = [
    (name, background)
    for name, spec in NETWORKS.items()
    for background in (False, True)
    if (spec.takes_background if background else not spec.needs_background) and name != "smp_unet"
]


def make_model(name: str = "compact", background: bool = False) -> DepthMaskModel:
    """Weights as a network starts with them, and batch norms that have seen something."""
    torch.manual_seed(0)
    settings = make_settings(name, width=8, dropout=0.1, background_input=background)
    stats = {"mask_mean": 0.2, "mask_std": 0.3, "depth_mean": 0.4, "depth_std": 0.25}
    card = ModelCard(settings.model_dump(), (0.5, 0.4, 0.3), (0.2,) * 3, "metre", MAX_DEPTH, 3, SIDE, **stats)
    model = DepthMaskModel(card)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.uniform_(-0.2, 0.2)
            module.running_var.uniform_(0.5, 1.5)
    return model.eval()


def check_session(path: Path, model: DepthMaskModel) -> None:
    """onnxruntime's answers are the model's at sizes that the exporter did not look at."""
    onnxruntime = pytest.importorskip("onnxruntime")
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [given.name for given in session.get_inputs()]
    assert names == ["image", "background"][: len(names)] and len(names) == 1 + model.background_input
    assert [given.name for given in session.get_outputs()] == ["mask", "depth"]
    stride = 1 if model.spec.pads else model.spec.stride
    for batch, height, width in ((1, 112, 80), (5, 64, 128), (2, 49 // stride * stride, 75 // stride * stride)):
        pictures = [torch.rand(batch, 3, height, width, generator=torch.Generator().manual_seed(n)) for n, _ in enumerate(names)]
        mask, depth = session.run(None, {name: picture.numpy() for name, picture in zip(names, pictures)})
        with torch.inference_mode():
            prediction = model(*pictures)
        assert np.abs(mask - prediction.mask_prob_B1HW.numpy()).max() <= TOLERANCE
        assert np.abs(depth - prediction.depth_clamped_B1HW.numpy() * MAX_DEPTH).max() <= TOLERANCE * MAX_DEPTH


@pytest.mark.slow
def test_onnx_agrees_with_torch_at_any_size(tmp_path):
    """Here with two images; further below, by the command, with one."""
    pytest.importorskip("onnxscript")
    model = make_model(background=True)
    assert export_onnx(model, tmp_path / "m.onnx", {}) <= TOLERANCE
    check_session(tmp_path / "m.onnx", model)
    assert [path.name for path in tmp_path.iterdir()] == ["m.onnx"]  # weights inside


@pytest.mark.slow
@pytest.mark.parametrize(("name", "background"), [case for case in CASES if case[0] != "compact"])
def test_every_network_can_be_exported(tmp_path, name, background):
    pytest.importorskip("onnxscript")
    model = make_model(name, background)
    kinds = {"onnx", "program"}
    if name == "encoder_decoder":  # minutes, for sizes that are symbols: one kind each
        kinds = {"onnx"} if background else {"program"}
    if "onnx" in kinds:
        assert export_onnx(model, tmp_path / "m.onnx", {}) <= TOLERANCE
        check_session(tmp_path / "m.onnx", model)
    if "program" in kinds:
        assert export_program(model, tmp_path / "m.pt2", {}) <= TOLERANCE


@pytest.mark.slow
@pytest.mark.parametrize("side_px", [16, 32, 48])
def test_a_model_trained_at_a_small_size_can_be_exported(tmp_path, side_px):
    """Half of its side is less than the two strides that a graph takes at least."""
    model = make_model(background=True)
    model.card = replace(model.card, image_size_px=side_px)
    assert export_program(model, tmp_path / "m.pt2", {}) <= TOLERANCE
    assert min(min(sides) for _, *sides in list_sizes(model)) == 2 * model.spec.stride


@pytest.mark.slow
def test_torch_export_agrees_and_carries_its_card(tmp_path):
    model = make_model(background=True)
    assert export_program(model, tmp_path / "m.pt2", {"depthmask": '{"a": 1}'}) <= TOLERANCE
    extra = {"depthmask": ""}
    program = torch.export.load(tmp_path / "m.pt2", extra_files=extra).module()
    assert json.loads(extra["depthmask"]) == {"a": 1}
    pictures = [torch.rand(3, 3, 50, 90), torch.rand(3, 3, 50, 90)]
    with torch.inference_mode():
        (mask, depth), prediction = program(*pictures), model(*pictures)
    torch.testing.assert_close(mask, prediction.mask_prob_B1HW, rtol=0, atol=TOLERANCE)
    torch.testing.assert_close(depth, prediction.depth_clamped_B1HW * MAX_DEPTH, rtol=0, atol=TOLERANCE * MAX_DEPTH)


def test_sizes_that_are_compared_differ_and_fit_the_network():
    assert list_sizes(make_model()) == [(1, 64, 64), (3, 32, 64), (1, 128, 96), (2, 69, 57)]
    assert list_sizes(make_model("resnet18_shuffle")) == [(1, 64, 64), (3, 32, 64), (1, 128, 96), (2, 64, 56)]


@pytest.mark.slow
def test_a_graph_that_disagrees_leaves_no_file(tmp_path, monkeypatch):
    """An exporter that gets one weight wrong."""
    trace = exporting.trace

    def trace_another(model):
        other = make_model()
        with torch.no_grad():
            other.network.mask_head[1].bias.add_(0.01)
        return trace(other)

    monkeypatch.setattr(exporting, "trace", trace_another)
    (tmp_path / "m.pt2").write_text("an older file")
    with pytest.raises(UserError, match=r"m\.pt2: not written, because it differs from torch by 0\.0\d+ on images of 64 x 64 px"):
        export_program(make_model(), tmp_path / "m.pt2", {})
    assert [path.name for path in tmp_path.iterdir()] == ["m.pt2"]
    assert (tmp_path / "m.pt2").read_text() == "an older file"


def test_answers_that_are_no_numbers_or_of_another_shape_disagree():
    model = make_model()

    def answer(spoil):
        def run(arrays):
            with torch.inference_mode():
                prediction = model(torch.from_numpy(arrays[0]))
            return [spoil(prediction.mask_prob_B1HW.numpy()), prediction.depth_clamped_B1HW.numpy() * MAX_DEPTH]

        return run

    assert compare(model, answer(lambda mask: mask), Path("m")) == 0
    for spoil in (lambda mask: mask * np.nan, lambda mask: mask[:, :, 1:], lambda mask: mask + 1.01 * TOLERANCE):
        with pytest.raises(UserError, match="differs from torch"):
            compare(model, answer(spoil), Path("m"))


def test_without_the_packages_onnx_is_one_line_that_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(UserError, match=r"export to ONNX needs the package onnx; install with: pip install -e '\.\[export\]'"):
        export_onnx(make_model(), tmp_path / "m.onnx", {})
    assert list(tmp_path.iterdir()) == []


def hash_md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()


METRICS = {"test": {"mask": {"iou": 0.812, "dice": 0.9}, "depth": {"delta1": 0.8, "rmse": 1.25}, "num_images": 12}}
BASELINES = {"test": {"mask_empty": {"iou": 0.0}, "mask_mean": {"iou": 0.08}, "depth_row_mean": {"delta1": 0.42, "rmse": 3.0}}}
RECORD = {"stage": "finetune", "started": "2026-01-02T03:04:05+00:00", "seconds": 130.0, "commit": "abc123", "dirty": True}


@pytest.fixture
def run(tmp_path, monkeypatch) -> Path:
    """A working folder as after a run: model, records and dvc.lock."""
    monkeypatch.chdir(tmp_path)
    model = Path("data/models/finetune.safetensors")
    save_model(make_model(), model)
    record = RECORD | {"versions": {"torch": "2.13.0"}, "hardware": {"cores": 2}, "params": {}, "extra": {}}
    files = {"reports/finetune/run.json": record, "reports/metrics.json": METRICS, "reports/baselines.json": BASELINES}
    for name, value in files.items():
        write_json(Path(name), value)

    def entry(path: str, md5: str = "") -> dict:
        return {"path": path, "hash": "md5", "md5": md5 or hash_md5(Path(path))}

    raw, checked = entry("data/raw", "1" * 32 + ".dir"), entry("data/check.txt", "2" * 32)
    stages = {
        "check": {"cmd": "c", "params": {"params.yaml": {"report": {"title": "x"}}}, "outs": [checked]},
        "download": {
            "deps": [checked, entry("data/demo", "3" * 32 + ".dir"), entry("workflow/a.py", "4" * 32)],
            "params": {"params.yaml": {"download": {"source": "demo"}, "compose.fit": "crop", "evaluate.image_size_px": 64}},
            "outs": [raw],
        },
        "finetune": {
            "deps": [raw],
            "params": {"params.yaml": {"seed": 0, "finetune": {"epochs": 3}, "compose": {"field_of_view_deg": 53.0}}},
            "outs": [entry(str(model)), entry("reports/finetune/run.json")],
        },
        "evaluate": {
            "deps": [raw, entry(str(model))],
            "outs": [entry("reports/metrics.json"), entry("reports/baselines.json")],
        },
    }
    Path("dvc.lock").write_text(yaml.safe_dump({"schema": "2.0", "stages": stages}))
    return model


def test_an_exported_model_file_carries_its_release_and_is_the_same_model(run, capsys):
    assert main(["export", "--out", "dist/model.safetensors"]) == 0
    captured = capsys.readouterr()
    assert captured.err == "" and captured.out.startswith("dist/model.safetensors: written, ")
    model, before = load_model(Path("dist/model.safetensors")), load_model(run)
    release = model.card.release
    assert release["scores"] == METRICS["test"] and release["baselines"] == BASELINES["test"]
    assert release["params"] == {
        "download": {"source": "demo"},
        "seed": 0,
        "finetune": {"epochs": 3},
        "compose": {"field_of_view_deg": 53.0},
        "evaluate": {"image_size_px": 64},
    }
    assert release["data"] == {"data/demo": "3" * 32 + ".dir", "data/raw": "1" * 32 + ".dir"}
    assert release["runs"] == [RECORD | {"hardware": {"cores": 2}}]
    wanted = before.state_dict()
    assert all(torch.equal(tensor, wanted[name]) for name, tensor in model.state_dict().items())
    assert Path("dist/model.md").read_text() == release["model_card"]

    # the same once more, and from the exported file, which needs no dvc.lock any more
    first = Path("dist/model.safetensors").read_bytes()
    Path("dvc.lock").unlink()
    assert main(["export", "--model", "dist/model.safetensors", "--out", "again.safetensors"]) == 0
    assert Path("again.safetensors").read_bytes() == first


def test_a_source_that_was_removed_is_not_among_the_data(run):
    lock = yaml.safe_load(Path("dvc.lock").read_text())
    more = {"path": "data/raw_more", "md5": "5" * 32 + ".dir", "size": 9}
    for name in ("kept", "removed"):
        lock["stages"][f"download_more@{name}"] = {
            "deps": [{"path": f"../{name}", "md5": "6" * 32 + ".dir"}],
            "params": {"params.yaml": {f"download.more_sources.{name}": {"path": f"../{name}"}}},
            "outs": [{"path": f"data/raw_more/{name}", "md5": "7" * 32 + ".dir"}],
        }
    split = {"path": "data/split", "md5": "8" * 32 + ".dir"}
    params = {"params.yaml": {"download.more_sources": {"kept": {"path": "../kept"}}}}
    lock["stages"]["split"] = {"deps": [more], "params": params, "outs": [split]}
    lock["stages"]["finetune"]["deps"] += [more, split]
    Path("dvc.lock").write_text(yaml.safe_dump(lock))
    assert main(["export", "--out", "model.safetensors"]) == 0
    data = load_model(Path("model.safetensors")).card.release["data"]
    assert "../kept" in data and "../removed" not in data


def test_the_model_card_says_what_the_files_say(run, capsys):
    assert main(["card"]) == 0
    text = capsys.readouterr().out
    for words in (
        "# Model card: compact, mask and depth of a photo",
        "| mask IoU | higher is better | 0.812 | 0.080, mean mask |",
        "| depth RMSE (m) | lower is better | 1.250 | 3.000, mean depth of each row |",
        "| finetune | 2026-01-02 03:04 UTC | 2 min 10 s | abc123, with changes that were not committed |",
        "0 to 8 m (metre), larger is farther",
        "Test set: 12 images",
        "rendered scenes",
        "near 53 degrees",
        f"`data/raw` | `{'1' * 32}.dir`",
        "torch 2.13.0",
        "  epochs: 3",
        'model.predict("dog.jpg")',
    ):
        assert words in text, words
    assert "&#" not in text and "&amp;" not in text  # Markdown, not HTML


def test_scores_of_other_data_are_put_beside_the_models_own(run, capsys):
    write_json(Path("rooms/metrics.json"), {"test": {"mask": {"iou": 0.7}, "depth": {"delta1": 0.5}, "num_images": 7}})
    write_json(Path("rooms/baselines.json"), {"test": {"depth_row_mean": {"delta1": 0.4}}})
    assert main(["export", "--out", "model.safetensors", "--scored-on", "real rooms", "rooms"]) == 0
    release = load_model(Path("model.safetensors")).card.release
    assert release["scores"] == METRICS["test"] and release["other_scores"]["real rooms"]["scores"]["num_images"] == 7
    assert "On other data, real rooms: 7 images" in release["model_card"]
    assert "| depth δ < 1.25 | higher is better | 0.500 | 0.400, mean depth of each row |" in release["model_card"]
    # exported again it keeps them
    assert main(["export", "--model", "model.safetensors", "--out", "again.safetensors"]) == 0
    assert Path("again.safetensors").read_bytes() == Path("model.safetensors").read_bytes()
    write_json(Path("rooms/baselines.json"), {"test": {"depth_row_mean": {"delta1": "much"}}})
    capsys.readouterr()
    assert main(["export", "--out", "m.safetensors", "--scored-on", "real rooms", "rooms"]) == 1
    assert capsys.readouterr().err.startswith("error: rooms: metrics.json and baselines.json are not those of the stage evaluate")


def test_scores_with_mirror_images_are_on_the_card_and_those_of_several_models_are_not(run, capsys):
    flipped = {"mask": {"iou": 0.823, "dice": 0.91}, "depth": {"delta1": 0.83, "rmse": 1.2}, "num_images": 12}
    lock = yaml.safe_load(Path("dvc.lock").read_text())

    def write(num_models: int) -> None:
        averaged = {"num_models": num_models, "num_views": 2} | flipped
        write_json(Path("reports/metrics.json"), METRICS | {"averaged": averaged})
        lock["stages"]["evaluate"]["outs"][0]["md5"] = hash_md5(Path("reports/metrics.json"))
        Path("dvc.lock").write_text(yaml.safe_dump(lock))

    write(1)
    assert main(["export", "--out", "model.safetensors"]) == 0
    release = load_model(Path("model.safetensors")).card.release
    assert release["scores"] == METRICS["test"]
    assert release["flipped_scores"] == {"num_models": 1, "num_views": 2} | flipped
    said = (
        "With `--flip`, the mean with the prediction of the mirrored photo: mask IoU 0.823, mask Dice 0.910, depth δ < 1.25 0.830"
    )
    assert f"\n\n{said}, depth RMSE 1.200.\n" in release["model_card"]
    write(2)
    assert main(["export", "--out", "model.safetensors"]) == 0
    release = load_model(Path("model.safetensors")).card.release
    assert "flipped_scores" not in release and "--flip" not in release["model_card"]


def test_scores_of_other_weights_are_not_reported(run, capsys):
    model = load_model(run)
    save_model(model, run, epochs=99)  # as after a training that was not evaluated, nor recorded
    assert main(["export", "--out", "model.safetensors"]) == 0
    assert "note: dvc.lock: has no record of exactly this data/models/finetune.safetensors" in capsys.readouterr().err
    release = load_model(Path("model.safetensors")).card.release
    assert (release["scores"], release["params"], release["data"], release["runs"]) == ({}, {}, {}, [])
    assert "Unknown: no evaluation of exactly this file was found." in release["model_card"]


def test_scores_that_were_changed_by_hand_are_not_reported(run, capsys):
    write_json(Path("reports/metrics.json"), METRICS | {"more": 1})
    assert main(["export", "--out", "model.safetensors"]) == 0
    assert "scores are unknown; run evaluate" in capsys.readouterr().err
    release = load_model(Path("model.safetensors")).card.release
    assert release["scores"] == {} and release["params"]["finetune"] == {"epochs": 3}


def test_without_a_lock_file_a_note_says_what_is_unknown(run, capsys):
    Path("dvc.lock").unlink()
    assert main(["export", "--out", "model.safetensors"]) == 0
    assert capsys.readouterr().err == "note: dvc.lock: no such file, so data, params and scores are unknown\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--out", "model.pth"], "--out model.pth: the suffix determines the format; allowed: .safetensors, .onnx, .pt2"),
        (
            ["--out", "m.onnx", "--format", "depthmask"],
            "--out m.onnx: has the suffix of format onnx, but --format is depthmask",
        ),
        (["--out", "data/models/finetune.safetensors"], "--out data/models/finetune.safetensors: is the model file itself"),
        (["--out", "m.onnx", "--model", "none"], "none: no such file"),
        (["--out", "m.safetensors", "--lock", "broken"], "broken: is not a DVC lock file"),
    ],
)
def test_a_mistake_is_one_line(run, capsys, arguments, words):
    Path("broken").write_text("stages: [")
    assert main(["export", *arguments]) == 1
    printed = capsys.readouterr().err
    assert printed.startswith(f"error: {words}") and printed.count("\n") == 1


@pytest.mark.slow
def test_an_onnx_file_carries_card_and_model_card(run, capsys):
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxscript")
    assert main(["export", "--out", "model.onnx"]) == 0
    assert "sizes within" in capsys.readouterr().out
    check_session(Path("model.onnx"), load_model(run))
    printed = {entry.key: entry.value for entry in onnx.load("model.onnx").metadata_props}
    card = json.loads(printed["depthmask"])
    assert card["depth_unit"] == "metre" and card["depth_max"] == MAX_DEPTH and card["settings"]["name"] == "compact"
    assert card["release"]["scores"] == METRICS["test"]
    assert printed["model_card"] == Path("model.md").read_text()


def test_half_the_size_and_nearly_the_same_maps(tmp_path, capsys):
    model = make_model(background=True)
    save_model(model, tmp_path / "whole.safetensors")
    arguments = ["--model", str(tmp_path / "whole.safetensors"), "--lock", str(tmp_path / "none.lock")]
    assert main(["export", *arguments, "--half", "--out", str(tmp_path / "half.safetensors")]) == 0
    assert (tmp_path / "half.safetensors").stat().st_size < 0.7 * (tmp_path / "whole.safetensors").stat().st_size
    images = [torch.rand(1, 3, 64, 64) for _ in range(2)]
    with torch.inference_mode():
        half, whole = load_model(tmp_path / "half.safetensors")(*images), load_model(tmp_path / "whole.safetensors")(*images)
    assert all(parameter.dtype == torch.float32 for parameter in load_model(tmp_path / "half.safetensors").parameters())
    torch.testing.assert_close(half.depth_B1HW, whole.depth_B1HW, atol=2e-3, rtol=0)
    capsys.readouterr()
    assert main(["export", *arguments, "--half", "--out", str(tmp_path / "m.onnx")]) == 1
    assert "--half: " in capsys.readouterr().err


def make_model_with_encoder() -> DepthMaskModel:
    """An encoder as its package has it, under decoders as a network starts with them."""
    spec = ENCODERS["efficientnet_lite0"]
    origin = EncoderCard("imagenet", spec.package, spec.licence, spec.sha256)
    model = make_model("encoder_decoder", background=True)
    model.network.encoder.load_state_dict(read_packaged_weights("efficientnet_lite0"))
    model.card = replace(model.card, encoder=origin)
    return model


def test_an_unchanged_encoder_can_be_left_out_and_comes_back(tmp_path):
    model, path = make_model_with_encoder(), tmp_path / "small.safetensors"
    save_model(model, tmp_path / "whole.safetensors")
    save_model(model, path, without_encoder=True)
    assert path.stat().st_size < 0.2 * (tmp_path / "whole.safetensors").stat().st_size
    wanted, found = model.state_dict(), load_model(path).state_dict()
    assert wanted.keys() == found.keys() and all(torch.equal(found[name], wanted[name]) for name in wanted)


def test_a_changed_encoder_cannot_be_left_out(tmp_path, capsys):
    model = make_model_with_encoder()
    with torch.no_grad():
        next(model.network.encoder.parameters()).add_(1e-6)
    save_model(model, tmp_path / "whole.safetensors")
    arguments = ["export", "--model", str(tmp_path / "whole.safetensors"), "--lock", str(tmp_path / "none.lock")]
    assert main([*arguments, "--without-encoder", "--out", str(tmp_path / "small.safetensors")]) == 1
    assert "error: the encoder's weights are not those of a package, unchanged" in capsys.readouterr().err
    assert main([*arguments, "--without-encoder", "--out", str(tmp_path / "m.onnx")]) == 1
    assert "--without-encoder: " in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["whole.safetensors"]
    model.card = replace(model.card, encoder=replace(model.card.encoder, sha256="0" * 64))  # of somebody's own weights
    with pytest.raises(UserError, match="not those of a package"):
        save_model(model, tmp_path / "small.safetensors", without_encoder=True)
