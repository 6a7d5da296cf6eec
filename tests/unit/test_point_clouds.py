"""Points of a photo: where they are, which are left out, and their files as another library reads them."""

from __future__ import annotations

import io
import json
import math
import struct
from pathlib import Path

import cv2
import numpy as np
import pytest
from making_points import FIGURE, FIGURE_M, SIDE_PX, WALL, WALL_M, make_scene
from PIL import Image

from depthmask.base.errors import UserError
from depthmask.base.files import read_json
from depthmask.point_clouds.camera import choose_camera, find_trained_angle
from depthmask.point_clouds.files import FORMATS, encode_glb, encode_ply
from depthmask.point_clouds.points import PointCloud, make_points

NEAR_PLANE_M = 0.05  # before the camera: the pack's depth was rendered from there
DEMO = Path(__file__).parents[2] / "data/demo"


def make_grey(depth: np.ndarray, mask: np.ndarray | None = None, **options) -> PointCloud:
    image = np.full((*depth.shape, 3), 128, np.uint8)
    mask = np.zeros_like(depth) if mask is None else mask
    return make_points(image, mask, depth, **({"unit": "metre", "depth_max": 100.0} | options))


def test_points_of_a_wall_are_where_the_camera_sees_them():
    """A wall 2 m away, seen by a camera of 90 degrees: 4 m wide, and as high as the photo's sides say."""
    points = make_grey(np.full((30, 60), 2.0, np.float32), field_of_view_deg=90)
    assert len(points) == 30 * 60 and points.positions.dtype == np.float32
    centre = 4 / 60 / 2  # of the outermost pixels, from the wall's edge
    assert points.positions.min(axis=0) == pytest.approx([-2 + centre, -1 + centre, -2], abs=1e-6)
    assert points.positions.max(axis=0) == pytest.approx([2 - centre, 1 - centre, -2], abs=1e-6)
    first = points.positions[0]
    assert first[0] < 0 < first[1], "the first pixel is at the top left"
    assert points.spacing_rad == pytest.approx(1 / 30)


def test_a_portrait_has_its_field_of_view_from_top_to_bottom():
    points = make_grey(np.full((60, 30), 2.0, np.float32), field_of_view_deg=90)
    assert np.ptp(points.positions, axis=0) == pytest.approx([2 - 4 / 60, 4 - 4 / 60, 0], abs=1e-6)


def test_every_point_has_the_colour_and_the_mask_of_its_pixel():
    points = make_scene()
    z = -points.positions[:, 2]
    assert (points.is_foreground == (z == FIGURE_M)).all() and set(np.unique(z)) == {FIGURE_M, WALL_M}
    assert (points.colours[points.is_foreground] == FIGURE).all() and (points.colours[~points.is_foreground] == WALL).all()
    figure, scene = points.take_foreground(), points.take_scene()
    assert len(figure) + len(scene) == len(points) and figure.is_foreground.all() and not scene.is_foreground.any()
    # the pixels on both sides of the edge are left out, and no others
    assert len(figure) == 18**2 and len(scene) == SIDE_PX**2 - 22**2


def test_of_a_large_photo_evenly_spaced_pixels_are_taken():
    depth = np.full((90, 200), 2.0, np.float32)
    few, all_of_them = (make_grey(depth, field_of_view_deg=90, side_max_px=side) for side in (50, 200))
    assert len(all_of_them) == 200 * 90 and len(few) == 50 * 23
    known = {tuple(place) for place in all_of_them.positions.tolist()}
    assert {tuple(place) for place in few.positions.tolist()} <= known
    assert few.spacing_rad == pytest.approx(4 * all_of_them.spacing_rad)
    assert abs(few.positions[:, 0].mean()) < 0.02, "not shifted to one side"


def test_unknown_and_farthest_depths_have_no_points():
    depth = np.full((20, 20), 5.0, np.float32)
    depth[:5], depth[15:] = 0, 20.0
    points = make_grey(depth, depth_max=20.0)
    assert set(np.unique(points.positions[:, 2])) == {-5.0}
    assert len(points) == 8 * 20  # one row beside each is an edge


