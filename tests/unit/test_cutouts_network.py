"""Cut-outs by segmentation networks of transformers: tiny ones, made here."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from making_annotations import make_photos, save_photos
from PIL import Image
from test_cutouts_command import fail, read_all, run

transformers = pytest.importorskip("transformers", reason="transformers is not installed (extra segmentation)")

NAMES = {0: "background", 1: "person", 2: "dog"}
SIDE_PX = 64
LOOSE = ("--allow-cut", "--min-side", "4", "--min-area", "16")


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    return save_photos(tmp_path_factory.mktemp("photos"), make_photos(4))


def save(network: torch.nn.Module, processor, folder: Path) -> Path:
    network.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def by_class(tmp_path_factory) -> Path:
    """SegFormer, which says of each pixel what it is of."""
    torch.manual_seed(0)
    config = transformers.SegformerConfig(
        depths=[1] * 4, hidden_sizes=[8, 8, 16, 16], num_attention_heads=[1, 1, 2, 2], decoder_hidden_size=16, id2label=NAMES
    )
    network = transformers.SegformerForSemanticSegmentation(config)
    processor = transformers.SegformerImageProcessor(size={"height": SIDE_PX, "width": SIDE_PX})
    return save(network, processor, tmp_path_factory.mktemp("by_class") / "model")


@pytest.fixture(scope="module")
def by_object(tmp_path_factory) -> Path:
    """MaskFormer, which separates objects; all of them are persons to it."""
    torch.manual_seed(0)
    backbone = transformers.SwinConfig(
        image_size=SIDE_PX, embed_dim=8, depths=[1] * 4, num_heads=[1, 1, 2, 2], window_size=4,
        out_features=["stage1", "stage2", "stage3", "stage4"],
    )  # fmt: skip
    decoder = transformers.DetrConfig(
        d_model=32, encoder_layers=1, decoder_layers=2, encoder_attention_heads=2, decoder_attention_heads=2, encoder_ffn_dim=16,
        decoder_ffn_dim=16, num_queries=5,
    )  # fmt: skip
    sizes = {"fpn_feature_size": 32, "mask_feature_size": 32}
    config = transformers.MaskFormerConfig(backbone_config=backbone, decoder_config=decoder, id2label=NAMES, **sizes)
    network = transformers.MaskFormerForInstanceSegmentation(config)
    with torch.no_grad():
        network.class_predictor.weight.zero_()
        network.class_predictor.bias.copy_(torch.tensor([0.0, 5.0, 0.0, 0.0]))
    processor = transformers.MaskFormerImageProcessor(size={"height": SIDE_PX, "width": SIDE_PX}, num_labels=len(NAMES))
    return save(network, processor, tmp_path_factory.mktemp("by_object") / "model")


def predict_classes(folder: Path, image: Image.Image) -> np.ndarray:
    """The class of each pixel, without the pipeline of transformers."""
    processor = transformers.AutoImageProcessor.from_pretrained(folder)
    network = transformers.SegformerForSemanticSegmentation.from_pretrained(folder).eval()
    with torch.inference_mode():
        logits = network(**processor(images=image, return_tensors="pt")).logits
    return torch.nn.functional.interpolate(logits, image.size[::-1], mode="bilinear").argmax(dim=1)[0].numpy()


def test_the_connected_parts_of_a_class_become_cutouts(photos, by_class, tmp_path):
    record = run(tmp_path / "out", "network", "--images", photos, "--segmenter", by_class, *LOOSE)
    expected = predict_classes(by_class, Image.open(photos / "000001.jpg"))
    (picture,) = [p for p in record["pictures"] if p["picture"] == "000001.jpg"]
    for number, kind in NAMES.items():
        area = sum(k["area_px"] for k in picture["kept"] if k["kind"] == kind)
        if kind == "background":
            assert area == 0
        else:
            missed = (expected == number).sum() - area
            assert 0 <= missed < 200  # specks
    assert set(record["kinds"]) == {"person", "dog"}


def test_objects_become_cutouts_the_same_with_any_number_of_workers(photos, by_object, tmp_path):
    options = ("network", "--images", photos, "--segmenter", by_object, "--score-min", "0.1", *LOOSE)
    made = []
    for workers in (1, 2):
        record = run(tmp_path / f"out{workers}", *options, workers=workers)
        made.append(read_all(tmp_path / f"out{workers}/fg"))
    assert record["kinds"] == {"person": len(made[0])} and len(made[0]) >= 4
    assert made[0] == made[1]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: (folder / "config.json").unlink(), "contains no config.json"),
        (lambda folder: (folder / "model.safetensors").unlink(), r"contains no *.safetensors"),
        (lambda folder: (folder / "config.json").write_text("{"), "config.json is not JSON"),
        (lambda folder: (folder / "config.json").write_text('{"architectures": ["GPT2LMHeadModel"]}'), "is GPT2LMHeadModel, not"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"cut off"), "cannot be loaded ("),
    ],
)
def test_a_folder_that_is_no_network_is_one_line(photos, by_class, tmp_path, capsys, spoil, message):
    folder = tmp_path / "model"
    folder.mkdir()
    for path in by_class.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    spoil(folder)
    line = fail(capsys, "network", "--images", photos, "--segmenter", folder, "--out", tmp_path / "out", "--workers", "1")
    assert line.startswith(f"--segmenter {folder}: ") and message in line


def test_a_network_that_lacks_weights_is_rejected(photos, by_class, tmp_path, capsys):
    from safetensors.torch import load_file, save_file

    folder = tmp_path / "model"
    folder.mkdir()
    for path in by_class.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    weights = load_file(folder / "model.safetensors")
    del weights["decode_head.classifier.weight"]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    line = fail(capsys, "network", "--images", photos, "--segmenter", folder, "--out", tmp_path / "out", "--workers", "1")
    assert "lacks 1 of the network's weights, such as decode_head.classifier.weight" in line


def test_other_weights_are_noticed(photos, by_class, tmp_path, capsys):
    options = ("network", "--images", photos, "--segmenter", by_class, *LOOSE)
    run(tmp_path / "out", *options)
    names = json.loads((by_class / "config.json").read_text())
    changed = tmp_path / "model"
    changed.mkdir()
    for path in by_class.iterdir():
        (changed / path.name).write_bytes(path.read_bytes())
    (changed / "config.json").write_text(json.dumps(names | {"id2label": {"0": "dog", "1": "background", "2": "person"}}))
    capsys.readouterr()
    run(tmp_path / "out", "network", "--images", photos, "--segmenter", changed, *LOOSE)
    assert "were done by an earlier call" not in capsys.readouterr().err
