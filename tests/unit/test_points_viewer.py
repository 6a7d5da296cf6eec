"""Points as the viewer's page has them."""

from __future__ import annotations

import base64
import html
import re
from dataclasses import replace

import numpy as np
import pytest
from making_points import SIDE_PX, make_scene

from depthmask.point_clouds.points import make_points
from depthmask.point_clouds.viewer import STEPS, encode_points, hash_script, make_figure, read_script, render_frame, render_page


def decode(data: str, settings: dict) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Positions, colours and foreground, as the script reads them."""
    data, num = base64.b64decode(data), settings["num"]
    low, high = np.array(settings["low"]), np.array(settings["high"])
    places = np.frombuffer(data, "<u2", 3 * num).reshape(num, 3) / STEPS * (high - low) + low
    return places, np.frombuffer(data, np.uint8, 3 * num, 6 * num).reshape(num, 3), np.frombuffer(data, np.uint8, num, 9 * num)


def test_encoded_points_are_the_points():
    points = make_scene()
    data, settings = encode_points(points)
    positions, colours, foreground = decode(data, settings)
    assert settings["num"] == len(points) and settings["unit"] == "m"
    # half a step of the largest extent, and the rounding of its ends
    assert np.abs(positions - points.positions).max() <= np.ptp(points.positions, axis=0).max() / STEPS / 2 + 1e-6
    assert (colours == points.colours).all() and (foreground == points.is_foreground).all() and 0 < foreground.sum() < len(points)


@pytest.mark.parametrize("most", [1, 7, 500])
def test_of_many_points_some_are_shown_spread_over_all(most):
    points = make_scene()
    data, settings = encode_points(points, most)
    positions, _, _ = decode(data, settings)
    assert most / 2 < settings["num"] <= most
    assert settings["spacing"] > points.spacing_rad  # fewer, so larger
    if most == 500:
        assert (
            positions[:, 1].min() < 0.8 * points.positions[:, 1].min()
            and positions[:, 1].max() > 0.8 * points.positions[:, 1].max()
        )


@pytest.mark.parametrize("width", [60, 61, 62, 64])
def test_shown_points_leave_no_stripes_whatever_the_width_of_the_photo(width):
    wall = np.full((80, width), 2.0, np.float32)
    image = np.zeros((*wall.shape, 3), np.uint8)
    points = make_points(image, wall, wall, unit="metre", depth_max=20.0)
    positions, _, _ = decode(*encode_points(points, len(points) // 6))
    assert len(positions) == len(points) // 6
    columns = np.rint(positions[:, 0] / 2 / points.spacing_rad + width / 2 - 0.5).astype(int)
    rows = np.rint(-positions[:, 1] / 2 / points.spacing_rad + 40 - 0.5).astype(int)
    shown = np.zeros(wall.shape, bool)
    shown[rows, columns] = True
    assert shown.sum() == len(positions)
    for top, left in np.ndindex(80 - 4, width - 4):
        assert shown[top : top + 5, left : left + 5].any(), "of 25 pixels side by side, about 4 are shown"


def test_no_points_at_all_are_an_empty_view():
    nothing = make_scene()._take(np.zeros(len(make_scene()), bool))
    data, settings = encode_points(nothing)
    assert data == "" and settings["num"] == 0
    assert "<select>" not in make_figure(nothing, "nothing")


def test_a_single_point_is_where_it_is():
    points = make_scene()
    one = points._take(np.arange(len(points)) == 5)
    positions, _, _ = decode(*encode_points(one))
    assert np.abs(positions - one.positions).max() < 1e-5


def test_depth_without_a_unit_is_not_called_metres():
    assert encode_points(make_scene("relative"))[1]["unit"] == ""


def test_page_loads_nothing_and_runs_only_its_own_script():
    page = render_page(make_scene(), "</title><script>alert(1)</script>")
    assert page.count("<script") == 1 and "alert(1)&lt;/script" in page
    assert not re.search(r"https?:|\bsrc=|url\(|@import|<link|fetch\(|import\(", page)
    assert f"script-src '{hash_script(read_script())}'" in page and "default-src 'none'" in page
    assert page.split("<script>")[1].split("</script>")[0] == read_script()  # or the hash is not that of what is in the page


def test_frame_holds_the_page_in_any_encoding():
    points = make_scene()
    frame = render_frame(points, 'a "b" – c', 300)
    assert frame.isascii() and "height: 300px" in frame and 'sandbox="allow-scripts"' in frame
    inside = re.search(r'srcdoc="([^"]*)"', frame).group(1)
    assert html.unescape(inside) == render_page(points, 'a "b" – c')


def test_equal_points_give_an_equal_page():
    assert (
        render_page(make_scene(), "x")
        == render_page(make_scene(), "x")
        != render_page(replace(make_scene(), unit="relative"), "x")
    )


def test_a_page_of_a_photo_is_small():
    points = make_scene()
    many = replace(points, **{name: np.repeat(getattr(points, name), 100, axis=0) for name in ("positions", "colours", "mask")})
    assert len(many) > 50 * SIDE_PX**2
    assert len(render_page(many, "x")) < 1_000_000
