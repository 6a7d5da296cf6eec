"""Cut-outs of photos on their side, and their sizes in metres where depth is known."""

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
    make_coco,
    make_star,
    paint,
    write_coco,
)
from making_layouts import make_download
from PIL import Image
from test_cutouts_command import coco, fail, run

from depthmask.cutouts.sizes import Optics
from depthmask.params.plain_yaml import parse_yaml
from depthmask.sources.assets import AssetsSource

ORIENTATION_TAG = 0x0112
DEPTH_FORMAT = "{unit: metre, polarity: near_is_small, max: 20.0, raw_max: 20000, raw_unknown: 0}"


def save_turned(path: Path, upright: np.ndarray, orientation: int) -> None:
    """A photo that is stored on its side, and says so."""
    turns = {6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270}
    exif = Image.Exif()
    exif[ORIENTATION_TAG] = orientation
    Image.fromarray(upright).transpose(turns[orientation]).save(path, quality=95, exif=exif)


@pytest.mark.parametrize("orientation", [6, 8])
def test_photos_on_their_side_with_outlines_of_the_upright_or_the_stored_picture(tmp_path, orientation):
    photo = Photo("a.jpg", (Figure("person", make_star(100, 90, 60)),))
    data = write_coco(tmp_path / "coco", [photo])
    expected = run(tmp_path / "plain", *coco(data))["pictures"][0]["kept"][0]
    save_turned(data / "images/a.jpg", paint(photo), orientation)
    upright = run(tmp_path / "upright", *coco(data))["pictures"][0]["kept"][0]
    turn = (lambda x, y: (y, WIDTH - x)) if orientation == 6 else (lambda x, y: (HEIGHT - y, x))
    stored = Photo("a.jpg", (Figure("person", tuple(turn(x, y) for x, y in photo.figures[0].points)),), (HEIGHT, WIDTH))
    (data / "instances.json").write_text(json.dumps(make_coco([stored])))
    record = run(tmp_path / "stored", *coco(data))["pictures"][0]
    assert (record["width"], record["height"]) == (WIDTH, HEIGHT)
    for kept in (upright, record["kept"][0]):
        assert np.abs(np.array(kept["box"]) - expected["box"]).max() <= 1
        assert kept["area_px"] == pytest.approx(expected["area_px"], rel=0.01)
    one, other = (np.array(Image.open(tmp_path / f"{name}/fg/a__01.png")) for name in ("plain", "stored"))
    red = other[other[..., 3] == 255][:, :3].astype(int)
    assert np.abs(red - np.median(one[one[..., 3] == 255][:, :3], axis=0)).mean() < 6


@pytest.mark.parametrize("orientation", [6, 8])
def test_masks_of_the_upright_and_of_the_stored_picture(tmp_path, orientation):
    photo = Photo("a.jpg", (Figure("person", make_star(100, 90, 60)),))
    star = draw_mask(photo.figures[0])
    for name in ("images", "masks"):
        (tmp_path / name).mkdir()
    for name in ("shown", "stored"):
        save_turned(tmp_path / f"images/{name}.jpg", paint(photo), orientation)
    Image.fromarray(star).save(tmp_path / "masks/shown.png")
    Image.fromarray(star).transpose({6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270}[orientation]).save(
        tmp_path / "masks/stored.png"
    )
    run(tmp_path / "out", "masks", "--annotations", tmp_path / "masks", "--images", tmp_path / "images")
    shown, stored = (np.array(Image.open(tmp_path / f"out/fg/{name}__01.png")) for name in ("shown", "stored"))
    np.testing.assert_array_equal(shown, stored)
    assert (shown[..., 3] >= 128).sum() == star.sum()