@pytest.mark.parametrize("scale", [1, 3, 8])
def test_a_foreground_is_not_smeared_into_what_is_behind_it(scale):
    """A figure 2 m away before a wall at 4 m, in a map that was predicted small: enlarging it makes depths in between."""
    small = np.full((64, 64), WALL_M, np.float32)
    small[20:44, 20:44] = FIGURE_M
    small = cv2.blur(small, (2, 2))  # as a network's edges are
    side = 64 * scale
    depth = cv2.resize(small, (side, side), interpolation=cv2.INTER_LINEAR)
    mask = (depth < 3).astype(np.float32)
    smeared = make_grey(depth, mask, detail_px=side).positions[:, 2]
    z = make_grey(depth, mask, detail_px=64).positions[:, 2]

    def find_between(z: np.ndarray) -> np.ndarray:
        return (-z > 1.02 * FIGURE_M) & (-z < 0.98 * WALL_M)

    assert ((depth > 2.04) & (depth < 3.92)).sum() > 90 and not find_between(z).any()
    assert (-z < 2.1).sum() > 18**2 * scale**2 and (-z > 3.9).sum() > (64**2 - 32**2) * scale**2
    if scale == 8:
        assert find_between(smeared).any(), "nothing to be seen, unless the map's own size is taken into account"


def test_a_floor_is_no_edge():
    """All of a level floor from 1 to 14 m, 1.3 m below the camera, in a map of a network's size."""
    focal = 224 / 2 / math.tan(math.radians(53) / 2)
    rows = (np.arange(224) + 0.5 - 112) / focal
    depth = np.where(rows > 0, 1.3 / np.maximum(rows, 1e-6), 0)
    depth = np.repeat(np.where(depth < 14, depth, 0)[:, None], 224, axis=1).astype(np.float32)
    for detail_px in (None, 224):
        points = make_grey(depth, detail_px=detail_px)
        missing = (depth > 0).sum() - len(points)
        assert missing <= 2 * 224, "the far end, where what is beyond is not known"
        assert np.abs(points.positions[:, 1] + 1.3).max() < 1e-5 and points.positions[:, 2].min() < -12


@pytest.mark.parametrize("key", ["000", "007", "018", "051"])
def test_the_floor_of_a_rendered_room_is_as_far_below_as_its_camera_was_high(key):
    camera = read_json(DEMO / "pack.json")["backgrounds"][key]
    image = np.array(Image.open(DEMO / f"bg/{key}.jpg").convert("RGB"))
    depth = np.array(Image.open(DEMO / f"bg_depth/{key}.png")).astype(np.float32) / 1000 + NEAR_PLANE_M
    angle = math.degrees(2 * math.atan(112 / camera["focal_px"]))
    points = make_points(image, np.zeros_like(depth), depth, unit="metre", depth_max=20.0, field_of_view_deg=angle)
    pitch = camera["camera_pitch_rad"]
    height = points.positions[:, 1] * math.cos(pitch) - points.positions[:, 2] * math.sin(pitch)
    above = height + camera["camera_height_m"]
    assert (np.abs(above) < 0.001).mean() > 0.05, "floor within a millimetre"
    assert above.min() > -0.002, "nothing is below it"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"field_of_view_deg": 0}, "field_of_view_deg: 0; allowed: 1 to 170"),
        ({"field_of_view_deg": math.nan}, "field_of_view_deg: nan; allowed: 1 to 170"),
        ({"side_max_px": 0}, "side_max_px: 0; allowed: a whole number from 1"),
    ],
)
def test_impossible_numbers_are_refused(options, message):
    with pytest.raises(UserError, match=message):
        make_grey(np.ones((4, 4), np.float32), **options)


