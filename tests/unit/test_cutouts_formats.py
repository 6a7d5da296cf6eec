"""Each kind of annotation gives the same cut-outs of the same photos; what is wrong in it is counted and named with its place."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from making_annotations import (
    HEIGHT,
    WIDTH,
    Figure,
    Photo,
    draw_mask,
    encode_png,
    make_cvat,
    make_photos,
    make_star,
    paint,
    save_photos,
    write_coco,
    write_labelme,
    write_voc,
)
from PIL import Image
from test_cutouts_shapes import compress, encode_runs

from depthmask.commands.cutouts import main
from depthmask.cutouts.formats import FORMATS, find_reader

PHOTOS = make_photos(6)
STAR = make_star(120, 110, 60)
VOID_PX = 6  # that the outlines in label pictures take from the tips of a star


def run(folder: Path, *options: str) -> dict:
    """cutouts.json of a call."""
    assert main([*map(str, options), "--out", str(folder), "--workers", "1"]) == 0
    return json.loads((folder / "cutouts.json").read_text())


def list_kept(record: dict) -> list[tuple[str, str, list[int]]]:
    return [(Path(p["picture"]).name, k["kind"], k["box"]) for p in record["pictures"] for k in p.get("kept", [])]


def count_reasons(record: dict) -> dict[str, int]:
    return record["left_out"]


def fail(capsys, *options: str) -> str:
    """The one line that a call prints."""
    assert main([*map(str, options)]) == 1
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    return lines[0].removeprefix("error: ")


def test_every_format_has_a_reader_and_a_test():
    for name in FORMATS:
        assert callable(find_reader(name))


def test_all_formats_find_the_same_objects(tmp_path):
    write_coco(tmp_path / "coco", PHOTOS)
    write_labelme(tmp_path / "labelme", PHOTOS)
    write_labelme(tmp_path / "embedded", PHOTOS, embed=True)
    write_voc(tmp_path / "voc", PHOTOS)
    write_voc(tmp_path / "classes", PHOTOS, objects=False)
    (tmp_path / "annotations.xml").write_text(make_cvat(PHOTOS))
    images = tmp_path / "coco/images"
    records = {
        name: run(tmp_path / "out" / name, *options)
        for name, options in {
            "coco": ("coco", "--annotations", tmp_path / "coco/instances.json", "--images", images),
            "labelme": ("labelme", "--annotations", tmp_path / "labelme"),
            "embedded": ("labelme", "--annotations", tmp_path / "embedded"),
            "cvat": ("cvat", "--annotations", tmp_path / "annotations.xml", "--images", images),
            "voc": ("voc", "--annotations", tmp_path / "voc"),
            "classes": ("voc", "--annotations", tmp_path / "classes"),
        }.items()
    }
    expected = list_kept(records["coco"])
    assert sorted(kind for _, kind, _ in expected) == ["dog", "dog", "person", "person", "person", "person"]
    for name, record in records.items():
        kept = list_kept(record)
        if name == "classes":  # in the order of the class numbers
            kept, expected = sorted(kept), sorted(expected)
        assert [one[:2] for one in kept] == [one[:2] for one in expected], name
        assert np.abs(np.array([one[2] for one in kept]) - [one[2] for one in expected]).max() <= (
            VOID_PX if name in ("voc", "classes") else 0
        ), name
        assert record["backgrounds"] == 2 and count_reasons(record) == {"cut by the frame": 1}, name
    # the cut-out of the photo is within the figure
    figure = PHOTOS[1].figures[0]
    cutout = np.array(Image.open(tmp_path / "out/voc/fg/000001__01.png"))
    left, top, right, bottom = list_kept(records["voc"])[0][2]
    opaque = cutout[1:-1, 1:-1, 3] == 255
    inside = draw_mask(figure)[top:bottom, left:right]
    assert opaque.sum() > 0.7 * inside.sum()  # less the void around it


def test_coco_run_lengths_crowds_and_boxes(tmp_path):
    photo = Photo("a.jpg", (Figure("person", STAR),))
    counts = encode_runs(draw_mask(photo.figures[0]))

    def change(data):
        (first,) = data["annotations"]
        size = {"size": [HEIGHT, WIDTH]}
        data["annotations"] = [
            first | {"id": 1, "segmentation": size | {"counts": counts}},
            first | {"id": 2, "segmentation": size | {"counts": compress(counts)}},
            first | {"id": 3, "segmentation": size | {"counts": [0, WIDTH * HEIGHT]}, "iscrowd": 1},
            {key: value for key, value in first.items() if key != "segmentation"} | {"id": 4},
        ]

    folder = write_coco(tmp_path, [photo], change)
    record = run(tmp_path / "out", "coco", "--annotations", folder / "instances.json", "--images", folder / "images")
    assert count_reasons(record) == {"a crowd or region, not one object": 1, "only a box, no outline": 1}
    one, two = (np.array(Image.open(tmp_path / f"out/fg/a__0{n}.png")) for n in (1, 2))
    np.testing.assert_array_equal(one, two)
    assert (one[..., 3] >= 128).sum() == draw_mask(photo.figures[0]).sum()
    assert record["backgrounds"] == 0  # there is a person


def test_coco_points_and_lines_between_the_parts_of_an_object_and_a_polygon_without_a_list(tmp_path):
    photos = [Photo(f"{name}.jpg", (Figure("person", STAR),)) for name in ("whole", "parts", "flat")]

    def change(data):
        whole, parts, flat = data["annotations"]
        parts["segmentation"] += [[], [5, 6], [1, 2, 30, 4], [9.0, 9.0, 9.1, 9.0, 9.1, 12.0]]
        flat["segmentation"] = whole["segmentation"][0]

    folder = write_coco(tmp_path, photos, change)
    record = run(tmp_path / "out", "coco", "--annotations", folder / "instances.json", "--images", folder / "images")
    kept = list_kept(record)
    assert len(kept) == 3 and len({str(box) for _, _, box in kept}) == 1 and count_reasons(record) == {}


def test_objects_of_an_unknown_kind_keep_their_picture_from_becoming_a_background(tmp_path):
    photos = [Photo(f"{name}.jpg", (Figure(kind, STAR),)) for name, kind in (("a", "person"), ("b", "dog"), ("c", "dog"))]

    def change(data):
        data["annotations"][2]["category_id"] = 77  # which might be a person

    folder = write_coco(tmp_path / "coco", photos, change)
    options = ("--annotations", folder / "instances.json", "--images", folder / "images", "--kinds", "person")
    record = run(tmp_path / "one", "coco", *options)
    assert [path.name for path in (tmp_path / "one/bg").iterdir()] == ["b.jpg"]
    assert count_reasons(record) == {"kind not wanted (dog)": 1, "invalid outline": 1}
    voc = write_voc(tmp_path / "voc", photos)
    (voc / "SegmentationClass/c.png").unlink()
    record = run(tmp_path / "two", "voc", "--annotations", voc, "--kinds", "person")
    assert [path.name for path in (tmp_path / "two/bg").iterdir()] == ["b.jpg"]
    assert count_reasons(record) == {"kind not wanted (dog)": 1, "kind not wanted (without a kind)": 1}


def test_coco_with_all_that_can_be_wrong_in_single_entries(tmp_path, capsys):
    def change(data):
        good = data["annotations"][0]
        data["annotations"] += [
            good | {"id": 1, "image_id": 99},
            good | {"id": 2, "segmentation": [[1, 2, 3, 4]]},
            good | {"id": 3, "segmentation": [[1, 2, 3, 4, 5, float(10**9)]]},
            good | {"id": 4, "segmentation": [["1", 2, 3, 4, 5, 6]]},
            good | {"id": 5, "segmentation": {"size": [1, 2], "counts": [2]}},
            good | {"id": 6, "segmentation": {"size": [HEIGHT, WIDTH], "counts": "zzz"}},
            good | {"id": 7, "segmentation": {"size": "large", "counts": "6"}},
            good | {"id": 8, "segmentation": 5},
            good | {"id": 9, "category_id": 77},
            "what",
        ]
        data["images"] += [
            {"id": 50, "file_name": "gone.jpg"},
            {"id": 51, "file_name": "../../etc/passwd.jpg"},
            {"id": 1, "file_name": "000004.jpg"},
            {"id": 52, "file_name": "000000.jpg"},
            {"id": 53},
            7,
        ]
        data["images"][2]["width"] = 2 * WIDTH

    folder = write_coco(tmp_path, PHOTOS, change)
    record = run(tmp_path / "out", "coco", "--annotations", folder / "instances.json", "--images", folder / "images")
    assert count_reasons(record)["invalid outline"] == 8
    details = {left["place"]: left["detail"] for p in record["pictures"] for left in p.get("left_out", [])}
    named = {place.partition(" (id ")[2]: detail for place, detail in details.items()}
    assert named["2)"] == "segmentation[0]: 4 numbers, which are not x and y of three points or more"
    assert named["5)"] == f"run lengths of 2 x 1 px in a picture of {WIDTH} x {HEIGHT}"
    assert named["9)"] == "category_id 77 is not in categories"
    problems = {(one["place"], one["reason"]) for one in record["problems"]}
    first = len(PHOTOS)
    assert {(f"images[{first + 2}]", "named twice"), (f"images[{first + 3}]", "named twice")} <= problems
    assert sum(reason == "no such picture" for _, reason in problems) == 4  # two annotations, two images
    assert sum(reason == "invalid outline" for _, reason in problems) == 2
    wrong = [p for p in record["pictures"] if p.get("fault")]
    assert [(p["picture"], p["fault"]) for p in wrong] == [("000002.jpg", "other size than the annotation says")]
    assert wrong[0]["detail"] == f"{WIDTH} x {HEIGHT} px, {2 * WIDTH} x {HEIGHT} in the annotation"
    printed = capsys.readouterr().out
    assert "pictures left out: 1" in printed and "8 invalid outline, such as 000001.jpg: annotations[" in printed


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is not JSON (line 1: "),
        ("[]", "holds a list, not the mapping of a COCO file"),
        ('{"images": []}', "annotations: is missing; name a COCO instances file"),
        ('{"images": 3, "annotations": []}', "images: is 3, not a list"),
        ('{"images": [], "annotations": [{"segments_info": []}]}', "is a panoptic file"),
        ('{"images": [], "annotations": [], "categories": [{"id": 1}]}', "categories[0]: has no id or no name"),
        ('{"images": [], "annotations": []}', "names no picture in"),
        ("\udcff", "byte 0"),
    ],
)
def test_a_file_that_is_not_coco_is_one_line(tmp_path, capsys, content, message):
    save_photos(tmp_path / "images", PHOTOS[:1])
    (tmp_path / "a.json").write_bytes(content.encode(errors="surrogateescape"))
    line = fail(capsys, "coco", "--annotations", tmp_path / "a.json", "--images", tmp_path / "images", "--out", tmp_path / "out")
    assert line.startswith(str(tmp_path / "a.json")) and message in line
    assert not (tmp_path / "out").exists()


def test_labelme_shapes_groups_and_faults(tmp_path):
    write_labelme(tmp_path, [Photo("a.jpg"), Photo("b.jpg")])
    patch = draw_mask(Figure("dog", STAR))[50:180, 60:190]
    shapes = [
        {"label": "sign", "shape_type": "rectangle", "points": [[200, 20], [260, 70]]},
        {"label": "ball", "shape_type": "circle", "points": [[60, 60], [60, 90]]},
        {"label": "dog", "shape_type": "mask", "points": [[60, 50], [189, 179]], "mask": encode_png(patch)},
        {"label": "person", "points": [[200, 100], [240, 100], [240, 140], [200, 140]], "group_id": 4},
        {"label": "person", "points": [[250, 100], [290, 100], [290, 140], [250, 140]], "group_id": 4},
        {"label": "road", "shape_type": "line", "points": [[0, 0], [5, 5]]},
        {"label": "road", "shape_type": "polygon", "points": [[0, 0], [5, "a"]]},
        {"label": "road", "shape_type": "spline", "points": [[0, 0], [5, 5]]},
        {"label": "road", "shape_type": "circle", "points": [[0, 0]]},
        None,
    ]
    data = json.loads((tmp_path / "a.json").read_text())
    (tmp_path / "a.json").write_text(json.dumps(data | {"shapes": shapes}))
    (tmp_path / "c.json").write_text(json.dumps(data | {"imagePath": "..\\elsewhere\\c.jpg"}))
    (tmp_path / "d.json").write_text('{"what": 1}')
    (tmp_path / "e.json").write_text("{")
    record = run(tmp_path / "out", "labelme", "--annotations", tmp_path)
    boxes = {kind: box for _, kind, box in list_kept(record)}
    assert boxes["sign"] == [200, 20, 260, 70] and boxes["ball"] == [30, 30, 90, 90]
    assert boxes["person"] == [200, 100, 290, 140]  # two parts of one object
    alpha = np.array(Image.open(tmp_path / "out/fg/a__03.png"))[..., 3]
    assert (alpha >= 128).sum() == patch.sum()
    assert count_reasons(record) == {"a line or point, no area": 1, "invalid outline": 4}
    assert [(p["place"], p["reason"]) for p in record["problems"]] == [
        ("c.json", "no such picture"), ("d.json", "picture or mask cannot be read"), ("e.json", "picture or mask cannot be read"),
    ]  # fmt: skip
    assert [p.get("background") for p in record["pictures"]] == [None, ".jpg"]


def test_labelme_rectangles_as_other_tools_write_them(tmp_path):
    (x0, y0), (x1, y1) = (40, 50), (100, 120)
    corners = [[x0, y0], [x1, y0], [x1, y1], [x0, y1]]
    shapes = [{"label": "sign", "shape_type": form, "points": corners} for form in ("rectangle", "rotation")]
    folder = write_labelme(tmp_path / "in", [Photo("a.jpg")])
    data = json.loads((folder / "a.json").read_text()) | {"shapes": shapes}
    (folder / "a.json").write_text(json.dumps(data))
    record = run(tmp_path / "out", "labelme", "--annotations", folder)
    assert list_kept(record) == [("a.jpg", "sign", [x0, y0, x1, y1])] * 2


def test_labelme_pictures_elsewhere_and_with_another_suffix(tmp_path, capsys):
    write_labelme(tmp_path / "json", PHOTOS[:2])
    (tmp_path / "photos").mkdir()
    for photo in PHOTOS[:2]:
        (tmp_path / "json" / photo.name).unlink()
        Image.fromarray(paint(photo)).save(tmp_path / "photos" / Path(photo.name).with_suffix(".png").name)
    record = run(tmp_path / "out", "labelme", "--annotations", tmp_path / "json", "--images", tmp_path / "photos")
    assert [p["picture"] for p in record["pictures"]] == ["000000.png", "000001.png"] and record["cutouts"] == 2
    (tmp_path / "none").mkdir()
    assert "contains no .json file" in fail(capsys, "labelme", "--annotations", tmp_path / "none", "--out", tmp_path / "o")
    (tmp_path / "none/x.json").write_text("[]")
    assert "none of 1 .json files is LabelMe's; x.json: not LabelMe's" in fail(
        capsys, "labelme", "--annotations", tmp_path / "none", "--out", tmp_path / "o"
    )


def test_cvat_masks_groups_boxes_order_and_occluded(tmp_path, capsys):
    save_photos(tmp_path / "images/sub", [Photo("a.jpg")])
    text = f"""<annotations><meta><task><name>x</name></task></meta>