@pytest.mark.parametrize("values", [np.uint16, np.float32])
def test_depth_of_a_background_on_its_side_is_turned_like_the_photo(params, tmp_path, values):
    photos = [Photo("a.jpg", (Figure("person", make_star(160, 120, 80)),)), Photo("room.jpg")]
    data = write_coco(tmp_path / "coco", photos)
    depth = write_depth(tmp_path / "depth", photos)
    upright = np.array(Image.open(depth / "room.png")).astype(values)
    (depth / "room.png").unlink()
    save_turned(data / "images/room.jpg", paint(photos[1]), 6)
    suffix = "png" if values is np.uint16 else "tif"
    Image.fromarray(np.rot90(upright).copy()).save(depth / f"room.{suffix}")
    run(tmp_path / "out", *coco(data), "--depth", depth, "--depth-format", DEPTH_FORMAT, "--focal-px", "300")
    scale = parse_yaml(DEPTH_FORMAT, "here")
    source = AssetsSource(tmp_path / "out", make_download(params, "assets", tmp_path / "out", {"depth": scale}))
    assert [key for key, *_ in source.check()] and source.read_background("room").image.shape[:2] == (HEIGHT, WIDTH)
    np.testing.assert_array_equal(np.array(Image.open(tmp_path / f"out/bg_depth/room.{suffix}")), upright)


def write_depth(folder: Path, photos: list[Photo], figure_m: float = 4.0) -> Path:
    """Millimetres: the ground from 8 m at the top to 3 m at the bottom; figures at one distance, leaning by 1 mm a row."""
    folder.mkdir(parents=True)
    for photo in photos:
        width, height = photo.size
        depth = np.repeat(np.linspace(8000, 3000, height)[:, None], width, axis=1)
        rows = np.arange(height)[:, None]
        for figure in photo.figures:
            depth = np.where(draw_mask(figure, photo.size), 1000 * figure_m + (height / 2 - rows), depth)
        depth[:5] = 0
        Image.fromarray(depth.astype(np.uint16)).save(folder / f"{Path(photo.name).stem}.png")
    return folder


def test_sizes_in_metres_relief_and_cameras(params, tmp_path, capsys):
    photos = [Photo("a.jpg", (Figure("person", make_star(160, 120, 80)),)), *(Photo(f"room{i}.jpg") for i in range(4))]
    data = write_coco(tmp_path / "coco", photos)
    depth = write_depth(tmp_path / "depth", photos)
    (depth / "room3.png").unlink()
    options = ("--depth", depth, "--depth-format", DEPTH_FORMAT, "--field-of-view-deg", "60", "--camera-height-m", "1.5")
    record = run(tmp_path / "out", *coco(data), *options, "--camera-pitch-deg", "-10")
    printed = capsys.readouterr().out
    pack = json.loads((tmp_path / "out/pack.json").read_text())
    focal = 160 / np.tan(np.radians(30))
    one = pack["cutouts"]["a__01"]
    assert one["depth_m"] == pytest.approx(4.0, abs=0.01)
    assert one["pixels_per_m"] == pytest.approx(focal / 4, rel=0.01)
    rows = np.flatnonzero(draw_mask(photos[0].figures[0]).any(axis=1))
    assert one["height_m"] == pytest.approx(len(rows) / (focal / 4), rel=0.03)
    assert pack["backgrounds"]["room0"] == {
        "focal_px": round(focal, 5), "camera_height_m": 1.5, "camera_pitch_rad": -0.17453, "picture": "room0.jpg",
        "licence": "CC BY 4.0 (https://creativecommons.org/licenses/by/4.0/)",
    }  # fmt: skip
    assert (tmp_path / "out/bg_depth/room0.png").read_bytes() == (depth / "room0.png").read_bytes()
    assert [p["no_background"] for p in record["pictures"] if p["picture"] == "room3.jpg"] == ["no depth map"]
    lines = parse_yaml(printed.partition("write into params.yaml:\n")[2], "printed")
    download = make_download(params, "assets", tmp_path / "out", {"depth": lines["download"]["depth"]})
    source = AssetsSource(tmp_path / "out", download)
    assert len(list(source.check())) == 4
    cutout, background = source.read_cutout("a__01"), source.read_background("room0")
    assert cutout.units_per_px == pytest.approx(4 / focal, rel=0.01)
    assert background.camera is not None and background.camera.height_m == 1.5
    inside = cutout.rgba[..., 3] == 255
    top, foot = np.flatnonzero(inside.any(axis=1))[[0, -1]]
    lean = cutout.relief[top + 5][inside[top + 5]].mean() - cutout.relief[foot - 5][inside[foot - 5]].mean()
    assert lean == pytest.approx((foot - top - 10) / 1000, abs=0.02)  # the head is farther, by a millimetre a row
    assert abs(cutout.relief[foot - 2][inside[foot - 2]].mean()) <= 0.02


