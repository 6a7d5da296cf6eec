"""The models that come with the package: small, free to use, and as good as their cards say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

import depthmask
from depthmask.base.files import read_json
from depthmask.models.model_file import read_model_file
from depthmask.recipes import resolve_recipe
from depthmask.serving.shipped import FOLDER, SHIPPED
from stages import download, evaluate, split

PROJECT = Path(__file__).parents[2]
VALUES = yaml.safe_load((PROJECT / "params.yaml").read_text())
REAL = PROJECT.parent / "shared/real"
BYTES_MAX = 8_000_000
COMPARED = [("mask", "iou"), ("mask", "dice"), ("depth", "delta1"), ("depth", "abs_rel"), ("depth", "delta1_aligned")]


def read_release(background: bool) -> dict:
    return read_model_file(SHIPPED[background])[0].release


# keys that the schema did not have when the models were trained, with the value that changes nothing
NEWER = {"download": {"mask": None, "more_sources": {}}, "split": {"seed": None}}


def test_there_is_nothing_but_the_two_and_their_cards():
    assert {path.name for path in FOLDER.iterdir()} == {
        path.with_suffix(end).name for path in SHIPPED.values() for end in (".safetensors", ".md")
    }


@pytest.mark.parametrize("background", [True, False])
def test_a_model_is_small_and_its_card_says_what_it_is_made_from(background):
    path, (card, _) = SHIPPED[background], read_model_file(SHIPPED[background])
    assert path.stat().st_size < BYTES_MAX
    assert card.settings["background_input"] is background and card.encoder.weights == "imagenet"
    assert card.init is None and card.encoder.licence == card.release["licence"] == "Apache-2.0"
    wanted = resolve_recipe("other_rooms", VALUES)
    wanted["model"]["background_input"] = background
    for section in ("seed", "download", "split", "compose", "augment", "loss", "model", "pretrain", "finetune"):
        said = card.release["params"][section]
        assert (NEWER.get(section, {}) | said if isinstance(said, dict) else said) == wanted[section], section
    (demo,) = (
        entry
        for entry in yaml.safe_load((PROJECT / "dvc.lock").read_text())["stages"]["download"]["deps"]
        if entry["path"] == "data/demo"
    )
    assert card.release["data"]["data/demo"] == demo["md5"], "trained on the demo pack as it is, which is CC0"
    assert path.with_suffix(".md").read_text() == card.release["model_card"]


@pytest.mark.parametrize("background", [True, False])
def test_a_model_predicts_a_photo_straight_away(background):
    model = depthmask.load_shipped(background, device="cpu")
    assert model.background_input is background
    room = Image.open(min((PROJECT / "data/demo/bg").iterdir())).convert("RGB")
    figure = Image.open(min((PROJECT / "data/demo/fg").iterdir()))
    photo, place = room.copy(), (room.width // 2 - figure.width // 2, room.height - figure.height)
    photo.paste(figure, place, figure.getchannel("A"))
    prediction = model.predict(photo, room if background else None)
    assert prediction.mask.shape == prediction.depth.shape == room.size[::-1]
    alpha = Image.new("L", room.size)
    alpha.paste(figure.getchannel("A"), place)
    truth, mask = np.array(alpha) > 127, prediction.mask > 0.5
    assert (truth & mask).sum() / (truth | mask).sum() > (0.8 if background else 0.5)
    assert prediction.depth_unit == "metre" and np.ptp(prediction.depth) > 0.5


@pytest.mark.slow
@pytest.mark.parametrize("background", [True, False])
@pytest.mark.parametrize("data", ["demo", "real rooms"])
def test_a_model_scores_what_its_card_says(tmp_path, monkeypatch, background, data):
    release = read_release(background)
    values = resolve_recipe("other_rooms", VALUES)
    values["model"]["background_input"] = background
    values["download"]["path"], said = str(PROJECT / "data/demo"), release["scores"]
    if data != "demo":
        if not REAL.is_dir():
            pytest.skip("the real rooms are not here")
        depth = values["download"]["depth"] | {"raw_max": 510}  # 255 is 10 m, and the model's maps end at 20 m
        values["download"] |= {"source": "assets", "path": str(REAL), "depth": depth}
        values["split"]["background_group"] = r"nyu(\d{3})"
        said = release["other_scores"][data]["scores"]
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text(yaml.safe_dump(values))
    Path(values["evaluate"]["ensemble"]).mkdir(parents=True)
    assert download.main(["--out", "raw", "--run", "download.json"]) == 0
    assert split.main(["--raw", "raw", "--out", "split", "--run", "split.json"]) == 0
    inputs = ["--raw", "raw", "--store", "raw", "--split", "split", "--weights", str(SHIPPED[background])]
    outputs = [
        "--metrics",
        "metrics.json",
        "--baselines",
        "baselines.json",
        "--intervals",
        "intervals.json",
        "--per-image",
        "per_image.csv",
        "--samples",
        "samples",
    ]
    assert evaluate.main([*inputs, *outputs, "--fixed-samples", "fixed.png", "--run", "evaluate.json"]) == 0
    found = read_json(Path("metrics.json"))["test"]
    assert found["num_images"] == said["num_images"]
    for family, name in COMPARED:
        assert found[family][name] == pytest.approx(said[family][name], rel=0.002), name
