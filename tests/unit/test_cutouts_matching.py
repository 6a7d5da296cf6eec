"""Which picture a name in an annotation means, and which files are photos: no label pictures, none of another folder."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from making_annotations import Figure, Photo, draw_mask, make_star, paint, save_photos, write_coco, write_voc
from PIL import Image
from test_cutouts_command import coco
from test_cutouts_formats import fail, list_kept, run

from depthmask.cutouts.folders import PictureFolder

STAR = Figure("person", make_star(120, 110, 60))


def make_folder(root: Path, *names: str) -> PictureFolder:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return PictureFolder(root)


@pytest.mark.parametrize(
    ("written", "found"),
    [
        ("a/1.jpg", "a/1.jpg"),
        ("./a/1.jpg", "a/1.jpg"),
        (r"C:\data\b\1.jpg", "b/1.jpg"),
        ("/home/somebody/a/1.jpg", "a/1.jpg"),
        ("1.jpg", None),  # of which folder?
        ("c/1.jpg", None),
        ("only.JPG", "b/only.jpg"),
        ("x/" + unicodedata.normalize("NFC", "Größe.jpg"), "a/" + unicodedata.normalize("NFD", "Größe.jpg")),
        ("two%20words.jpg", "two words.jpg"),
        ("../../etc/passwd", None),
        ("..", None),
    ],
)
def test_a_name_means_the_file_that_shares_most_of_the_path(tmp_path, written, found):
    decomposed = unicodedata.normalize("NFD", "Größe.jpg")
    folder = make_folder(tmp_path / "in", "a/1.jpg", "b/1.jpg", "b/only.jpg", f"a/{decomposed}", "two words.jpg")
    assert folder.match([written]).found == {written: found}


def test_names_that_would_be_the_same_picture_go_to_the_nearest_or_to_none(tmp_path):
    folder = make_folder(tmp_path / "train", "1.jpg", "2.jpg", "3.jpg")
    assert folder.match(["train/1.jpg", "val/1.jpg", "x/2.jpg", "y/2.jpg", "3.jpg", "x/3.jpg"]).found == {
        "train/1.jpg": "1.jpg",
        "val/1.jpg": None,
        "x/2.jpg": None,
        "y/2.jpg": None,
        "3.jpg": "3.jpg",
        "x/3.jpg": None,
    }
    matched = folder.match(["x/1.jpg", "train/2.jpg"])
    assert matched.describe() == ["1 picture found by file name alone, such as 1.jpg for x/1.jpg; check that they are the same"]


def test_outlines_of_a_scene_that_is_not_there_are_not_drawn_on_another(tmp_path):
    photos = [Photo("one/1.jpg", (Figure("person", make_star(100, 110, 50)),)), Photo("two/1.jpg", (STAR,))]
    data = write_coco(tmp_path / "coco", photos)
    (data / "images/one/1.jpg").unlink()
    record = run(tmp_path / "out", *coco(data))
    whole = run(tmp_path / "other", *coco(write_coco(tmp_path / "other coco", photos[1:])))
    assert list_kept(record) == list_kept(whole)
    assert [problem["reason"] for problem in record["problems"]] == ["no such picture"]


def test_a_picture_that_is_listed_again_is_no_background(tmp_path):
    def repeat(data: dict) -> None:
        data["images"].append(data["images"][1] | {"id": 50})
        data["annotations"].append(data["annotations"][0] | {"image_id": 50})

    photos = [Photo("a.jpg", (STAR,)), Photo("b.jpg"), Photo("c.jpg")]
    record = run(tmp_path / "out", *coco(write_coco(tmp_path / "coco", photos, repeat)))
    assert [problem["reason"] for problem in record["problems"]] == ["named twice"]
    assert [path.name for path in (tmp_path / "out/bg").iterdir()] == ["c.jpg"]


def test_labelme_names_lead_to_the_folder_of_the_same_name(tmp_path):
    figure = {"label": "person", "points": STAR.points, "shape_type": "polygon"}
    save_photos(tmp_path / "images", [Photo("two/1.jpg", (STAR,))])
    for scene in ("one", "two"):
        (tmp_path / "json" / scene).mkdir(parents=True)
        data = {"shapes": [figure], "imagePath": rf"..\..\elsewhere\{scene}\1.jpg", "imageData": None}
        (tmp_path / "json" / scene / "1.json").write_text(json.dumps(data))
    record = run(tmp_path / "out", "labelme", "--annotations", tmp_path / "json", "--images", tmp_path / "images")
    assert [kind for _, kind, _ in list_kept(record)] == ["person"]
    assert [problem["place"] for problem in record["problems"]] == ["one/1.json"]


def write_masks(folder: Path, masks: str, name: str = "{}.png") -> list[np.ndarray]:
    """Photos in `folder`/images, masks in `masks`."""
    photos = [Photo(f"images/p{i}.jpg", (Figure("person", make_star(100 + 5 * i, 110, 60)),)) for i in range(3)]
    save_photos(folder, photos)
    (folder / masks).mkdir(exist_ok=True)
    drawn = [draw_mask(photo.figures[0]) for photo in photos]
    for i, mask in enumerate(drawn):
        Image.fromarray(mask).save(folder / masks / name.format(f"p{i}"))
    return drawn


@pytest.mark.parametrize(("images", "masks"), [(".", "masks"), ("images", "."), ("images", "images/masks")])
def test_masks_in_a_folder_inside_that_of_the_photos_are_no_photos(tmp_path, images, masks):
    data = tmp_path / "data"
    drawn = write_masks(data, masks)
    record = run(tmp_path / "out", "masks", "--annotations", data / masks, "--images", data / images)
    assert [Path(p["picture"]).suffix for p in record["pictures"]] == [".jpg"] * 3
    assert [k["area_px"] for p in record["pictures"] for k in p["kept"]] == [mask.sum() for mask in drawn]
    assert record["problems"] == []


@pytest.mark.parametrize("name", ["{}.png", "{}_mask.png"])
def test_photos_and_masks_in_the_same_folder_are_one_line(tmp_path, capsys, name):
    write_masks(tmp_path / "data", "images", name)
    line = fail(
        capsys,
        "masks",
        "--annotations",
        tmp_path / "data/images",
        "--images",
        tmp_path / "data/images",
        "--out",
        tmp_path / "out",
    )
    assert line.endswith("is both --images and --annotations; put the label pictures or masks into a folder of their own")


def test_label_pictures_below_the_photos_are_no_photos(tmp_path):
    photos = [Photo("a.jpg", (STAR,)), Photo("b.jpg")]
    data = write_voc(tmp_path / "voc", photos)
    expected = run(tmp_path / "plain", "voc", "--annotations", data)
    record = run(tmp_path / "out", "voc", "--annotations", data, "--images", data)
    assert list_kept(record) == list_kept(expected) and record["backgrounds"] == 1
    data = save_photos(tmp_path / "city data", photos)
    for name in ("a", "b"):
        labels = np.where(draw_mask(STAR), 24001, 7) * (name == "a")
        (data / "gtFine").mkdir(exist_ok=True)
        Image.fromarray(labels.astype(np.uint16)).save(data / f"gtFine/{name}_gtFine_instanceIds.png")
    (data / "gtFine/notes.txt").write_text("")
    record = run(tmp_path / "city", "cityscapes", "--annotations", data / "gtFine", "--images", data, "--kinds", "person")
    assert [(name, kind) for name, kind, _ in list_kept(record)] == [("a.jpg", "person")]
    assert {"what": f".txt, in {data / 'gtFine'}", "number": 1, "example": "notes.txt"} in record["not_read"]


def test_a_mask_of_two_photos_is_reported(tmp_path):
    drawn = write_masks(tmp_path / "data", "masks")
    Image.fromarray(paint(Photo("p0.png"))).save(tmp_path / "data/images/p0.png")
    record = run(tmp_path / "out", "masks", "--annotations", tmp_path / "data/masks", "--images", tmp_path / "data/images")
    assert [k["area_px"] for p in record["pictures"] for k in p["kept"]] == [mask.sum() for mask in drawn[1:]]
    assert [problem["detail"] for problem in record["problems"]] == ["could belong to p0.jpg and to p0.png"]


def test_an_earlier_result_among_the_photos_is_not_read(tmp_path, capsys):
    data = write_coco(tmp_path / "coco", [Photo("a/1.jpg", (STAR,)), Photo("a/2.jpg")])
    instances = json.loads((data / "instances.json").read_text())
    for image in instances["images"]:  # found by their names alone, which the result contains too
        image["file_name"] = image["file_name"].removeprefix("a/")
    (data / "instances.json").write_text(json.dumps(instances))
    first = run(data / "images/out", *coco(data))
    again = run(data / "images/out", *coco(data))
    assert again == first and first["not_read"] == [] and first["backgrounds"] == 1
    assert "2 of 2 pictures were done by an earlier call" in capsys.readouterr().err