<image id="0" name="sub/a.jpg" width="{WIDTH}" height="{HEIGHT}">
<mask label="dog" rle="0, 2500" left="10" top="20" width="50" height="50" occluded="0" z_order="0"></mask>
<polygon label="person" points="100,20;180,20;180,100;100,100" occluded="0" z_order="0"><attribute name="a">1</attribute>
</polygon>
<polygon label="ball" points="140,20;220,20;220,100;140,100" occluded="0" z_order="2"></polygon>
<ellipse label="plate" cx="60" cy="160" rx="40" ry="25" rotation="0" occluded="0"></ellipse>
<polygon label="pair" points="150,120;190,120;190,160;150,160" group_id="3"/>
<polygon label="pair" points="200,120;240,120;240,160;200,160" group_id="3"/>
<polygon label="hidden" points="150,170;190,170;190,220;150,220" occluded="1"/>
<box label="person" xtl="1" ytl="1" xbr="50" ybr="50" occluded="0"></box>
<polyline label="line" points="1,1;2,2"/>
<polygon label="bad" points="1,1;2"/>
<mask label="bad" rle="1, x" left="0" top="0" width="5" height="5"/>
</image>
<image id="1" name="gone.jpg" width="5" height="5"/></annotations>"""
    (tmp_path / "a.xml").write_text(text)
    options = ("cvat", "--annotations", tmp_path / "a.xml", "--images", tmp_path / "images")
    record = run(tmp_path / "out", *options)
    assert "1 box is ignored: a box has no outline" in capsys.readouterr().err
    boxes = {kind: box for _, kind, box in list_kept(record)}
    assert boxes == {
        "dog": [10, 20, 60, 70], "person": [100, 20, 140, 100], "ball": [140, 20, 220, 100], "plate": [20, 135, 100, 185],
        "pair": [150, 120, 240, 160],
    }  # fmt: skip
    assert count_reasons(record) == {
        "invalid outline": 2, "a line or point, no area": 1, "marked as occluded": 1, "only a box, no outline": 1,
    }  # fmt: skip
    assert record["problems"] == [{"place": "line 16", "reason": "no such picture", "detail": f"{tmp_path / 'images'}/gone.jpg"}]
    assert ("a.jpg", "hidden", [150, 170, 190, 220]) in list_kept(run(tmp_path / "all", *options, "--allow-occluded"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<annotations><image>", "line 1: is not XML (no element found)"),
        ("\n<html/>", "line 2: begins with <html>, not <annotations>"),
        ("<annotations>\n<track/></annotations>", "line 2: has the tracks of a video"),
        (
            '<!DOCTYPE a [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]><annotations>&b;</annotations>',
            "line 1: has a document type, which CVAT does not write",
        ),
        ('<!DOCTYPE a SYSTEM "file:///etc/passwd"><annotations/>', "has a document type"),
        ("<annotations/>", "names no picture"),
    ],
)
def test_xml_that_is_not_cvats_is_one_line(tmp_path, capsys, text, message):
    save_photos(tmp_path / "images", PHOTOS[:1])
    (tmp_path / "a.xml").write_text(text)
    line = fail(capsys, "cvat", "--annotations", tmp_path / "a.xml", "--images", tmp_path / "images", "--out", tmp_path / "o")
    assert line.startswith(str(tmp_path / "a.xml")) and message in line