def test_depth_that_is_missing_or_does_not_fit_costs_the_size_alone(tmp_path):
    photos = [Photo(f"{name}.jpg", (Figure("person", make_star(160, 120, 80)),)) for name in ("small", "none", "unknown", "good")]
    data = write_coco(tmp_path / "coco", photos)
    depth = write_depth(tmp_path / "depth", photos)
    (depth / "none.png").unlink()
    Image.fromarray(np.full((10, 10), 3000, np.uint16)).save(depth / "small.png")
    values = np.array(Image.open(depth / "unknown.png"))
    values[:, 100:] = 0
    Image.fromarray(values).save(depth / "unknown.png")
    options = ("--depth", depth, "--depth-format", DEPTH_FORMAT, "--focal-px", "300", "--backgrounds", "none")
    record = run(tmp_path / "out", *coco(data), *options)
    sizes = {k["name"]: k["height_m"] for p in record["pictures"] for k in p["kept"]}
    assert [name for name, size in sizes.items() if size is not None] == ["good__01"] and len(sizes) == 4
    (fault,) = [p["depth_fault"] for p in record["pictures"] if "depth_fault" in p]
    assert fault == f"{depth / 'small.png'}: 10 x 10 px, the picture {WIDTH} x {HEIGHT}"
    assert (np.array(Image.open(tmp_path / "out/fg_depth/unknown__01.png")) == 128).all()  # flat
    assert sorted(path.name for path in (tmp_path / "out/fg_depth").iterdir()) == sorted(f"{name}.png" for name in sizes)


def test_depth_maps_that_the_user_has_added_are_neither_removed_nor_taken_for_own_ones(tmp_path, capsys):
    photos = [Photo("a.jpg", (Figure("person", make_star(160, 120, 80)),)), Photo("room.jpg")]
    data = write_coco(tmp_path / "coco", photos)
    out = tmp_path / "out"
    run(out, *coco(data))
    depth = write_depth(out / "bg_depth", [*photos, Photo("of another photo.jpg")])
    added = {path.name: path.read_bytes() for path in depth.iterdir()}
    run(out, *coco(data))
    run(out, *coco(data), "--feather", "3", "--replace")
    assert {path.name: path.read_bytes() for path in depth.iterdir()} == added
    options = ("--depth", depth, "--depth-format", DEPTH_FORMAT, "--focal-px", "300", "--replace")
    assert fail(capsys, *coco(data), "--out", out, *options).endswith(
        "contains bg_depth, which this command did not write; name another folder"
    )
    own = tmp_path / "own"
    run(own, *coco(data), *options)
    assert [path.name for path in (own / "bg_depth").iterdir()] == ["room.png"]
    run(own, *coco(data), "--replace")
    assert list((own / "bg_depth").iterdir()) == [] == list((own / "fg_depth").iterdir())


def test_the_field_of_view_is_that_of_the_longer_side():
    optics = Optics(field_of_view_deg=90)
    assert optics.find_focal_px(240, 320) == optics.find_focal_px(320, 240) == pytest.approx(160)
    assert Optics(focal_px=70).find_focal_px(240, 320) == 70 and Optics().find_focal_px(240, 320) is None
