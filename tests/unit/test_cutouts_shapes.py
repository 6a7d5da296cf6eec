"""Outlines of annotations as masks: by hand, by Pillow, and by COCO's own encoding written the other way round."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from making_annotations import Figure, draw_mask, encode_png, make_star

from depthmask.cutouts.objects import Drawn, DrawnObjects, View, draw_union
from depthmask.cutouts.shapes import (
    ColumnRuns,
    Ellipse,
    PngPatch,
    Polygon,
    RowRuns,
    expand_runs,
    make_rectangle,
    parse_compressed,
    paste,
)

VIEW = View(np.zeros((6, 8, 3), np.uint8), 8, 6)


def encode_runs(mask: np.ndarray) -> list[int]:
    """COCO's run lengths of a mask, column by column, from outside."""
    flat = mask.T.ravel().astype(int)
    changes = np.flatnonzero(np.diff(flat)) + 1
    ends = [0, *changes.tolist(), len(flat)]
    counts = [end - start for start, end in itertools.pairwise(ends)]
    return counts if flat[0] == 0 else [0, *counts]


def compress(counts: list[int]) -> str:
    """As rleToString of COCO's maskApi.c."""
    text = ""
    for number, count in enumerate(counts):
        x = count - counts[number - 2] if number > 2 else count
        more = True
        while more:
            c = x & 0x1F
            x >>= 5
            more = x != -1 if c & 0x10 else x != 0
            text += chr((c | 0x20 if more else c) + 48)
    return text


def test_a_pixel_is_inside_if_its_centre_is():
    mask = Polygon(((1.4, 1.0), (4.6, 1.0), (4.6, 3.5), (1.4, 3.5))).draw(6, 8)
    expected = np.zeros((6, 8), bool)
    expected[1:3, 1:5] = True  # centres at 1.5 to 4.5 and 1.5 to 2.5; 3.5 is on the edge, which belongs to the next
    np.testing.assert_array_equal(mask, expected)


def test_a_triangle_by_hand():
    mask = Polygon(((0, 0), (4, 0), (0, 4))).draw(4, 4)
    np.testing.assert_array_equal(mask.astype(int), [[1, 1, 1, 0], [1, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]])


@pytest.mark.parametrize("centre", [(160, 120), (5, 7), (315, 236.5)])
def test_a_star_is_as_pillow_draws_it_but_for_its_edge(centre):
    figure = Figure("person", make_star(*centre, 60))
    ours, theirs = Polygon(figure.points).draw(240, 320), draw_mask(figure)
    assert ours.sum() > 1000
    assert not (ours & ~theirs).sum() > 20  # Pillow's is larger by the pixels that the outline touches
    perimeter = sum(math.dist(a, b) for a, b in zip(figure.points, figure.points[1:] + figure.points[:1]))
    assert (ours ^ theirs).sum() < perimeter


def test_neighbours_share_no_pixel_and_leave_none_out():
    left = Polygon(((0, 0), (3.5, 0), (5.5, 6), (0, 6))).draw(6, 8)
    right = Polygon(((3.5, 0), (8, 0), (8, 6), (5.5, 6))).draw(6, 8)
    assert (left ^ right).all()


@pytest.mark.parametrize(
    ("points", "reason"),
    [
        (((1, 1), (2, 2), (1, 1)), "2 different points"),
        (((1, 1), (2, 2), (3, 3)), "without area"),
        (((1.1, 1.1), (1.2, 1.1), (1.2, 1.2)), "without area"),
    ],
)
def test_degenerate_polygons_are_named(points, reason):
    with pytest.raises(ValueError, match=reason):
        Polygon(points).draw(6, 8)


def test_a_polygon_beside_the_picture_is_just_not_in_it():
    assert not Polygon(((20, 0), (30, 0), (30, 5))).draw(6, 8).any()


def test_circles_and_ellipses():
    area = Ellipse(100, 80, 40, 20, 30).draw(200, 200).sum()
    assert area == pytest.approx(math.pi * 40 * 20, rel=0.01)
    turned = Ellipse(100, 80, 40, 20, 90).draw(200, 200)
    assert turned[:, 100].sum() == 80 and turned[80].sum() == 40
    with pytest.raises(ValueError, match="radius 0"):
        Ellipse(1, 1, 0, 5).draw(6, 8)


