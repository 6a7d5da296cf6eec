"""benchmarks/scene_statistics.py: it finds the floor of scenes whose camera is known, and says nothing without one."""

from __future__ import annotations

import math

import numpy as np
import pytest
from importing_benchmarks import import_benchmark

from depthmask.base.files import read_json, write_json
from depthmask.sources import RECORD, open_source

SIZE, FOCAL_PX, WALL_M = 224, 180.0, 5.0


@pytest.fixture(scope="module")
def benchmark():
    with import_benchmark("scene_statistics") as module:
        yield module


def draw_room(pitch_deg: float, height_m: float) -> np.ndarray:
    """Depth of a floor that ends at a wall which faces the camera."""
    t = -(np.arange(SIZE) + 0.5 - SIZE / 2) / FOCAL_PX
    slope = math.sin(math.radians(pitch_deg)) + t * math.cos(math.radians(pitch_deg))
    floor = np.where(slope < 0, -height_m / np.minimum(slope, -1e-6), np.inf)
    return np.repeat(np.minimum(floor, WALL_M)[:, None], SIZE, axis=1).astype(np.float32)


@pytest.mark.parametrize(("pitch_deg", "height_m"), [(-30.0, 1.5), (-15.0, 1.0), (0.0, 1.4), (5.0, 1.4)])
def test_pitch_and_height_are_those_of_the_floor(benchmark, pitch_deg, height_m):
    found = benchmark.find_floor(draw_room(pitch_deg, height_m), np.ones((SIZE, SIZE), bool), FOCAL_PX)
    assert found == (pytest.approx(pitch_deg, abs=0.5), pytest.approx(height_m, abs=0.05))


def test_a_wall_alone_and_unknown_depth_have_no_floor(benchmark):
    everywhere = np.ones((SIZE, SIZE), bool)
    assert benchmark.find_floor(np.full((SIZE, SIZE), WALL_M, np.float32), everywhere, FOCAL_PX) is None
    assert benchmark.find_floor(draw_room(-15.0, 1.4), ~everywhere, FOCAL_PX) is None


def test_in_the_demo_pack_they_are_near_what_it_states(benchmark, raw, tmp_path, capsys):
    source = open_source(raw)
    errors = []
    for key in source.backgrounds:
        background = source.read_background(key)
        found = benchmark.measure(background, source.scale.max, None)
        assert 0 < found["brightness"] < 1 and 0 < found["median_depth_m"] <= found["far_depth_m"] <= source.scale.max
        camera = background.camera
        errors.append((found["pitch_deg"] - math.degrees(camera.pitch_rad), found["height_m"] - camera.height_m))
    pitch_error, height_error = np.median(np.abs(errors), axis=0)
    assert pitch_error < 0.4 and height_error < 0.06
    assert benchmark.main(["--raw", str(raw), "--json", str(tmp_path / "found.json")]) == 0
    lines = capsys.readouterr().out.splitlines()
    written = read_json(tmp_path / "found.json")
    assert len(lines) == 2 + len(benchmark.NAMES) == 2 + len(written)
    assert written["pitch_deg"]["backgrounds"] == len(source.backgrounds)
    assert all(values == sorted(values) for values in (one["percentiles"] for one in written.values()))
    assert f"{written['brightness']['percentiles'][2]:.2f}" in lines[4].split(" | ")[4]


def test_depth_without_a_unit_is_one_line(benchmark, raw, tmp_path, capsys):
    relative = tmp_path / "relative"
    relative.mkdir()
    for path in raw.iterdir():
        (relative / path.name).symlink_to(path)
    record = read_json(raw / RECORD)
    record["download"]["depth"] |= {"unit": "relative", "max": 1.0}
    (relative / RECORD).unlink()
    write_json(relative / RECORD, record)
    assert benchmark.main(["--raw", str(relative)]) == 1
    assert capsys.readouterr().err == f"error: {relative}: has no depth in metres, which most statistics are made of\n"


@pytest.mark.parametrize("angle", ["0", "180", "-5", "nan"])
def test_an_impossible_field_of_view_is_one_line(benchmark, raw, capsys, angle):
    assert benchmark.main(["--raw", str(raw), "--field-of-view-deg", angle]) == 1
    assert capsys.readouterr().err == f"error: --field-of-view-deg {angle}; allowed: above 0, below 180\n"
