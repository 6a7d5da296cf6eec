"""Scoring, images and photos, with a network that knows the answer and samples made of noise."""

from __future__ import annotations

import copy
import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from depthmask.base.errors import UserError
from depthmask.base.files import read_json
from depthmask.base.paths import show_path
from depthmask.data.batch import ByteBatch
from depthmask.data.sample import Origin
from depthmask.evaluation.augmented import NUM_DRAWS, write_augmented
from depthmask.evaluation.baselines import make_baselines
from depthmask.evaluation.score import (
    describe_sample,
    make_metrics,
    make_rows,
    rank_samples,
    score_samples,
)
from depthmask.evaluation.shown_samples import choose_samples, write_samples
from depthmask.loading.dataset import open_samples
from depthmask.loading.loader import load_in_order
from depthmask.metrics import Thresholds
from depthmask.models.inference import PredictedMaps, make_predict
from depthmask.models.model_file import ModelCard
from depthmask.models.prediction import Prediction
from depthmask.params import NetworkParams
from depthmask.pictures import colours
from depthmask.scores import FAMILIES, POOLED, list_scores, split_key
from depthmask.scores.labels import BASELINES
from depthmask.serving.photos import read_photos, write_predictions
from depthmask.serving.predictor import Predictor

SIZE_PX, MAX_DEPTH = 24, 10.0
THRESHOLDS = Thresholds(mask=0.3, depth=0.6)


class Samples:
    """A set of samples as `SampleSet` is one; of sample 2 no depth is known."""

    def __init__(self, number: int):
        self.number = number

    def __len__(self) -> int:
        return self.number

    def __getitem__(self, places: list[tuple[int, int]]) -> ByteBatch:
        batch = ByteBatch.allocate(len(places), SIZE_PX, SIZE_PX, with_background=False)
        batch.mask[...] = 0
        for b, (_, index) in enumerate(places):
            rng = np.random.default_rng(index)
            batch.mask[b, 2 : 6 + index, 4:12] = 255
            batch.depth[b] = rng.random((SIZE_PX, SIZE_PX)) * 0.8 + 0.1
            batch.image[b] = rng.integers(0, 256, (SIZE_PX, SIZE_PX, 3), dtype=np.uint8)
            batch.valid[b] = index != 2
            batch.origins[b] = Origin(f"s{index}", f"room{index}", "dog", "animal")
        return batch


EVERY = Samples(6)[[(0, index) for index in range(6)]]


def guess(image: torch.Tensor, background: torch.Tensor | None) -> PredictedMaps:
    """Of an image of EVERY: right about the first 4 + 4 rows of the mask; depth a tenth too far. Of another: nothing."""
    truth = EVERY.to("cpu")
    answer = PredictedMaps(torch.zeros_like(image[:, :1]), torch.zeros_like(image[:, :1]))
    for b, picture in enumerate(image):
        for known, mask, depth in zip(truth.image_B3HW, truth.mask_B1HW, truth.depth_B1HW, strict=True):
            if torch.equal(known, picture):
                answer.mask_prob_B1HW[b, :, :8] = 0.9 * mask[:, :8]
                answer.depth_B1HW[b] = (1.1 * depth).clamp(0, 1)
    return answer


@pytest.fixture
def scores():
    samples = Samples(6)
    baselines = make_baselines(load_in_order(samples, 4))
    return score_samples(guess, load_in_order(samples, 4), baselines, MAX_DEPTH, THRESHOLDS)


def test_metrics_are_means_over_pictures(scores):
    test = make_metrics(scores)["test"]
    assert test["num_images"] == 6
    assert test["num_images_with_depth"] == 5
    # rows 2 .. 5 + index are foreground, those from 8 on are missed
    expected = [min(8, 6 + index) - 2 for index in range(6)], [4 + index for index in range(6)]
    assert test["mask"]["iou"] == pytest.approx(np.mean([a / b for a, b in zip(*expected, strict=True)]), abs=1e-6)
    assert test["mask"]["iou_pooled"] == pytest.approx(sum(expected[0]) / sum(expected[1]), abs=1e-6)
    assert test["mask"]["precision"] == 1
    assert test["depth"]["abs_rel"] == pytest.approx(0.1, abs=1e-5)
    assert test["depth"]["delta1"] == 1
    assert test["depth"]["rmse_aligned"] == pytest.approx(0, abs=1e-5)
    assert test["published"]["mask_iou"] == test["mask"]["iou"]
    assert test["published"]["mask_iou_pooled"] == test["mask"]["iou_pooled"]
    assert test["published"]["depth_rmse_of_max"] == pytest.approx(test["depth"]["rmse"] / MAX_DEPTH, rel=1e-5)
    assert test["baselines"]["mask_empty"]["iou"] == 0
    assert test["baselines"]["mask_all_foreground"]["recall"] == 1