def test_corners_of_a_rectangle_may_come_in_any_order():
    one, other = (make_rectangle(points).draw(6, 8) for points in (((1, 2), (4, 5)), ((4, 2), (1, 5))))
    assert one.sum() == 9
    np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("seed", range(5))
def test_run_lengths_give_the_mask_back(seed):
    random = np.random.default_rng(seed)
    mask = random.random((23, 31)) < (0.02, 0.5, 0.98, 1.0, 0.0)[seed]
    counts = encode_runs(mask)
    for given in (tuple(counts), compress(counts)):
        np.testing.assert_array_equal(ColumnRuns(23, 31, given).draw(23, 31), mask)


def test_compressed_run_lengths_by_hand():
    # 6, 1, 40, then 4 - 1 = 3, 5 - 40 = -35, 4 - 4 = 0: one digit each but for 40 (8 + 32, 1) and -35 (29 + 32, -2)
    assert compress([6, 1, 40, 4, 5, 4]) == "61X13mN0"
    assert parse_compressed("61X13mN0") == [6, 1, 40, 4, 5, 4]


@pytest.mark.parametrize("text", ["6\n1", "~", "6é", "X", "o" * 200])
def test_compressed_run_lengths_that_are_none(text):
    with pytest.raises(ValueError, match="compressed run lengths"):
        parse_compressed(text)


def test_run_lengths_that_do_not_fit_the_picture():
    with pytest.raises(ValueError, match=r"31 x 23 px in a picture of 8 x 6"):
        ColumnRuns(23, 31, (713,)).draw(6, 8)
    for counts in ((47,), (49,), (50, -2), (10**12,)):
        with pytest.raises(ValueError, match="add up to"):
            ColumnRuns(6, 8, counts).draw(6, 8)


def test_runs_of_a_box_are_along_its_rows():
    mask = RowRuns(2, 1, 3, 2, (1, 2, 2, 1)).draw(6, 8)
    assert np.argwhere(mask).tolist() == [[1, 3], [1, 4], [2, 4]]
    np.testing.assert_array_equal(expand_runs((0, 2, 1), 3), [True, True, False])


def test_a_pasted_mask_is_cut_at_the_frame():
    patch = np.ones((3, 3), bool)
    assert np.argwhere(paste(patch, -2, -1, 6, 8)).tolist() == [[0, 0], [1, 0]]
    assert np.argwhere(paste(patch, 7, 5, 6, 8)).tolist() == [[5, 7]]
    assert not paste(patch, 9, 9, 6, 8).any() and not paste(patch, -9, 0, 6, 8).any()


def test_a_mask_in_base64():
    patch = np.array([[True, False], [True, True]])
    assert np.argwhere(PngPatch(3, 2, encode_png(patch)).draw(6, 8)).tolist() == [[2, 3], [3, 3], [3, 4]]
    for text in ("?", "aGVsbG8=", encode_png(np.ones((60, 60), bool))):
        with pytest.raises(ValueError, match=r"a mask (that is not a PNG|of 60 x 60 px)"):
            PngPatch(0, 0, text).draw(6, 8)


def test_a_higher_object_hides_a_lower_one():
    low = Drawn("low", "person", (make_rectangle(((0, 0), (4, 4))),), z_order=0)
    high = Drawn("high", "dog", (make_rectangle(((2, 2), (6, 6))),), z_order=1)
    found = {one.place: one.alpha for one in DrawnObjects((low, high)).find(VIEW, lambda _: True)}
    assert (found["low"] == 255).sum() == 16 - 4 and (found["high"] == 255).sum() == 16
    level = [Drawn(one.place, one.kind, one.shapes) for one in (low, high)]
    assert [(one.alpha == 255).sum() for one in DrawnObjects(tuple(level)).find(VIEW, lambda _: True)] == [16, 16]


def test_slivers_without_a_pixel_do_not_cost_the_rest_of_an_object():
    square, sliver = make_rectangle([(2, 2), (6, 6)]), Polygon(((1.0, 1.0), (1.2, 1.0), (1.2, 3.0)))
    view = View(np.zeros((10, 10, 3), np.uint8), 10, 10)
    drawn = draw_union((sliver, square, sliver), view)
    np.testing.assert_array_equal(drawn, square.draw(10, 10))
    with pytest.raises(ValueError, match="a polygon without area"):
        draw_union((sliver, sliver), view)