def test_metres_are_scaled_only_between_two_known_cameras():
    assert choose_camera(None, None, True) == (53.0, 1.0)
    assert choose_camera(None, 60.0, True) == (60.0, 1.0)
    assert choose_camera(70.0, None, True) == choose_camera(70.0, 53.0, False) == (70.0, 1.0)
    # twice the focal length: what looks as large is twice as far
    wide, narrow = 2 * math.degrees(math.atan(1)), 2 * math.degrees(math.atan(0.5))
    assert choose_camera(narrow, wide, True).depth_factor == pytest.approx(2)


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"compose": None},
        {"compose": {"field_of_view_deg": None}},
        {"compose": {"field_of_view_deg": "53"}},
        {"compose": {"field_of_view_deg": 1e9}},
        # photos with masks and depth have cameras of their own
        {"compose": {"field_of_view_deg": 53.0}, "download": {"source": "image_mask_depth"}},
    ],
)
def test_what_a_model_file_says_of_its_camera_is_not_trusted(params):
    assert find_trained_angle(params) is None


def test_a_model_file_says_its_camera():
    assert find_trained_angle({"compose": {"field_of_view_deg": 53}}) == 53.0
    assert find_trained_angle({"compose": {"field_of_view_deg": 53}, "download": {"source": "demo"}}) == 53.0


def test_ply_is_read_by_another_library():
    trimesh = pytest.importorskip("trimesh", reason="pip install trimesh")
    points, data = make_scene(), encode_ply(make_scene())
    read = trimesh.load(io.BytesIO(data), file_type="ply")
    assert (read.vertices == points.positions).all() and (read.colors[:, :3] == points.colours).all()
    header = data[: data.index(b"end_header")].decode()
    assert "comment unit: metre\n" in header and "comment field of view: 53 degrees" in header
    assert (read.metadata["_ply_raw"]["vertex"]["data"]["foreground"].ravel() == points.is_foreground).all()


def test_glb_is_read_by_another_library_foreground_and_scene_apart():
    trimesh = pytest.importorskip("trimesh", reason="pip install trimesh")
    points = make_scene("relative")
    scene = trimesh.load(io.BytesIO(encode_glb(points)), file_type="glb")
    assert set(scene.geometry) == {"foreground", "scene"}
    for name, part in (("foreground", points.take_foreground()), ("scene", points.take_scene())):
        read = scene.geometry[name]
        assert (read.vertices == part.positions).all()
        light = part.colours / 255
        light = np.where(light <= 0.04045, light / 12.92, ((light + 0.055) / 1.055) ** 2.4)  # what glTF says a colour is
        assert np.abs(read.colors[:, :3] / 255 - light).max() <= 1 / 255, "read in 256 steps"


def test_glb_says_what_its_numbers_are():
    data = encode_glb(make_scene("relative"))
    magic, version, length, json_length, kind = struct.unpack("<4sIII4s", data[:20])
    described = json.loads(data[20 : 20 + json_length])
    assert (magic, version, length, kind) == (b"glTF", 2, len(data), b"JSON") and length % 4 == json_length % 4 == 0
    assert described["asset"]["extras"] == {
        "unit": "relative",
        "axes": "x right, y up, camera at the origin, looks along -z",
        "field_of_view_deg": 53.0,
    }
    assert described["buffers"][0]["byteLength"] == len(data) - 20 - json_length - 8


@pytest.mark.parametrize("kind", FORMATS)
def test_no_points_at_all_are_a_file_all_the_same(kind):
    nothing = make_grey(np.zeros((4, 4), np.float32))
    data = FORMATS[kind](nothing)
    assert len(nothing) == 0 and (b"element vertex 0\n" in data if kind == "ply" else b"accessors" not in data)


def test_points_are_saved_by_the_name_of_their_file(tmp_path):
    points = make_scene()
    points.save(tmp_path / "a.ply")
    points.save(str(tmp_path / "b.GLB"))
    assert (tmp_path / "a.ply").read_bytes() == encode_ply(points) and (tmp_path / "b.GLB").read_bytes() == encode_glb(points)
    with pytest.raises(UserError, match=r"c\.obj: not a format for points; allowed: \.ply, \.glb"):
        points.save(tmp_path / "c.obj")
    assert {path.name for path in tmp_path.iterdir()} == {"a.ply", "b.GLB"}
