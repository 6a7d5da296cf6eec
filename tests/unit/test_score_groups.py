"""Scores by what an image shows, from rows whose groups can be counted by hand."""

from __future__ import annotations

import math

import pytest

from depthmask.reporting.score_groups import (
    NUM_BINS,
    group_scores,
    make_histogram,
    make_score_histograms,
    name_place,
)


def make_row(number: int, **changes) -> dict[str, str]:
    row = {
        "kind": "person" if number % 2 else "",
        "mask_fraction": str(number / 100),
        "foreground_depth": str(number),
        "scene_far": "7",
        "foreground_x": "0.1",
        "foreground_y": "0.9",
        "mask_iou": str(number / 10),
        "mask_dice": "1.0",
        "depth_delta1": "",
        "depth_abs_rel": "",
    }
    return row | changes


ROWS = [make_row(number) for number in range(10)]


def test_groups_hold_every_picture_once_and_the_means_of_their_own():
    tables = dict(group_scores(ROWS, "m"))
    sizes = tables["Size of the foreground, fraction of the image"]
    assert [group.num_images for group in sizes] == [2] * 5
    assert [group.means[0] for group in sizes] == pytest.approx([0.05, 0.25, 0.45, 0.65, 0.85])
    assert [group.bars[0] for group in sizes] == pytest.approx([0.05 / 0.85, 0.25 / 0.85, 0.45 / 0.85, 0.65 / 0.85, 1])
    assert all(group.means[2] is None and group.bars[2] == 0 for group in sizes)
    assert tables["Depth of the foreground"][0].label == "0 to 1.8\N{NO-BREAK SPACE}m"
    kinds = tables["Kind of cut-out"]
    assert [(group.label, group.num_images) for group in kinds] == [("person", 5)]  # rows without a kind are left out


def test_equal_values_are_one_group():
    assert [(g.label, g.num_images) for g in dict(group_scores(ROWS, "m"))["Depth of the scene, its 95th percentile"]] == [
        ("7\N{NO-BREAK SPACE}m", 10)
    ]


def test_a_table_without_any_value_is_omitted():
    rows = [make_row(number, foreground_depth="", foreground_x="", kind="") for number in range(3)]
    titles = [title for title, _ in group_scores(rows, "")]
    assert titles == ["Size of the foreground, fraction of the image", "Depth of the scene, its 95th percentile"]


@pytest.mark.parametrize(
    ("x", "y", "name"),
    [("0", "0", "upper left"), ("0.5", "0.5", "middle centre"), ("1.0", "0.99", "lower right"), ("", "", None)],
)
def test_places(x, y, name):
    assert name_place({"foreground_x": x, "foreground_y": y}) == name


def test_histograms_count_what_is_known():
    histogram = make_histogram([0.0, 0.05, 0.5, 1.0, math.nan], 0.0, 1.0)
    assert sum(histogram.counts) == 4 and len(histogram.counts) == NUM_BINS == len(histogram.edges) - 1
    assert histogram.median == pytest.approx(0.275)
    assert make_histogram([math.nan]).counts == []
    assert sum(make_histogram([3.0, 3.0]).counts) == 2
    assert [label for label, _ in make_score_histograms(ROWS)] == ["mask IoU", "mask Dice"]