def test_every_score_is_in_the_registry_and_every_baseline_has_a_label(scores):
    test = make_metrics(scores)["test"]
    for family in FAMILIES:
        keys = {split_key(family, key.removesuffix(POOLED))[0].name for key in test[family]}
        assert keys == {spec.name for spec in list_scores(family)}
    assert set(test["baselines"]) == set(BASELINES)
    assert "." not in "".join(key for name in ("mask", "depth", "published", "baselines") for key in test[name])


def test_published_scores_that_need_thresholds_are_skipped_without_them():
    test = make_metrics(score_samples(guess, load_in_order(Samples(1), 1), [], MAX_DEPTH))["test"]
    assert "mask_iou" in test["published"] and not [key for key in test["published"] if "standardised" in key]


@pytest.mark.parametrize("batch_size", [1, 2, 5])
def test_batch_size_does_not_change_what_is_written(scores, batch_size):
    samples = Samples(6)
    baselines = make_baselines(load_in_order(samples, 4))
    again = score_samples(guess, load_in_order(samples, batch_size), baselines, MAX_DEPTH, THRESHOLDS)
    assert make_metrics(again) == make_metrics(scores)
    assert make_rows(again) == make_rows(scores)


def test_rows_show_what_a_picture_shows_and_leave_undefined_scores_empty(scores):
    columns, rows = make_rows(scores)
    assert [row["key"] for row in rows] == [f"s{index}" for index in range(6)]
    assert set(columns) == set(rows[0])
    assert rows[0]["mask_fraction"] == pytest.approx(4 * 8 / SIZE_PX**2, abs=1e-6)
    assert rows[0]["kind"] == "animal"
    assert 1 < rows[0]["foreground_depth"] < 9
    assert rows[2]["depth_rmse"] == "" == rows[2]["foreground_depth"]
    assert rows[2]["mask_iou"] == 1


def test_set_without_any_known_depth_gives_null():
    batch = Samples(3)[[(0, 2)]]
    test = make_metrics(score_samples(guess, [batch], make_baselines([batch]), MAX_DEPTH))["test"]
    assert test["depth"]["delta1"] is None
    assert test["num_images_with_depth"] == 0
    json.dumps(test, allow_nan=False)


def test_ranking_is_from_worst_to_best_without_undefined_ones(scores):
    assert rank_samples(scores, "mask", "iou")[:3] == [5, 4, 3]
    assert 2 not in rank_samples(scores, "depth", "delta1")
    groups = choose_samples(scores, 2)
    assert groups["shown"] == [0, 1]
    assert groups["worst_mask"][0] == 5
    assert groups["best_mask"][:3] == [0, 1, 2]  # equal scores in the order of the set
    assert choose_samples(scores, 99)["shown"] == list(range(6))


def test_samples_are_written_with_their_index_and_the_same_bytes_again(tmp_path, scores):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        write_samples(tmp_path / name, tmp_path / f"{name}.png", guess, Samples(6), scores, num_shown=2, batch_size=4)
    index = read_json(tmp_path / "one" / "index.json")
    assert index["groups"]["shown"] == ["000000", "000001"]
    assert index["samples"]["000000"]["scores"]["mask"]["iou"] == 1
    assert index["samples"]["000002"]["scores"]["depth"]["delta1"] is None
    for entry in index["samples"].values():
        assert list(entry["files"]) == list(colours.CAPTIONS) == list(index["captions"])
        for file in entry["files"].values():
            with Image.open(tmp_path / "one" / file) as picture:
                assert picture.size == (SIZE_PX, SIZE_PX)
    folders = (tmp_path / name for name in ("one", "two"))
    first, second = ({str(p.relative_to(f)): p.read_bytes() for p in f.rglob("*.*")} for f in folders)
    assert first == second
    assert {"grid_shown.png", "grid_worst_mask.png", "grid_best_depth.png"} <= set(first)
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes() == first["grid_shown.png"]


