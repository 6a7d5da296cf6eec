"""Objects in label pictures, masks and transparent pictures, and palettes that name them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from making_annotations import (
    HEIGHT,
    WIDTH,
    Figure,
    Photo,
    draw_mask,
    make_star,
    paint,
    save_palette,
    save_photos,
    write_voc,
)
from PIL import Image
from test_cutouts_formats import PHOTOS, STAR, count_reasons, fail, list_kept, run

from depthmask.base.errors import UserError
from depthmask.cutouts.masks import read_alpha
from depthmask.cutouts.palette import CITYSCAPES_NAMES, read_palette


def test_voc_in_colours_with_a_labelmap(tmp_path):
    """As CVAT exports it: RGB pictures, and a file that names the colours."""
    photo = PHOTOS[5]
    write_voc(tmp_path, [photo])
    classes, numbers = (np.zeros((HEIGHT, WIDTH, 3), np.uint8) for _ in range(2))
    colours = {"person": (250, 50, 83), "dog": (61, 61, 245)}
    for number, figure in enumerate(photo.figures[:2]):
        mask = draw_mask(figure)
        classes[mask], numbers[mask] = colours[figure.kind], ((128, 0, 0), (0, 128, 0))[number]
    Image.fromarray(classes).save(tmp_path / "SegmentationClass/000005.png")
    Image.fromarray(numbers).save(tmp_path / "SegmentationObject/000005.png")
    lines = ["# label:color_rgb:parts:actions", "background:0,0,0::", *[f"{k}:{r},{g},{b}::" for k, (r, g, b) in colours.items()]]
    (tmp_path / "labelmap.txt").write_text("\n".join(lines))
    record = run(tmp_path / "out", "voc", "--annotations", tmp_path)
    assert sorted(kind for _, kind, _ in list_kept(record)) == ["dog", "person"]


def write_cityscapes(folder: Path) -> Path:
    """Two cars, a crowd of persons and a road in one photo; nothing but road in another."""
    car, person, road = (CITYSCAPES_NAMES.index(name) for name in ("car", "person", "road"))
    numbers = np.full((HEIGHT, WIDTH), road, np.uint16)
    numbers[50:120, 20:100], numbers[60:130, 150:250] = car * 1000, car * 1000 + 12
    numbers[150:200, 50:120] = person
    for name, values in (("aachen_000000", numbers), ("aachen_000001", np.full((HEIGHT, WIDTH), road, np.uint16))):
        city = folder / "leftImg8bit/train/aachen"
        save_photos(city, [Photo(f"{name}_leftImg8bit.png")])
        labels = folder / "gtFine/train/aachen"
        labels.mkdir(parents=True, exist_ok=True)
        Image.fromarray(values).save(labels / f"{name}_gtFine_instanceIds.png")
        Image.fromarray(np.where(values >= 1000, values // 1000, values).astype(np.uint8)).save(
            labels / f"{name}_gtFine_labelIds.png"
        )
        Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(labels / f"{name}_gtFine_color.png")
    return folder


def test_cityscapes_instances_and_classes(tmp_path):
    folder = write_cityscapes(tmp_path)
    options = ("cityscapes", "--annotations", folder / "gtFine", "--images", folder / "leftImg8bit", "--kinds", "car", "person")
    record = run(tmp_path / "out", *options)
    assert [(kind, box) for _, kind, box in list_kept(record)] == [("car", [20, 50, 100, 120]), ("car", [150, 60, 250, 130])]
    assert count_reasons(record) == {"a crowd or region, not one object": 1, "kind not wanted (road)": 2}
    assert record["backgrounds"] == 1  # a road, but nothing that is wanted
    assert record["not_read"][-1] == {
        "what": f"other pictures, in {folder / 'gtFine'}", "number": 4, "example": "train/aachen/aachen_000000_gtFine_color.png",
    }  # fmt: skip
    strict = run(tmp_path / "strict", *options, "--backgrounds", "without-objects")
    assert strict["backgrounds"] == 0
    for path in (folder / "gtFine").rglob("*_instanceIds.png"):
        path.unlink()
    record = run(tmp_path / "classes", *options)
    assert sorted(kind for _, kind, _ in list_kept(record)) == ["car", "car", "person"]


def test_label_pictures_with_a_declared_palette(tmp_path, capsys):
    save_photos(tmp_path / "images", [Photo("a.jpg"), Photo("b.jpg")])
    values = np.zeros((HEIGHT, WIDTH), np.uint8)
    values[20:80, 20:90], values[100:200, 150:250], values[100:150, 20:90], values[210, 10] = 7, 38, 38, 7
    values[210:238, 200:240] = 99
    (tmp_path / "labels").mkdir()
    Image.fromarray(values).save(tmp_path / "labels/a.png")
    colours = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    colours[values == 7], colours[values == 38] = (255, 0, 0), (0, 0, 160)
    Image.fromarray(colours).save(tmp_path / "labels/b.png")
    options = ("labels", "--annotations", tmp_path / "labels", "--images", tmp_path / "images")
    assert fail(capsys, *options, "--out", tmp_path / "o").startswith("--palette: is missing; name a CSV file")
    (tmp_path / "palette.csv").write_text("value,name\r\n7,person\r\n38,dog\r\n#ff0000,person\r\n0,0,160,dog\r\n")
    record = run(tmp_path / "out", *options, "--palette", tmp_path / "palette.csv")
    boxes = [(kind, box) for _, kind, box in list_kept(record)]
    each = [("person", [20, 20, 90, 80]), ("dog", [20, 100, 90, 150]), ("dog", [150, 100, 250, 200])]
    assert sorted(boxes) == sorted(each + each)
    assert count_reasons(record) == {"too small": 2, "value without a name in the palette": 1}  # a speck in each


def test_palettes_in_every_form(tmp_path):
    forms = {
        "a.json": '{"1": "person", "#0000a0": "dog", "255": "void"}',
        "b.csv": "id;name\n1;person\n#0000A0;dog\n255;void\n",
        "c.csv": "\ufeff1,person\n0,0,160,dog\n255,ignore\n",
        "d.txt": "# label:color_rgb:parts:actions\ndog:0,0,160::\n",
    }
    for name, text in forms.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
        palette = read_palette(tmp_path / name)
        assert palette.by_colour == {0x0000A0: "dog"}, name
        assert palette.by_value == ({} if name == "d.txt" else {1: "person", 255: None}), name


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1,a\n70000,b", "line 2: '70000' is neither a value of 0 to 65535 nor a colour"),
        ("1,a\n2", "line 2: '2' has no name"),
        ("1,a\n1,b", "line 2: 1 has two names, a and b"),
        ("", "contains no line"),
        ("1,2,300,b\n", "line 1: '1,2,300' is neither"),
    ],
)
def test_a_palette_that_is_none_is_one_line(tmp_path, text, message):
    (tmp_path / "p.csv").write_text(text)
    with pytest.raises(UserError) as error:
        read_palette(tmp_path / "p.csv")
    assert str(error.value).startswith(str(tmp_path / "p.csv")) and message in str(error.value)


def test_masks_of_every_kind(tmp_path):
    save_photos(
        tmp_path / "images", [Photo(f"{name}.jpg") for name in ("soft", "one", "many", "inverted", "classes", "small", "img1")]
    )
    star = draw_mask(Figure("dog", STAR))
    soft = np.array(Image.fromarray(star.astype(np.uint8) * 255).resize((WIDTH // 4, HEIGHT // 4)).resize((WIDTH, HEIGHT)))
    masks = tmp_path / "masks"
    (masks / "many").mkdir(parents=True)
    Image.fromarray(soft).save(masks / "soft_mask.png")
    Image.fromarray(star.astype(np.uint8)).save(masks / "one.png")  # 0 and 1
    Image.fromarray(star).save(masks / "many/a.png")
    Image.fromarray((star * 65535).astype(np.uint16)).save(masks / "many/b.png")
    Image.fromarray((~star).astype(np.uint8) * 255).save(masks / "inverted.png")
    Image.fromarray((star * 3 + np.roll(star, 40, 1)).astype(np.uint8)).save(masks / "classes.png")
    Image.fromarray(star[::2, ::2]).save(masks / "small.png")
    Image.fromarray(star).save(masks / "img12.png")  # not of img1
    options = ("masks", "--annotations", masks, "--images", tmp_path / "images")
    record = run(tmp_path / "out", *options, "--kind", "star")
    areas = {k["name"]: k["area_px"] for p in record["pictures"] for k in p.get("kept", [])}
    assert areas == {"soft__01": (soft >= 128).sum(), "one__01": star.sum(), "many__01": star.sum(), "many__02": star.sum()}
    assert record["kinds"] == {"star": 4} and record["backgrounds"] == 0
    alpha = np.array(Image.open(tmp_path / "out/fg/soft__01.png"))[1:-1, 1:-1, 3]
    assert set(np.unique(soft)) - {0} == set(np.unique(alpha)) - {0}  # a soft mask stays as it is
    assert count_reasons(record) == {"mask covers the whole border; inverted?": 1, "picture or mask cannot be read": 1}
    (fault,) = [
        left for p in record["pictures"] for left in p.get("left_out", []) if left["reason"].startswith("picture or mask")
    ]
    assert (
        fault["detail"]
        == f"{masks / 'classes.png'}: has class numbers (up to 4); read class numbers with the format labels and a --palette"
    )
    assert [p["fault"] for p in record["pictures"] if "fault" in p] == ["other size than the annotation says"]
    assert record["problems"] == [{"place": "img12.png", "reason": "no such picture", "detail": "no photo of that name"}]
    for path in masks.rglob("*.png"):
        if path.name != "inverted.png":
            path.unlink()
    assert run(tmp_path / "inverse", *options, "--invert")["pictures"][0]["kept"][0]["area_px"] == star.sum()


def test_masks_that_are_not_transparent_where_the_object_is(tmp_path):
    star = draw_mask(Figure("dog", STAR))
    alpha = star.astype(np.uint8) * 255
    photo = paint(Photo("cut.jpg"))
    save_photos(tmp_path / "images", [Photo(f"{name}.jpg") for name in ("white", "cut", "both")])
    (tmp_path / "masks").mkdir()
    Image.fromarray(np.dstack([np.full_like(photo, 255), alpha])).save(tmp_path / "masks/white.png")
    Image.fromarray(np.dstack([photo, alpha])).save(tmp_path / "masks/cut.png")
    Image.fromarray(np.dstack([np.roll(alpha, 50), alpha])).save(tmp_path / "masks/both.png")
    record = run(tmp_path / "out", "masks", "--annotations", tmp_path / "masks", "--images", tmp_path / "images")
    assert {p["picture"]: [k["area_px"] for k in p.get("kept", [])] for p in record["pictures"]} == {
        "white.jpg": [star.sum()], "cut.jpg": [star.sum()], "both.jpg": []
    }  # fmt: skip
    (fault,) = record["pictures"][0]["left_out"]
    assert fault["detail"].endswith("has black and white, and transparency too; save it without alpha, or white alone")


@pytest.mark.parametrize("values", [(0, 2, 255), (0, 15, 255), (3, 13, 150), (0, 255, 128)])
def test_class_numbers_with_a_void_outline_and_trimaps_are_no_masks(tmp_path, values):
    wide, star = draw_mask(Figure("dog", make_star(120, 110, 70))), draw_mask(Figure("dog", make_star(120, 110, 60)))
    outside, inside, outline = values
    labels = np.where(star, inside, np.where(wide, outline, outside)).astype(np.uint8)
    path = tmp_path / "a.png"
    Image.fromarray(labels).save(path)
    with pytest.raises(UserError, match="has even areas of grey") as error:
        read_alpha(path)
    assert f"({', '.join(map(str, sorted(values)))})" in str(error.value)


def test_residue_makes_a_hard_mask_neither_soft_nor_large(tmp_path):
    star = draw_mask(Figure("dog", STAR))
    save_photos(tmp_path / "images", [Photo("a.jpg"), Photo("b.jpg")])
    (tmp_path / "masks").mkdir()
    Image.fromarray(np.where(star, 255, 0).astype(np.uint8)).save(tmp_path / "masks/a.png")
    haze = np.random.default_rng(0).integers(0, 9, star.shape)
    Image.fromarray(np.where(star, 255 - haze // 2, haze).astype(np.uint8)).save(tmp_path / "masks/b.png")
    record = run(tmp_path / "out", "masks", "--annotations", tmp_path / "masks", "--images", tmp_path / "images")
    clean, hazy = (np.array(Image.open(tmp_path / f"out/fg/{name}__01.png"))[..., 3] for name in "ab")
    assert record["pictures"][0]["kept"][0]["box"] == record["pictures"][1]["kept"][0]["box"]
    np.testing.assert_array_equal(clean, hazy)


def test_pictures_with_transparency_are_trimmed(tmp_path):
    photo = Photo("a.png", (Figure("person", STAR),))
    star = draw_mask(photo.figures[0])
    rgba = np.dstack([paint(photo), star.astype(np.uint8) * 255])
    (tmp_path / "in/person").mkdir(parents=True)
    Image.fromarray(rgba).save(tmp_path / "in/person/a.png")
    Image.fromarray(rgba[..., :3]).save(tmp_path / "in/opaque.png")
    Image.fromarray(rgba[..., :3]).save(tmp_path / "in/photo.jpg")
    record = run(tmp_path / "out", "rgba", "--images", tmp_path / "in", "--feather", "0")
    ((name, kind, box),) = list_kept(record)
    assert (name, kind) == ("a.png", "person")
    cutout = np.array(Image.open(tmp_path / "out/fg/person_a__01.png"))
    left, top, right, bottom = box
    assert cutout.shape[:2] == (bottom - top + 2, right - left + 2)
    np.testing.assert_array_equal(cutout[1:-1, 1:-1, 3], rgba[top:bottom, left:right, 3])
    opaque = cutout[1:-1, 1:-1, 3] == 255
    np.testing.assert_array_equal(cutout[1:-1, 1:-1, :3][opaque], rgba[top:bottom, left:right, :3][opaque])
    assert count_reasons(record) == {"picture or mask cannot be read": 1}
    assert record["not_read"] == [{"what": f".jpg, in {tmp_path / 'in'}", "number": 1, "example": "photo.jpg"}]


@pytest.mark.parametrize("objects", [True, False])
def test_a_photo_with_void_that_may_hide_an_object_is_no_background(tmp_path, objects):
    data = write_voc(
        tmp_path / "voc", [Photo("person.jpg", (Figure("person", STAR),)), *(Photo(f"{i}.jpg") for i in "ab")], objects=objects
    )
    for folder in ("SegmentationClass", *(["SegmentationObject"] if objects else [])):
        numbers = np.zeros((HEIGHT, WIDTH), np.uint8)
        numbers[50:100, 60:90] = 255
        save_palette(data / folder / "b.png", numbers)
    record = run(tmp_path / "out", "voc", "--annotations", data)
    assert [path.name for path in (tmp_path / "out/bg").iterdir()] == ["a.jpg"]
    assert count_reasons(record) == {"void, which may hide an object": 1}  # not the outline of the person
    assert [p["no_background"] for p in record["pictures"] if p["picture"] == "b.jpg"] == [
        "an object of a wanted kind may be in it"
    ]
