"""depthmask predict --pointcloud, and to_points from Python: which files, in which units, and what is refused."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import depthmask
from depthmask.base.errors import UserError
from depthmask.base.files import read_json
from depthmask.cli import main
from depthmask.models.inference import PredictedMaps
from depthmask.models.model_file import DepthMaskModel, ModelCard, save_model
from depthmask.params import NetworkParams
from depthmask.point_clouds.files import encode_glb, encode_ply
from depthmask.serving.ensemble import Ensemble
from depthmask.serving.predictor import Predictor

SIDE, MAX_DEPTH = 48, 8.0


def make_card(unit: str = "metre", angle: float | None = 53.0) -> ModelCard:
    settings = NetworkParams(
        encoder="efficientnet_lite0", name="compact", width=8, dropout=0.0, background_input=False
    ).model_dump()
    release = {} if angle is None else {"release": {"params": {"compose": {"field_of_view_deg": angle}}}}
    return ModelCard(settings, (0.5,) * 3, (0.25,) * 3, unit, MAX_DEPTH, image_size_px=SIDE, **release)


def answer_flat(image: torch.Tensor, background: torch.Tensor | None) -> PredictedMaps:
    """Foreground where red is, all at a quarter of the maximum depth."""
    return PredictedMaps((image[:, :1] > 0.5).float(), torch.full_like(image[:, :1], 0.25))


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> dict[str, Path]:
    """Model files: metres for a known and an unknown field of view, and relative depth."""
    folder, paths = tmp_path_factory.mktemp("models"), {}
    for name, card in (("known", make_card()), ("unknown", make_card(angle=None)), ("relative", make_card("relative"))):
        torch.manual_seed(0)
        paths[name] = folder / f"{name}.safetensors"
        save_model(DepthMaskModel(card), paths[name])
    return paths


@pytest.fixture
def photo(tmp_path, monkeypatch) -> Path:
    """dog.png in the working folder: red on the left, blue on the right, larger than the network sees it."""
    image = Image.new("RGB", (96, 64), "blue")
    image.paste("red", (0, 0, 48, 64))
    image.save(tmp_path / "dog.png")
    monkeypatch.chdir(tmp_path)
    return Path("dog.png")


def predict(*arguments: str) -> int:
    return main(["predict", "dog.png", "--out", "out", "--device", "cpu", *arguments])


def test_points_from_python_are_those_of_the_photo(photo):
    prediction = Predictor(answer_flat, make_card()).predict(photo)
    points = prediction.to_points()
    assert (points.unit, points.field_of_view_deg, points.depth_factor) == ("metre", 53.0, 1.0)
    assert len(points) == 96 * 64 and points.positions[:, 2] == pytest.approx(-MAX_DEPTH / 4)
    width_m = 2 * MAX_DEPTH / 4 * math.tan(math.radians(53) / 2)
    assert np.ptp(points.positions[:, 0]) == pytest.approx(width_m * 95 / 96, rel=1e-5)
    left = points.positions[:, 0] < -0.1  # the mask is enlarged, and soft in the middle
    assert (points.colours[left] == (255, 0, 0)).all() and points.is_foreground[left].all()
    assert len(prediction.to_points(side_max_px=48)) == 48 * 32


def test_another_camera_than_trained_for_scales_the_metres(photo):
    prediction = Predictor(answer_flat, make_card()).predict(photo)
    wide = 2 * math.degrees(math.atan(2 * math.tan(math.radians(53) / 2)))
    points = prediction.to_points(field_of_view_deg=wide)
    # half the focal length: what looks as large is half as far, and as wide as it was
    assert points.depth_factor == pytest.approx(0.5) and points.positions[:, 2] == pytest.approx(-MAX_DEPTH / 8)
    assert np.ptp(points.positions[:, 0]) == pytest.approx(np.ptp(prediction.to_points().positions[:, 0]), rel=1e-5)
    assert prediction.depth == pytest.approx(MAX_DEPTH / 4), "the prediction stays as it is"


@pytest.mark.parametrize("card", [make_card(angle=None), make_card("relative")])
def test_nothing_is_scaled_where_the_model_says_no_camera_or_no_metres(photo, card):
    points = Predictor(answer_flat, card).predict(photo).to_points(field_of_view_deg=90)
    assert points.depth_factor == 1.0 and points.unit == card.depth_unit and points.field_of_view_deg == 90
    assert points.positions[:, 2] == pytest.approx(-MAX_DEPTH / 4)


@pytest.mark.parametrize(("angles", "wanted"), [((60.0, 60.0), 60.0), ((60.0, 53.0), None), ((60.0, None), None)])
def test_several_models_say_a_camera_if_all_say_the_same(photo, angles, wanted):
    ensemble = Ensemble([Predictor(answer_flat, make_card(angle=angle)) for angle in angles])
    prediction = ensemble.predict(photo)
    assert prediction.trained_field_of_view_deg == wanted
    assert prediction.to_points().field_of_view_deg == (wanted or 53.0)


def test_the_models_of_the_package_say_their_camera():
    assert depthmask.load_shipped(False, device="cpu").trained_field_of_view_deg == 53.0


def test_points_need_the_photo_and_a_possible_camera(photo):
    predictor = Predictor(answer_flat, make_card())
    (without,) = predictor.predict_shrunk([predictor.shrink(photo)])
    with pytest.raises(UserError, match=r"^image: the prediction has none, and points need colours"):
        without.to_points()
    with pytest.raises(UserError, match=r"^field_of_view_deg: 171; allowed: 1 to 170"):
        predictor.predict(photo).to_points(field_of_view_deg=171)


@pytest.mark.parametrize(("kind", "encode"), [("ply", encode_ply), ("glb", encode_glb)])
def test_one_file_has_what_python_gives(photo, models, kind, encode):
    assert predict("--model", str(models["known"]), "--pointcloud", kind) == 0
    points = depthmask.load(models["known"], device="cpu").predict("dog.png").to_points()
    assert Path(f"out/dog_points.{kind}").read_bytes() == encode(points)
    (entry,) = read_json(Path("out/predictions.json"))["photos"]
    assert entry["files"]["points"] == f"out/dog_points.{kind}"
    assert entry["points"] == {
        "num": {"points": len(points)},
        "unit": "metre",
        "axes": "x right, y up, camera at the origin, looks along -z",
        "field_of_view_deg": 53.0,
        "depth_factor": 1.0,
    }


def test_foreground_and_scene_are_two_files_on_demand(photo, models):
    options = ["--pointcloud", "ply", "--pointcloud-apart", "--field-of-view-deg", "70", "--pointcloud-side-px", "32"]
    assert predict("--model", str(models["known"]), *options) == 0
    prediction = depthmask.load(models["known"], device="cpu").predict("dog.png")
    points = prediction.to_points(field_of_view_deg=70, side_max_px=32)
    assert Path("out/dog_foreground.ply").read_bytes() == encode_ply(points.take_foreground())
    assert Path("out/dog_scene.ply").read_bytes() == encode_ply(points.take_scene())
    assert not Path("out/dog_points.ply").exists()
    (entry,) = read_json(Path("out/predictions.json"))["photos"]
    assert sum(entry["points"]["num"].values()) == len(points)
    assert entry["points"]["depth_factor"] == pytest.approx(math.tan(math.radians(26.5)) / math.tan(math.radians(35)), abs=1e-6)


def test_without_the_option_there_are_no_points(photo, models):
    assert predict("--model", str(models["known"])) == 0
    assert {path.suffix for path in Path("out").iterdir()} == {".png", ".jpg", ".json"}
    assert "points" not in read_json(Path("out/predictions.json"))["photos"][0]


@pytest.mark.parametrize(
    ("model", "options", "line"),
    [
        ("known", ["--field-of-view-deg", "70"], ""),
        ("unknown", [], ""),
        ("unknown", ["--field-of-view-deg", "70"], "note: --field-of-view-deg: the model file does not say for which field of"),
        ("relative", [], "note: --pointcloud: the model's depth is relative, so the points have a shape but no size in metres"),
    ],
)
def test_points_that_are_not_in_metres_or_of_another_camera_are_noted(photo, models, capsys, model, options, line):
    assert predict("--model", str(models[model]), "--pointcloud", "ply", *options) == 0
    shown = capsys.readouterr().err
    assert shown.startswith(line) and shown.count("note:") == bool(line)
    unit = "relative" if model == "relative" else "metre"
    assert f"comment unit: {unit}\n".encode() in Path("out/dog_points.ply").read_bytes()


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (
            ["--field-of-view-deg", "60"],
            "error: --field-of-view-deg: is for point clouds; add --pointcloud ply or glb, or remove it",
        ),
        (["--pointcloud-apart"], "error: --pointcloud-apart: is for point clouds; add --pointcloud ply or glb, or remove it"),
        (["--pointcloud", "ply", "--field-of-view-deg", "nan"], "error: --field-of-view-deg: nan; allowed: 1 to 170"),
    ],
)
def test_options_that_cannot_be_meant_are_one_line_before_any_work(photo, models, capsys, options, line):
    assert predict("--model", str(models["known"]), *options) == 1
    assert capsys.readouterr().err == line + "\n" and not Path("out").exists()


def test_a_folder_in_the_place_of_the_points_costs_all_files_of_that_photo(photo, models, capsys):
    Path("out/dog_points.ply").mkdir(parents=True)
    assert predict("--model", str(models["known"]), "--pointcloud", "ply") == 1
    assert "out/dog_points.ply: is a folder, in the place of a result of dog.png" in capsys.readouterr().err
    assert {path.name for path in Path("out").iterdir()} == {"dog_points.ply", "predictions.json"}