def test_scene_is_the_first_sample_s_depth_even_if_fitted_beyond_the_range(tmp_path, scores):
    def align(depth: torch.Tensor, truth: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
        return 4 * depth - 1

    write_samples(tmp_path, tmp_path / "fixed.png", guess, Samples(6), scores, num_shown=2, batch_size=4, align=align)
    scene = read_json(tmp_path / "index.json")["scene"]
    assert scene["sample"] == "000000" and scene["raw_max"] == 65535
    fitted = 4 * (1.1 * EVERY.depth[0]).clip(0, 1) - 1
    assert fitted.min() < 0 and fitted.max() > 1
    written = np.array(Image.open(tmp_path / scene["depth"])) / 65535
    assert np.abs(written - fitted.clip(0, 1)).max() < 1e-4


def test_the_fixed_samples_are_there_even_if_none_is_to_be_shown(tmp_path, scores):
    for num_shown in (0, 1):
        folder = tmp_path / f"{num_shown}"
        folder.mkdir()
        write_samples(folder, tmp_path / f"{num_shown}.png", guess, Samples(6), scores, num_shown=num_shown, batch_size=4)
    assert read_json(tmp_path / "0/index.json")["groups"]["shown"] == []
    assert (tmp_path / "0.png").read_bytes() == (tmp_path / "1.png").read_bytes()


def test_augmentations_are_drawn_as_in_training(tmp_path, raw, split, params):
    common = {"image_size_px": 32, "compose": params.compose, "seed": 0, "num_samples": 4}
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        write_augmented(tmp_path / name, open_samples(raw, split, "train", **common), params.augment)
    composites = read_json(tmp_path / "one" / "augmented.json")["composites"]
    assert [len(composite["draws"]) for composite in composites] == [1 + NUM_DRAWS] * 3
    first, second = ({p.name: p.read_bytes() for p in (tmp_path / name).iterdir()} for name in ("one", "two"))
    assert first == second and len({first[draw["image"]] for draw in composites[0]["draws"]}) > NUM_DRAWS / 2
    trained = open_samples(raw, split, "train", augment=params.augment, **common)[[(0, 1)]]
    drawn = np.asarray(Image.open(tmp_path / "one" / composites[1]["draws"][1]["mask"]))[..., 0]
    assert np.abs(drawn - trained.mask[0].astype(int)).max() <= 1
    (tmp_path / "none").mkdir()
    nothing = params.augment.model_copy(update={"geometric": [], "photometric": []})
    write_augmented(tmp_path / "none", open_samples(raw, split, "train", **common), nothing)
    assert [len(entry["draws"]) for entry in read_json(tmp_path / "none" / "augmented.json")["composites"]] == [1, 1, 1]


def test_identity_reports_where_the_foreground_is_and_how_far_the_scene():
    rows, columns = np.nonzero(EVERY.mask[0] == 255)
    printed = describe_sample(EVERY, 0, MAX_DEPTH)
    assert printed["foreground_x"] == pytest.approx((columns.mean() + 0.5) / SIZE_PX, rel=1e-5)
    assert printed["foreground_y"] == pytest.approx((rows.mean() + 0.5) / SIZE_PX, rel=1e-5)
    assert 0 <= printed["scene_near"] < printed["scene_far"] <= MAX_DEPTH
    unknown = describe_sample(EVERY, 2, MAX_DEPTH)
    assert unknown["scene_near"] == unknown["scene_far"] == ""


def test_colours():
    mask = np.array([[1.0, 1.0, 0.0, 0.0]])
    difference = colours.paint_mask_difference(np.array([[0.9, 0.1, 0.9, 0.1]]), mask)
    assert [tuple(pixel) for pixel in difference[0]] == [colours.RIGHT, colours.MISSED, colours.FALSE, colours.NOTHING]
    depth, valid = np.array([[0.1, 0.8, 0.4]]), np.array([[True, True, False]])
    painted = colours.paint_depth(depth, (0.1, 0.8), valid)
    assert [tuple(pixel) for pixel in painted[0]] == [(253, 231, 37), (68, 1, 84), colours.UNKNOWN]
    shown = colours.paint_depth_difference(np.array([[0.1, 0.1, 0.1]]), depth, valid)
    assert [tuple(pixel) for pixel in shown[0]] == [colours.EXACT, colours.TOO_NEAR, colours.UNKNOWN]
    assert colours.find_depth_range(depth, np.zeros_like(valid)) == (colours.DEPTH_FLOOR, 1.0)


class Network(torch.nn.Module):
    def __init__(self, depth: float):
        super().__init__()
        self.depth = depth

    def forward(self, image_B3HW, background_B3HW=None):
        logits = image_B3HW[:, :1] * 10 - 5
        return Prediction(logits, torch.full_like(logits, self.depth))


def test_predictions_are_probabilities_without_gradients():
    mask_prob, depth = make_predict(Network(0.5), "cpu")(torch.rand(1, 3, 4, 4), None)
    assert mask_prob.min() >= 0 and mask_prob.max() <= 1
    assert not mask_prob.requires_grad and depth.dtype == torch.float32


def test_prediction_that_is_not_finite_is_one_line():
    predict = make_predict(Network(float("nan")), "cpu")
    with pytest.raises(UserError, match="not finite"):
        predict(torch.rand(1, 3, 4, 4), None)
    with pytest.raises(UserError, match=r"not finite, first among s0 \.\. s5; train again"):
        score_samples(predict, [EVERY], [], MAX_DEPTH)


def make_predictor(predict=None, size_px: int = 32, network: str = "compact", background: bool = False) -> Predictor:
    """Of `predict`, with the card of a network that is not made."""
    settings = NetworkParams(
        encoder="efficientnet_lite0", name=network, width=8, dropout=0.0, background_input=background
    ).model_dump()
    return Predictor(predict or guess, ModelCard(settings, (0.5,) * 3, (0.2,) * 3, "metre", MAX_DEPTH), size_px)


def read_images(folder: Path, predictor: Predictor) -> dict:
    return {photo.name: photo.shrunk for photo in read_photos(folder, predictor)[0]}


def test_photos_are_upright_and_fit_the_size(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter
    Image.new("RGB", (80, 40), "red").save(tmp_path / "b.JPG", exif=exif)
    Image.new("RGBA", (10, 30), (0, 0, 0, 0)).save(tmp_path / "a.png")
    Image.fromarray(np.full((8, 8), 65535, np.uint16)).save(tmp_path / "c.png")
    (tmp_path / "README.md").write_text("no photo")
    (tmp_path / "._b.jpg").write_text("no photo either")
    photos = read_images(tmp_path, make_predictor())
    assert list(photos) == ["a.png", "b.JPG", "c.png"]
    assert photos["b.JPG"].size_px == (40, 80)
    assert photos["b.JPG"].for_depth.image.shape == (32, 16, 3)
    assert photos["a.png"].for_depth.image.shape == (32, 11, 3)
    assert photos["a.png"].for_depth.image.min() == 255  # clear pixels become white
    assert photos["c.png"].for_depth.image.min() == 255


def test_very_narrow_photo_keeps_a_pixel(tmp_path):
    Image.new("RGB", (1000, 2)).save(tmp_path / "line.png")
    assert read_images(tmp_path, make_predictor())["line.png"].for_depth.image.shape == (1, 32, 3)


@pytest.mark.parametrize("content", [b"", b"no image", "truncated"])
def test_broken_photo_is_one_line_that_names_the_file(tmp_path, content):
    path = tmp_path / "bad.jpg"
    if content == "truncated":
        Image.effect_noise((64, 64), 50).save(path)
        content = path.read_bytes()[:600]
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"bad\.jpg: (not a readable image|damaged image)") as caught:
        read_photos(tmp_path, make_predictor())
    assert "\n" not in str(caught.value)


def test_missing_folder_of_photos_is_one_line(tmp_path):
    with pytest.raises(UserError, match=r"evaluate\.photos: .*none: no such folder"):
        read_photos(tmp_path / "none", make_predictor())


@pytest.mark.parametrize("name", [b"n" * 250 + b".jpg", b"caf\xe9.jpg", "é".encode() * 122 + b".jpg"])
def test_files_of_photos_have_names_that_dvc_can_store(tmp_path, name):
    photos, out = tmp_path / "photos", tmp_path / "out"
    photos.mkdir()
    out.mkdir()
    with open(os.fsencode(photos) + b"/" + name, "wb") as file:  # noqa: PTH123 (names of bytes)
        Image.new("RGB", (40, 20), "white").save(file, "JPEG")
    predictor = make_predictor(make_predict(Network(0.25), "cpu"))
    write_predictions(out, *read_photos(photos, predictor), predictor)
    (photo,) = read_json(out / "index.json")["photos"]
    assert photo["name"] == show_path(os.fsdecode(name))
    assert sorted(photo["files"].values()) == sorted(path.name for path in out.iterdir() if path.name != "index.json")
    assert all(len(file.encode("utf-8")) <= 255 for file in photo["files"].values())


def test_predictions_of_photos(tmp_path):
    Image.new("RGB", (40, 20), "white").save(tmp_path / "dog.jpg")
    out = tmp_path / "out"
    out.mkdir()
    predictor = make_predictor(make_predict(Network(0.25), "cpu"))
    write_predictions(out, *read_photos(tmp_path, predictor), predictor)
    index = read_json(out / "index.json")
    assert index["photos"][0]["size_px"] == [32, 16] and index["photos"][0]["photo_size_px"] == [40, 20]
    files = index["photos"][0]["files"]
    with Image.open(out / files["depth"]) as depth:
        values = np.asarray(depth)
    assert values.shape == (16, 32)
    assert np.allclose(values / 65535 * index["depth_max"], 2.5, atol=1e-3)
    with Image.open(out / files["mask"]) as mask:
        assert mask.mode == "L" and np.asarray(mask).min() > 250
    assert all((out / file).is_file() for file in files.values())


def test_index_is_written_without_photos_and_says_why_they_were_skipped(tmp_path):
    write_predictions(tmp_path, [], None, make_predictor())
    assert read_json(tmp_path / "index.json")["photos"] == []
    Image.new("RGB", (4, 4)).save(tmp_path / "dog.jpg")
    photos, skipped = read_photos(tmp_path, make_predictor(background=True))
    assert photos == [] and skipped.endswith("1 photos have no NAME_background beside them: dog.jpg")
    write_predictions(tmp_path, photos, skipped, make_predictor(background=True))
    assert read_json(tmp_path / "index.json")["skipped"] == skipped


def test_a_photo_s_bare_background_is_found_beside_it_and_given_to_the_network(tmp_path):
    Image.new("RGB", (40, 20), "white").save(tmp_path / "dog.jpg")
    Image.new("RGB", (40, 20), "black").save(tmp_path / "dog_background.png")
    seen = []

    def look(image, background):
        seen.append((image, background))
        return guess(image, background)

    predictor = make_predictor(look, background=True)
    photos, skipped = read_photos(tmp_path, predictor)
    assert [photo.name for photo in photos] == ["dog.jpg"] and skipped is None
    (tmp_path / "out").mkdir()
    write_predictions(tmp_path / "out", photos, skipped, predictor)
    assert seen[0][0].min() > 0.9 and seen[0][1].max() < 0.1
    Image.new("RGB", (40, 30), "black").save(tmp_path / "dog_background.png")
    with pytest.raises(UserError, match=r"dog_background\.png: aspect ratio differs from .*dog\.jpg"):
        read_photos(tmp_path, predictor)


def test_both_sides_of_a_photo_are_fitted_to_the_network(tmp_path):
    Image.new("RGB", (320, 214), "red").save(tmp_path / "dog.jpg")
    photo = read_images(tmp_path, make_predictor(size_px=112, network="resnet18_shuffle"))["dog.jpg"]
    assert photo.for_depth.image.shape == (72, 112, 3) and photo.size_px == (320, 214)


def test_a_background_whose_photo_is_not_there_is_named(tmp_path):
    Image.new("RGB", (40, 20), "red").save(tmp_path / "cat.jpg")
    Image.new("RGB", (40, 20), "black").save(tmp_path / "dog_background.png")
    with pytest.raises(UserError, match=r"dog_background\.png: background without a photo; add dog\.jpg, or"):
        read_photos(tmp_path, make_predictor(background=True))


def test_sample_is_not_changed_by_scoring():
    batch = Samples(1)[[(0, 0)]]
    before = copy.deepcopy(batch)
    score_samples(guess, [batch], [], MAX_DEPTH)
    for name in ("image", "mask", "depth"):
        np.testing.assert_array_equal(getattr(batch, name), getattr(before, name))
