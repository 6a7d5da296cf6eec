"""depthmask predict and depthmask.load: which photos, what comes out, and what is printed when something is wrong."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from making_models import save_by_background
from PIL import Image

import depthmask
from depthmask.base.errors import UserError
from depthmask.base.files import read_json
from depthmask.cli import main
from depthmask.models.inference import PredictedMaps
from depthmask.models.model_file import ModelCard, load_model
from depthmask.params import NetworkParams
from depthmask.serving.limits import THREADS_MAX
from depthmask.serving.pictures import save_depth
from depthmask.serving.predictor import PhotoPrediction, Predictor
from depthmask.serving.selection import select_photos

ROOT = Path(__file__).resolve().parents[2]
SIDE = 48  # that the models here were trained at
MAX_DEPTH = 8.0


def make_card(background: bool = False, name: str = "compact", **changes) -> ModelCard:
    settings = NetworkParams(
        encoder="efficientnet_lite0", name=name, width=8, dropout=0.0, background_input=background
    ).model_dump()
    return ModelCard(settings, (0.5,) * 3, (0.25,) * 3, "metre", MAX_DEPTH, **({"image_size_px": SIDE} | changes))


def answer_red_and_row(image: torch.Tensor, background: torch.Tensor | None) -> PredictedMaps:
    """The mask is where red is; depth rises from the first row to the last."""
    height = image.shape[2]
    rows = torch.linspace(0, 1, height).view(1, 1, height, 1).expand_as(image[:, :1])
    return PredictedMaps(image[:, :1].clone(), rows.clone())


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> dict[bool, Path]:
    """Model files by whether they take a background."""
    return save_by_background(tmp_path_factory.mktemp("models"), make_card)


@pytest.fixture
def photos(tmp_path, monkeypatch) -> Path:
    """photos/ with a.jpg, sub/b.png, sub/a.jpg and a file that is no photo; the working folder is above it."""
    folder = tmp_path / "photos"
    (folder / "sub").mkdir(parents=True)
    for name, size in (("a.jpg", (96, 64)), ("sub/b.png", (64, 96)), ("sub/a.jpg", (96, 64))):
        draw(folder / name, size)
    (folder / "notes.txt").write_text("no photo")
    (folder / ".hidden.jpg").write_text("no photo either")
    monkeypatch.chdir(tmp_path)
    return folder


def draw(path: Path, size: tuple[int, int], colour: str = "red") -> None:
    image = Image.new("RGB", size, "blue")
    image.paste(colour, (0, 0, size[0] // 2, size[1] // 2))
    image.save(path)


def predict(*arguments: str, model: Path) -> int:
    return main(["predict", *arguments, "--model", str(model), "--out", "out", "--device", "cpu"])


def list_files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def names(arguments: list[str], lines: str = "", **options) -> list[str]:
    return [selected.out.as_posix() for selected in select_photos(arguments, io.StringIO(lines), Path("out"), **options)]


def test_folders_are_mirrored_files_and_globs_are_not(photos):
    assert names(["photos"]) == ["out/a", "out/sub/a", "out/sub/b"]
    assert names(["photos/sub/b.png", "photos/a.jpg"]) == ["out/b", "out/a"]
    assert names(["photos/sub/*"]) == ["out/a", "out/b"]
    assert names(["photos/**/b.*"]) == ["out/b"]


def test_a_list_on_standard_input_names_files_and_folders_each_counted_once(photos):
    assert names(["-"], "photos/sub\nphotos/sub/b.png\n") == ["out/a", "out/b"]
    assert names(["-"], "photos/a.jpg\r\n\n./photos/a.jpg\nphotos/sub/b.png") == ["out/a", "out/b"]


def test_results_of_an_earlier_call_below_the_photos_are_no_photos(photos):
    (photos / "out").mkdir()
    draw(photos / "out" / "a_mask.png", (4, 4))
    found = select_photos(["photos"], [], Path("photos/out"))
    assert [photo.path.name for photo in found] == ["a.jpg", "a.jpg", "b.png"]


@pytest.mark.parametrize(
    ("arguments", "out", "words"),
    [
        (["photos/a.jpg", "photos/sub/a.jpg"], "out", "photos/a.jpg and photos/sub/a.jpg: both would be written as out/a_"),
        (["photos/*.bmp"], "out", "photos/*.bmp: matches no file"),
        (["photos"], "photos", "--out photos: is the folder of the photos"),
        (["empty"], "out", "empty: no photos found"),
        (["-"], "out", "-: no photos found"),
    ],
)
def test_what_cannot_be_meant_is_one_line_before_any_work(photos, capsys, arguments, out, words, monkeypatch):
    (photos.parent / "empty").mkdir()
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    assert main(["predict", *arguments, "--out", out, "--model", "none"]) == 1
    printed = capsys.readouterr().err
    assert printed.startswith(f"error: {words}") and printed.count("\n") == 1
    assert not (photos.parent / "out").exists()


def test_a_result_never_overwrites_a_photo(photos, capsys, models):
    draw(photos / "a_mask.png", (8, 8))
    before = (photos / "a_mask.png").read_bytes()
    arguments = ["photos/a.jpg", "photos/a_mask.png", "--out", "photos", "--model", str(models[False])]
    assert main(["predict", *arguments]) == 1
    assert "photos/a_mask.png: is a photo to predict and would be overwritten" in capsys.readouterr().err
    assert (photos / "a_mask.png").read_bytes() == before


def test_backgrounds_are_found_beside_and_are_no_photos(photos):
    draw(photos / "a_background.png", (96, 64))
    draw(photos / "lonely_background.jpg", (8, 8))
    found = {photo.path.name: photo.background for photo in select_photos(["photos/a*", "photos/l*"], [], Path("out"))}
    # one whose photo is not there is a photo like any other
    assert found == {"a.jpg": photos.relative_to(photos.parent) / "a_background.png", "lonely_background.jpg": None}


def test_maps_are_in_the_photo_s_size_and_upright():
    predictor = Predictor(answer_red_and_row, make_card())
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter: an image of 60 x 90
    buffer = io.BytesIO()
    Image.new("RGB", (90, 60), "red").save(buffer, "JPEG", exif=exif)
    prediction = predictor.predict(Image.open(buffer))
    assert prediction.mask.shape == prediction.depth.shape == (90, 60)
    assert prediction.mask.dtype == prediction.depth.dtype == np.float32
    assert prediction.network_size_px == (32, SIDE)
    assert prediction.mask.min() > 0.95
    assert prediction.depth[0, 0] == 0 and prediction.depth[-1, 0] == MAX_DEPTH
    assert (np.diff(prediction.depth[:, 5]) >= 0).all()
    assert (prediction.depth_unit, prediction.depth_max) == ("metre", MAX_DEPTH)


def test_arrays_pictures_and_files_give_the_same(tmp_path):
    predictor = Predictor(answer_red_and_row, make_card())
    rng = np.random.default_rng(0)
    array = rng.integers(0, 256, (70, 50, 3), dtype=np.uint8)
    Image.fromarray(array).save(tmp_path / "a.png")
    kinds = (array, Image.fromarray(array), tmp_path / "a.png", str(tmp_path / "a.png"))
    masks = [predictor.predict(photo).mask for photo in kinds]
    assert all(np.array_equal(mask, masks[0]) for mask in masks)
    # a photo of the network's own size is not resampled
    small = array[:SIDE, :SIDE]
    np.testing.assert_allclose(predictor.predict(small).mask, small[..., 0] / 255, atol=1e-6)


@pytest.mark.parametrize("photo", [np.zeros((4, 4, 3)), np.zeros((4, 4), np.uint8), np.zeros((0, 4, 3), np.uint8), None, 7])
def test_a_photo_of_another_type_is_rejected(photo):
    with pytest.raises(TypeError, match="a photo is a file, a PIL image or uint8 H x W x 3, not "):
        Predictor(answer_red_and_row, make_card()).predict(photo)


def test_sizes_follow_the_network_and_the_wish():
    photo = np.zeros((300, 400, 3), np.uint8)
    seen = {
        (name, size): Predictor(answer_red_and_row, make_card(name=name), size).predict(photo).network_size_px
        for name in ("compact", "resnet18_shuffle")
        for size in (None, 100)
    }
    assert seen == {
        ("compact", None): (48, 36),
        ("compact", 100): (100, 75),
        ("resnet18_shuffle", None): (48, 40),
        ("resnet18_shuffle", 100): (104, 80),
    }
    with pytest.raises(UserError, match="does not record its training size"):
        Predictor(answer_red_and_row, make_card(image_size_px=0))


def test_the_mask_may_be_seen_at_another_size_than_the_depth():
    seen = []

    def answer(image, background):
        seen.append(tuple(image.shape))
        return answer_red_and_row(image, background)

    predictor = Predictor(answer, make_card(), mask_size_px=96)
    rng = np.random.default_rng(3)
    photos = [rng.integers(0, 256, (96, 72, 3), dtype=np.uint8) for _ in range(2)]
    prediction = predictor.predict_batch(photos)[1]
    assert sorted(seen) == [(2, 3, 48, 36), (2, 3, 96, 72)]
    assert (prediction.network_size_px, prediction.mask_network_size_px) == ((36, 48), (72, 96))
    # of the mask's look, in which no pixel was resampled; of the depth's look, whose rows are half as many
    np.testing.assert_allclose(prediction.mask, photos[1][..., 0] / 255, atol=1e-6)
    assert np.array_equal(prediction.depth[:, 0], Predictor(answer, make_card()).predict(photos[1]).depth[:, 0])
    assert Predictor(answer, make_card()).mask_size_px == SIDE


def test_a_batch_of_mixed_sizes_comes_back_in_order(models):
    model = depthmask.load(models[False], device="cpu")
    rng = np.random.default_rng(1)
    photos = [rng.integers(0, 256, (*size, 3), dtype=np.uint8) for size in ((40, 60), (60, 40), (80, 120), (33, 33))]
    together, alone = model.predict_batch(photos), [model.predict(photo) for photo in photos]
    for photo, one, other in zip(photos, together, alone):
        assert one.mask.shape == photo.shape[:2]
        np.testing.assert_allclose(one.mask, other.mask, atol=1e-5)
        np.testing.assert_allclose(one.depth, other.depth, atol=1e-4)


def test_load_gives_what_the_network_gives(models):
    photo = np.random.default_rng(2).integers(0, 256, (SIDE, 32, 3), dtype=np.uint8)
    prediction = depthmask.load(models[False], device="cpu").predict(photo)
    with torch.inference_mode():
        given = load_model(models[False])(torch.from_numpy(photo).permute(2, 0, 1)[None] / 255)
    np.testing.assert_allclose(prediction.mask, given.mask_prob_B1HW[0, 0], atol=1e-5)
    np.testing.assert_allclose(prediction.depth, given.depth_clamped_B1HW[0, 0] * MAX_DEPTH, atol=1e-4)


def test_importing_depthmask_loads_nothing_heavy():
    code = (
        "import sys, depthmask; print(sorted({'torch', 'numpy', 'pydantic', 'PIL'} & set(sys.modules)), depthmask.load.__name__)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT / "workflow", capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[] load"
    with pytest.raises(AttributeError, match="has no attribute 'laod'"):
        depthmask.laod  # noqa: B018


def test_backgrounds_are_asked_for_or_rejected(models):
    photo = np.zeros((32, 48, 3), np.uint8)
    alone, both = (depthmask.load(models[background], device="cpu") for background in (False, True))
    with pytest.raises(UserError, match="takes the image only"):
        alone.predict(photo, photo)
    with pytest.raises(UserError, match="also takes the clean background"):
        both.predict(photo)
    with pytest.raises(UserError, match=r"the background: aspect ratio differs from the photo; take both from the same place"):
        both.predict(photo, np.zeros((48, 48, 3), np.uint8))
    assert both.predict(photo, np.zeros((64, 96, 3), np.uint8)).mask.shape == (32, 48)


def test_files_of_a_folder(photos, models, capsys):
    assert predict("photos", "--cutout", model=models[False]) == 0
    assert capsys.readouterr().out == "out: 3 photos predicted\n"
    endings = ("cutout.png", "depth.png", "mask.png", "side_by_side.jpg")
    assert list_files(Path("out")) == sorted(
        [f"{stem}_{ending}" for stem in ("a", "sub/a", "sub/b") for ending in endings] + ["predictions.json"]
    )
    index = read_json(Path("out/predictions.json"))
    assert index["depth"] == {"unit": "metre", "polarity": "near_is_small", "max": MAX_DEPTH, "raw_max": 65535}
    assert index["models"][0]["file"] == str(models[False]) and index["failed"] == []
    entry = next(entry for entry in index["photos"] if entry["photo"] == "photos/sub/b.png")
    assert entry["size_px"] == [64, 96] and entry["network_size_px"] == [32, 48]

    expected = depthmask.load(models[False], device="cpu").predict("photos/sub/b.png")
    files = {name: Image.open(file) for name, file in entry["files"].items()}
    assert (files["mask"].mode, files["cutout"].mode) == ("L", "RGBA")
    assert all(files[name].size == (64, 96) for name in ("mask", "depth", "cutout"))
    np.testing.assert_allclose(np.asarray(files["mask"]) / 255, expected.mask, atol=0.51 / 255)
    np.testing.assert_allclose(
        np.asarray(files["depth"]) / 65535 * MAX_DEPTH, expected.depth, atol=0.51 / 65535 * MAX_DEPTH + 1e-4
    )
    assert json.loads(files["depth"].text["depthmask"]) == index["depth"]
    assert np.array_equal(np.asarray(files["cutout"])[..., :3], np.asarray(Image.open("photos/sub/b.png")))
    assert np.array_equal(np.asarray(files["cutout"])[..., 3], np.asarray(files["mask"]))


def test_hard_masks_are_cut_at_a_half(photos, models):
    assert predict("photos/a.jpg", "--hard", model=models[False]) == 0
    soft = depthmask.load(models[False], device="cpu").predict("photos/a.jpg").mask
    hard = np.asarray(Image.open("out/a_mask.png"))
    assert np.array_equal(hard, np.where(soft >= 0.5, 255, 0))
    assert read_json(Path("out/predictions.json"))["mask"]["kind"] == "hard"


def test_results_are_overwritten_and_the_same(photos, models):
    assert predict("photos", model=models[False]) == 0
    first = {name: Path("out", name).read_bytes() for name in list_files(Path("out"))}
    Path("out/a_mask.png").write_bytes(b"old")
    assert predict("photos", model=models[False]) == 0
    assert {name: Path("out", name).read_bytes() for name in list_files(Path("out"))} == first


def test_a_bad_photo_is_a_line_and_the_others_continue(photos, models, capsys):
    (photos / "bad.jpg").write_bytes(b"no image")
    Image.new("CMYK", (40, 30), (0, 255, 255, 0)).save(photos / "print.jpg")
    assert predict("photos", "photos/none.jpg", model=models[False]) == 1
    captured = capsys.readouterr()
    assert captured.out == "out: 4 photos predicted, 2 not\n"
    lines = captured.err.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("error: photos/bad.jpg: not a readable image")
    assert lines[1] == "error: photos/none.jpg: no such file"
    index = read_json(Path("out/predictions.json"))
    assert [entry["photo"] for entry in index["failed"]] == ["photos/bad.jpg", "photos/none.jpg"]
    assert Path("out/print_mask.png").is_file() and not Path("out/bad_mask.png").exists()


def test_each_photo_needs_a_background_where_the_model_takes_one(photos, models, capsys):
    draw(photos / "a_background.png", (192, 128))
    assert predict("photos", model=models[True]) == 1
    captured = capsys.readouterr()
    assert captured.out == "out: 1 photo predicted, 2 not\n"
    assert (
        "error: photos/sub/a.jpg: the model also takes the clean background; add a_background.jpg beside it, or" in captured.err
    )
    (entry,) = read_json(Path("out/predictions.json"))["photos"]
    assert entry["background"] == "photos/a_background.png"
    assert predict("photos/none.jpg", model=models[True]) == 1
    assert "error: photos/none.jpg: no such file\n" in capsys.readouterr().err


def predict_without_model(*arguments: str) -> int:
    return main(["predict", *arguments, "--out", "out", "--device", "cpu"])


def test_of_two_models_each_photo_gets_the_one_for_what_is_given(photos, models, capsys):
    draw(photos / "a_background.png", (192, 128))
    assert predict_without_model("photos", "--model", str(models[False]), "--model", str(models[True])) == 0
    index = read_json(Path("out/predictions.json"))
    assert [model["file"] for model in index["models"]] == [str(models[False]), str(models[True])]
    by_photo = {entry["photo"]: (entry["model"], entry["background"]) for entry in index["photos"]}
    assert by_photo.pop("photos/a.jpg") == (str(models[True]), "photos/a_background.png")
    assert set(by_photo.values()) == {(str(models[False]), None)}
    expected = depthmask.load(models[True], device="cpu").predict("photos/a.jpg", "photos/a_background.png")
    np.testing.assert_allclose(np.asarray(Image.open("out/a_mask.png")) / 255, expected.mask, atol=0.51 / 255)


def test_without_a_model_named_or_trained_those_of_the_package_are_used(photos, models, monkeypatch, capsys):
    monkeypatch.setattr("depthmask.serving.shipped.SHIPPED", models)
    assert predict_without_model("photos") == 0
    said = "note: no data/models/finetune.safetensors here; predicting with the models that come with depthmask\n"
    assert capsys.readouterr().err == said
    assert [model["file"] for model in read_json(Path("out/predictions.json"))["models"]] == [str(models[False])]
    draw(photos / "empty.png", (96, 64))
    assert predict_without_model("photos/a.jpg", "--background", "photos/empty.png") == 0
    assert [model["file"] for model in read_json(Path("out/predictions.json"))["models"]] == [str(models[True])]
    Path("data/models").mkdir(parents=True)
    shutil.copyfile(models[False], "data/models/finetune.safetensors")
    capsys.readouterr()
    assert predict_without_model("photos") == 0
    assert capsys.readouterr().err == ""
    assert read_json(Path("out/predictions.json"))["models"][0]["file"] == "data/models/finetune.safetensors"


def test_a_model_named_twice_is_one_line(photos, models, capsys):
    path = str(models[True])
    assert predict_without_model("photos", "--model", path, "--model", path) == 1
    expected = f"error: {path}: one model file, named twice; name each once\n"
    assert capsys.readouterr().err == expected


def test_one_background_for_all_photos(photos, models, capsys):
    draw(photos / "empty.jpg", (96, 64))
    draw(photos / "a_background.png", (96, 64), "green")
    assert predict("photos/a.jpg", "photos/empty.jpg", "--background", "photos/empty.jpg", model=models[True]) == 0
    captured = capsys.readouterr()
    assert captured.out == "out: 1 photo predicted\n"
    assert captured.err == "note: 1 background beside photos is not used: --background photos/empty.jpg is used for all\n"
    expected = depthmask.load(models[True], device="cpu").predict("photos/a.jpg", "photos/empty.jpg")
    np.testing.assert_allclose(np.asarray(Image.open("out/a_mask.png")) / 255, expected.mask, atol=0.51 / 255)


def test_a_background_that_the_model_does_not_take_is_never_ignored_silently(photos, models, capsys):
    draw(photos / "a_background.png", (96, 64))
    assert predict("photos/a.jpg", "--background", "photos/a_background.png", model=models[False]) == 1
    assert "takes the image only; remove --background" in capsys.readouterr().err
    assert predict("photos/a.jpg", model=models[False]) == 0
    assert capsys.readouterr().err.startswith("note: 1 background beside photos is not used: ")
    assert predict("photos/a.jpg", "--background", "none.jpg", model=models[True]) == 1
    assert capsys.readouterr().err == "error: --background none.jpg: no such file\n"


def test_a_model_that_is_not_there_and_a_bad_number_are_one_line(photos, capsys):
    assert predict("photos", model=Path("none.safetensors")) == 1
    assert capsys.readouterr().err.startswith("error: none.safetensors: no such file; run make repro")
    numbers = {"--size-px": ("0", "1e9"), "--batch-size": ("0",), "--threads": ("0", "100000")}
    for option, value in ((option, value) for option, values in numbers.items() for value in values):
        with pytest.raises(SystemExit) as end:
            predict("photos", option, value, model=Path("none"))
        assert end.value.code == 2
        most = THREADS_MAX if option == "--threads" else 16384
        assert f"allowed: a whole number from 1 to {most}" in capsys.readouterr().err


def test_the_ends_of_the_depth_are_the_ends_of_the_pixels(tmp_path):
    depth = np.array([[0, MAX_DEPTH / 2, MAX_DEPTH]], np.float32)
    save_depth(tmp_path / "d.png", PhotoPrediction(depth, depth, "metre", MAX_DEPTH, (3, 1), (3, 1)), {"unit": "metre"})
    assert np.asarray(Image.open(tmp_path / "d.png")).tolist() == [[0, 32768, 65535]]
