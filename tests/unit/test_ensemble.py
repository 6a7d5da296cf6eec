"""Averages of several models and of mirror images, in `depthmask predict` and `depthmask.load`."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from making_models import make_card
from PIL import Image

import depthmask
from depthmask.base.errors import UserError
from depthmask.base.files import read_json
from depthmask.cli import main
from depthmask.models.averaging import DEPTH_FLOOR, MapMean, average, mirror
from depthmask.models.inference import PredictedMaps
from depthmask.models.model_file import DepthMaskModel, save_model
from depthmask.serving import memory
from depthmask.serving.ensemble import Ensemble
from depthmask.serving.predictor import Predictor

MAX_DEPTH = 8.0  # of make_card
SIDE = 32


def fill(value: float) -> torch.Tensor:
    return torch.full((1, 1, 2, 2), value)


def answer_ramp(image: torch.Tensor, background: torch.Tensor | None) -> PredictedMaps:
    """Whatever the image: the mask rises from 0 on the left to 1 on the right, and depth from 0.2 to 0.8."""
    ramp = torch.linspace(0, 1, image.shape[-1]).expand_as(image[:, :1])
    return PredictedMaps(ramp.clone(), 0.2 + 0.6 * ramp)


def answer_image(image: torch.Tensor, background: torch.Tensor | None) -> PredictedMaps:
    """The mask is where red is, depth where the background (else the image) is green."""
    return PredictedMaps(image[:, :1].clone(), (image if background is None else background)[:, 1:2].clone())


def save(path: Path, seed: int, background: bool = False, size_px: int = SIDE, name: str = "compact", **changes) -> Path:
    torch.manual_seed(seed)
    card = make_card(name, background_input=background)
    save_model(DepthMaskModel(replace(card, image_size_px=size_px, **changes)), path)
    return path


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> dict[str, Path]:
    """a and b: of the photo alone, b of another network, trained at another size; with: takes the clean background."""
    folder = tmp_path_factory.mktemp("models")
    return {
        "a": save(folder / "a.safetensors", 0),
        "b": save(folder / "b.safetensors", 1, size_px=48, name="resnet18_shuffle"),
        "with": save(folder / "with.safetensors", 2, background=True),
        "relative": save(folder / "relative.safetensors", 3, depth_unit="relative"),
        "relative_of_2": save(folder / "relative_of_2.safetensors", 3, depth_unit="relative", depth_max=2.0),
        "far": save(folder / "far.safetensors", 0, depth_max=16.0),
    }


@pytest.fixture
def photos(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    folder, rng = tmp_path / "photos", np.random.default_rng(0)
    folder.mkdir()
    for name in ("a.png", "a_background.png", "b.png"):
        Image.fromarray(rng.integers(0, 256, (64, 96, 3), dtype=np.uint8)).save(folder / name)
    return folder


def predict(*arguments: str | Path) -> int:
    return main(["predict", *map(str, arguments), "--out", "out", "--device", "cpu"])


def test_the_mean_is_that_of_probabilities_and_the_geometric_one_of_depths():
    mean = MapMean()
    mean.add(fill(0.2), fill(0.1))
    mean.add(fill(0.6), fill(0.4))
    mask, depth = mean.take()
    # (0.2 + 0.6) / 2, and the root of 0.1 x 0.4
    np.testing.assert_allclose(mask, fill(0.4), rtol=1e-6)
    np.testing.assert_allclose(depth, fill(0.2), rtol=1e-6)

    three = MapMean()
    for value in (0.1, 0.2, 0.4):
        three.add(fill(value), fill(value))
    mask, depth = three.take()
    # 0.7 / 3, and the third root of 0.008
    np.testing.assert_allclose(mask, fill(0.7 / 3), rtol=1e-6)
    np.testing.assert_allclose(depth, fill(0.2), rtol=1e-6)


def test_adding_changes_no_map_and_a_depth_of_zero_does_not_decide_alone():
    maps, mean = [fill(0.5), fill(0.0)], MapMean()
    mean.add(*maps)
    mean.add(fill(0.5), fill(0.9))
    assert torch.equal(maps[0], fill(0.5)) and torch.equal(maps[1], fill(0.0))
    np.testing.assert_allclose(mean.take().depth_B1HW, fill(math.sqrt(DEPTH_FLOOR * 0.9)), rtol=1e-5)


def test_depth_is_scaled_to_the_common_maximum_before_it_is_averaged():
    mean = MapMean()
    mean.add(fill(0.0), fill(0.125), depth_scale=2.0)  # a quarter
    mean.add(fill(0.0), fill(0.9), depth_scale=2.0)  # beyond it: as far as it goes
    np.testing.assert_allclose(mean.take().depth_B1HW, fill(0.5), rtol=1e-6)


@pytest.mark.parametrize("num_threads", [1, 3])
def test_neither_batch_nor_threads_change_a_bit(num_threads):
    maps = [torch.rand(5, 1, 37, 211, generator=torch.Generator().manual_seed(number)) for number in range(4)]
    before = torch.get_num_threads()

    def average_of(some: slice) -> PredictedMaps:
        answers = [PredictedMaps(maps[number][some], maps[number + 1][some]) for number in (0, 2)]
        return average([(lambda *_, answer=answer: answer, False, 1.0) for answer in answers], flip=True)(maps[0], None)

    try:
        torch.set_num_threads(num_threads)
        together = average_of(slice(None))
        for b in range(5):
            for alone, other in zip(average_of(slice(b, b + 1)), together, strict=True):
                assert torch.equal(alone, other[b : b + 1])
        torch.set_num_threads(1)
        for one, other in zip(average_of(slice(None)), together, strict=True):
            assert torch.equal(one, other)
    finally:
        torch.set_num_threads(before)


def test_a_mirrored_network_sees_the_mirrored_photo_and_background_and_its_maps_are_mirrored_back():
    rng = torch.Generator().manual_seed(0)
    image, background = torch.rand(1, 3, 4, 6, generator=rng), torch.rand(1, 3, 4, 6, generator=rng)
    seen = []

    def answer(*pictures):
        seen.extend(pictures)
        return answer_ramp(*pictures)

    maps = mirror(answer)(image, background)
    assert torch.equal(seen[0], image.flip(-1)) and torch.equal(seen[1], background.flip(-1))
    assert maps.mask_prob_B1HW[0, 0, 0].tolist() == pytest.approx([1, 0.8, 0.6, 0.4, 0.2, 0])
    # what follows the photo is the same either way
    for straight, mirrored in zip(answer_image(image, background), mirror(answer_image)(image, background), strict=True):
        assert torch.equal(straight, mirrored)


def test_with_flip_an_asymmetric_network_becomes_symmetric():
    photo = np.zeros((SIDE, SIDE, 3), np.uint8)
    prediction = Ensemble([Predictor(answer_ramp, make_card())], flip=True).predict(photo)
    ramp = np.linspace(0, 1, SIDE)
    np.testing.assert_allclose(prediction.mask, np.full((SIDE, SIDE), 0.5), atol=1e-6)
    there, back = 0.2 + 0.6 * ramp, 0.8 - 0.6 * ramp
    np.testing.assert_allclose(prediction.depth, np.tile(np.sqrt(there * back) * MAX_DEPTH, (SIDE, 1)), rtol=1e-5)
    assert Predictor(answer_ramp, make_card()).predict(photo).mask[0, 0] == 0


@pytest.mark.parametrize("mask_size_px", [None, 96])
def test_several_models_and_flips_give_what_doing_it_by_hand_gives(files, photos, mask_size_px):
    """Each file predicts the photo, and the mirrored photo, by itself; a's maps are finer than b's and both are enlarged."""
    options = {"device": "cpu", "mask_size_px": mask_size_px}
    photo, clean = (np.asarray(Image.open(photos / name)) for name in ("a.png", "a_background.png"))
    masks, logs = [], []
    for name in ("a", "b", "with"):
        model = depthmask.load(files[name], **options)
        for step in (1, -1):
            given = [np.ascontiguousarray(picture[:, ::step]) for picture in (photo, clean)[: 1 + model.background_input]]
            one = model.predict(*given)
            masks.append(one.mask[:, ::step])
            logs.append(np.log(np.maximum(one.depth[:, ::step], DEPTH_FLOOR * MAX_DEPTH)))
    together = depthmask.load([files[name] for name in ("a", "b", "with")], flip=True, **options)
    prediction = together.predict(photos / "a.png", photos / "a_background.png")
    assert together.background_input and len(together.members) == 3
    # every width divides the photo's, so that resampling is symmetric
    np.testing.assert_allclose(prediction.mask, np.mean(masks, axis=0), atol=1e-5)
    np.testing.assert_allclose(prediction.depth, np.exp(np.mean(logs, axis=0)), rtol=1e-4)
    assert np.abs(prediction.mask - masks[0]).max() > 0.01
    sizes = {"network_size_px": (48, 32), "mask_network_size_px": (96, 64) if mask_size_px else (48, 32)}
    assert {name: getattr(prediction, name) for name in sizes} == sizes


def test_photos_of_several_sizes_give_the_same_alone_and_together(files):
    model, rng = depthmask.load([files["a"], files["b"]], device="cpu", flip=True), np.random.default_rng(1)
    photos = [rng.integers(0, 256, (*size, 3), dtype=np.uint8) for size in ((40, 60), (60, 40), (40, 60))]
    for one, photo in zip(model.predict_batch(photos), photos, strict=True):
        alone = model.predict(photo)
        assert one.mask.shape == photo.shape[:2]
        np.testing.assert_allclose(one.mask, alone.mask, atol=1e-5)
        np.testing.assert_allclose(one.depth, alone.depth, atol=1e-4)


def test_metres_of_another_maximum_are_converted_and_end_at_the_smaller(files):
    """The same weights, of which one file says that its depth ends at 16 m and the other at 8 m."""
    photo = np.random.default_rng(2).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    near, far = (depthmask.load(files[name], device="cpu").predict(photo) for name in ("a", "far"))
    both = depthmask.load([files["far"], files["a"]], device="cpu").predict(photo)
    assert (near.depth_max, far.depth_max, both.depth_max) == (8.0, 16.0, 8.0)
    np.testing.assert_allclose(both.depth, np.sqrt(near.depth * np.minimum(far.depth, 8)), rtol=1e-5)


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (
            ("a", "relative"),
            r"a\.safetensors up to 8 \(metre\), .*relative\.safetensors up to 8 \(relative\); choose models of one",
        ),
        (("relative", "relative_of_2"), r"up to 8 \(relative\), .*relative_of_2\.safetensors up to 2 \(relative\)"),
        (("a", "a"), r"a\.safetensors: one model file, named twice; name each once"),
        ((), "no model file is named"),
    ],
)
def test_models_that_cannot_be_averaged_are_one_line(files, names, words):
    with pytest.raises(UserError, match=words) as raised:
        depthmask.load([files[name] for name in names], device="cpu")
    assert "\n" not in str(raised.value)


def test_relative_depths_of_one_maximum_are_averaged(files):
    model = depthmask.load(files["relative"], device="cpu", flip=True)
    assert (model.depth_unit, model.depth_max) == ("relative", 8.0)
    assert model.predict(np.zeros((SIDE, SIDE, 3), np.uint8)).depth_unit == "relative"


def test_a_background_is_asked_for_if_a_model_takes_it_and_rejected_if_none_does(files):
    photo = np.zeros((SIDE, SIDE, 3), np.uint8)
    with pytest.raises(UserError, match=r"^one of the models also takes the clean background; pass it with the photo$"):
        depthmask.load([files["a"], files["with"]], device="cpu").predict(photo)
    with pytest.raises(UserError, match=r"^the models take the image only; omit the background$"):
        depthmask.load([files["a"], files["b"]], device="cpu").predict(photo, photo)
    with pytest.raises(UserError, match=r"^the background: aspect ratio differs from the photo"):
        depthmask.load([files["a"], files["with"]], device="cpu").predict(photo, photo[:16])


def test_memory_is_reckoned_with_every_pass(files, monkeypatch):
    """The maps of each pass are kept until the last is done; a batch that would fit with one model may not with several."""
    monkeypatch.setattr(memory, "find_free_bytes", lambda: 2e9)
    alone = depthmask.load(files["a"], device="cpu", size_px=512).batch_max
    pixels = 512**2
    each = memory.measure_bytes_per_pixel(make_card()) * pixels
    assert alone == int(1e9 / each)
    flipped = depthmask.load(files["a"], device="cpu", size_px=512, flip=True)
    assert flipped.batch_max == int(1e9 / (each + 16 * pixels))
    both = depthmask.load([files["a"], files["b"]], device="cpu", size_px=512, flip=True)
    assert both.batch_max == min(member.batch_max for member in both.members) <= int(1e9 / (each + 3 * 16 * pixels))
    monkeypatch.setattr(memory, "find_free_bytes", lambda: each + 1)
    with pytest.raises(UserError, match="at 512 px the network would need about"):
        depthmask.load(files["a"], device="cpu", size_px=512, flip=True)


def test_the_command_averages_models_of_one_kind_and_mirror_images(files, photos):
    assert predict(photos / "b.png", "--model", files["a"], "--model", files["b"], "--flip") == 0
    index = read_json(Path("out/predictions.json"))
    assert [model["file"] for model in index["models"]] == [str(files["a"]), str(files["b"])]
    assert [model["size_px"] for model in index["models"]] == [SIDE, 48] and index["flip"] is True
    (entry,) = index["photos"]
    assert entry["models"] == [str(files["a"]), str(files["b"])] and "model" not in entry
    expected = depthmask.load([files["a"], files["b"]], device="cpu", flip=True).predict(photos / "b.png")
    np.testing.assert_allclose(np.asarray(Image.open("out/b_mask.png")) / 255, expected.mask, atol=0.51 / 255)
    np.testing.assert_allclose(np.asarray(Image.open("out/b_depth.png")) / 65535 * 8, expected.depth, atol=1e-3)


def test_models_of_both_kinds_each_predict_their_photos_unless_all_are_asked_for(files, photos, capsys):
    models = [argument for name in ("a", "b", "with") for argument in ("--model", files[name])]
    assert predict("photos", *models) == 0
    by_photo = {entry["photo"]: entry for entry in read_json(Path("out/predictions.json"))["photos"]}
    assert by_photo["photos/a.png"]["model"] == str(files["with"])
    assert by_photo["photos/b.png"]["models"] == [str(files["a"]), str(files["b"])]
    capsys.readouterr()

    assert predict("photos", *models, "--ensemble") == 1
    said = "one of the models also takes the clean background; add b_background.jpg beside it, or set --background\n"
    assert capsys.readouterr().err == f"error: photos/b.png: {said}"
    (entry,) = read_json(Path("out/predictions.json"))["photos"]
    assert entry["models"] == [str(files[name]) for name in ("a", "b", "with")]
    assert entry["background"] == "photos/a_background.png"
    expected = depthmask.load([files[name] for name in ("a", "b", "with")], device="cpu")
    mask = expected.predict(photos / "a.png", photos / "a_background.png").mask
    np.testing.assert_allclose(np.asarray(Image.open("out/a_mask.png")) / 255, mask, atol=0.51 / 255)


@pytest.mark.parametrize(
    ("names", "options", "words"),
    [
        (("a",), ("--ensemble",), "--ensemble: averages several models; name two or more, each with --model FILE\n"),
        ((), ("--ensemble",), "--ensemble: averages several models; name two or more, each with --model FILE\n"),
        (("a", "relative"), (), "depth of different scales cannot be averaged: "),
        (("with", "relative"), (), "--model: "),
    ],
)
def test_what_cannot_be_averaged_is_one_line_before_any_work(files, photos, capsys, names, options, words):
    models = [argument for name in names for argument in ("--model", files[name])]
    assert predict("photos", *models, *options) == 1
    printed = capsys.readouterr().err
    assert printed.startswith(f"error: {words}") and printed.count("\n") == 1
    assert not Path("out").exists()


def test_batches_of_the_command_change_no_byte_of_the_mean(files, photos):
    """The averaging itself: the network's own last bits may depend on the batch, so it is one that does not."""
    rng = np.random.default_rng(3)
    pictures = [rng.integers(0, 256, (40, 60, 3), dtype=np.uint8) for _ in range(5)]
    model = Ensemble([Predictor(answer_image, make_card()), Predictor(answer_ramp, make_card())], flip=True)
    together = model.predict_batch(pictures)
    model.members[0].batch_max = 2
    for picture, one, cut in zip(pictures, together, model.predict_batch(pictures), strict=True):
        alone = model.predict(picture)
        assert alone.mask.tobytes() == one.mask.tobytes() == cut.mask.tobytes()
        assert alone.depth.tobytes() == one.depth.tobytes() == cut.depth.tobytes()
