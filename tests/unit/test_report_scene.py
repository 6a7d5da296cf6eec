"""The report's 3D scene: what it is made of, and what is said where a part of it is missing."""

from __future__ import annotations

import base64
import hashlib
import json

import numpy as np
import pytest
from making_reports import Page, build, make_reports, write_run
from PIL import Image

from depthmask.base.errors import UserError
from depthmask.base.files import read_json, write_json
from depthmask.evaluation.shown_samples import RAW_MAX
from depthmask.point_clouds import viewer
from depthmask.reporting.inputs import read_inputs
from depthmask.reporting.scene import make_scene

SIDE_PX = 24


@pytest.fixture
def folders(tmp_path):
    """Reports and split; the scene is the first sample, at 3 to 9 m of 20 in metres, seen by a camera of 60 degrees."""
    reports, split = make_reports(tmp_path)
    run = read_json(reports / "evaluate/run.json")
    params = run["params"] | {"compose": {"field_of_view_deg": 60.0}}
    write_run(reports, "evaluate", 3, params=params, extra={"source": {"depth_unit": "metre", "depth_max": 20.0}})
    return reports, split


def find_figure(html: str) -> tuple[dict, int]:
    """The settings of the page's points, and how many of them are foreground."""
    (figure,) = [attributes for attributes in Page(html).find("figure") if attributes.get("class") == "points"]
    settings = json.loads(figure["data-settings"])
    return settings, sum(base64.b64decode(figure["data-points"])[9 * settings["num"] :])


def test_scene_has_the_depth_the_colours_and_the_mask_of_its_sample(folders):
    reports, _ = folders
    html = build(*folders)
    settings, num_foreground = find_figure(html)
    mask = np.array(Image.open(reports / "samples/000000_mask_prediction.png").convert("L"))
    depth = np.array(Image.open(reports / "samples/scene.png")) / RAW_MAX * 20
    assert settings["num"] == mask.size and num_foreground == (mask >= 127.5).sum()
    assert settings["unit"] == "m" and settings["low"][2] == pytest.approx(-depth.max(), abs=1e-3)
    assert settings["high"][2] == pytest.approx(-depth.min(), abs=1e-3)
    assert "rex in room000000" in Page(html).text and "a field of view of 60°" in Page(html).text
    assert "assumed" not in Page(html).text


def test_page_allows_the_script_of_the_points_and_no_other(folders):
    html = build(*folders)
    begin = html.index(">", html.index("<script data-page")) + 1
    script = html[begin : html.index("</script>", begin)]
    allowed = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert viewer.read_script() in script and f"script-src 'sha256-{allowed}' 'nonce-" in html


def test_unknown_camera_and_unit_are_said(tmp_path):
    text = Page(build(*make_reports(tmp_path))).text
    assert "a field of view of 53° (assumed: that of the images is not known)" in text and "predicts, which has no unit" in text


def test_params_for_other_sources_do_not_say_the_camera_of_photos(folders):
    reports, split = folders
    params = read_json(reports / "evaluate/run.json")["params"]
    source = {"name": "image_mask_depth", "depth_unit": "metre", "depth_max": 20.0}
    write_run(reports, "evaluate", 3, params=params, extra={"source": source})
    assert "a field of view of 53° (assumed: that of the images is not known)" in Page(build(reports, split)).text


def test_results_without_a_scene_have_no_section_and_no_script_for_one(folders):
    reports, split = folders
    path = reports / "samples/index.json"
    write_json(path, {key: value for key, value in read_json(path).items() if key != "scene"})
    html = build(reports, split)
    assert 'id="scene"' not in html and "points-view" not in html and "#scene" not in html


def test_depth_that_nothing_was_learnt_from_is_not_shown_as_points(folders):
    reports, split = folders
    metrics = read_json(reports / "metrics.json")
    metrics["test"]["num_images_with_depth"] = 0
    write_json(reports / "metrics.json", metrics)
    assert make_scene(read_inputs(reports, split), reports) is None


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "scene.png").unlink(), r"scene\.png: no such file; run evaluate again"),
        (lambda folder: (folder / "scene.png").write_bytes(b"x"), r"scene\.png: cannot be read as an image"),
        (
            lambda folder: Image.new("I;16", (SIDE_PX, SIDE_PX - 1)).save(folder / "scene.png"),
            r"scene\.png: differs in size from the images of its sample; run evaluate again",
        ),
        (
            lambda folder: write_json(folder / "index.json", read_json(folder / "index.json") | {"scene": {"sample": "000000"}}),
            r"index\.json: its scene lacks 'depth'; run evaluate again",
        ),
    ],
)
def test_a_damaged_scene_is_one_line(folders, damage, message):
    reports, split = folders
    damage(reports / "samples")
    with pytest.raises(UserError, match=message):
        make_scene(read_inputs(reports, split), reports)
