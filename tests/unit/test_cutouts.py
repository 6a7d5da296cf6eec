"""Cut-outs are trimmed to their figure, so that foot and size are those of what is visible."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from depthmask.base.errors import UserError
from depthmask.data.cutouts import Box, find_figure, trim_cutout
from depthmask.data.images import read_rgba
from depthmask.sources.assets import AssetsSource

DEMO = Path(__file__).parents[2] / "data/demo"
CANVAS = (180, 240)
FIGURE = Box(top=23, left=60, bottom=84, right=95)


def draw(box: Box = FIGURE, canvas: tuple[int, int] = CANVAS, haze: int = 0) -> np.ndarray:
    """An opaque box with a soft edge of 1 px on a canvas of haze, RGBA."""
    rgba = np.full((*canvas, 4), 90, np.uint8)
    rgba[..., 3] = haze
    rgba[box.top - 1 : box.bottom + 1, box.left - 1 : box.right + 1, 3] = 100
    rgba[box.part] = 255
    return rgba


def test_a_whole_canvas_is_trimmed_to_the_figure_and_a_pixel_around_it():
    rgba = draw()
    trimmed = trim_cutout(rgba, Path("a.png"))
    assert trimmed.figure == Box(left=59, top=22, right=96, bottom=85)  # with its soft edge
    assert trimmed.box == Box(left=58, top=21, right=97, bottom=86)
    np.testing.assert_array_equal(trimmed.rgba, rgba[21:86, 58:97])
    assert not trimmed.is_rectangle


@pytest.mark.parametrize("haze", [0, 3, 8, 20, 31])
def test_haze_and_specks_do_not_move_the_foot(haze):
    rgba = draw(haze=haze)
    rgba[178, 3, 3] = 255  # left by a matting tool
    rgba[2:4, 230:232, 3] = 60
    trimmed = trim_cutout(rgba, Path("a.png"))
    assert trimmed.figure == Box(left=59, top=22, right=96, bottom=85)
    assert 0 < trimmed.box.bottom - trimmed.figure.bottom <= 3


def test_a_second_part_of_the_figure_counts():
    rgba = draw()
    rgba[120:128, 150:158, 3] = 255  # a ball, 1/30 of the figure
    assert find_figure(rgba[..., 3]) == Box(left=59, top=22, right=158, bottom=128)


def test_soft_hair_beside_the_figure_is_kept():
    rgba = draw(Box(left=20, top=20, right=120, bottom=160))
    rgba[18, 20:120, 3] = 20
    trimmed = trim_cutout(rgba, Path("a.png"))
    assert trimmed.figure.top == 19
    assert trimmed.box.top == 17


def test_tight_cutouts_of_the_demo_pack_keep_every_byte():
    files = sorted((DEMO / "fg").iterdir())
    assert len(files) == 96
    for file in files:
        rgba = read_rgba(file)
        np.testing.assert_array_equal(trim_cutout(rgba, file).rgba, rgba)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda rgba: rgba[..., 3].fill(0), "nearly empty cut-out: alpha is 128 of 255 or above in only 0 px"),
        (lambda rgba: rgba[24:, :, 3].fill(0), None),
        (lambda rgba: rgba[..., 3].fill(252), "opaque everywhere"),
    ],
)
def test_cutouts_without_a_figure_or_an_outline_are_refused(change, expected):
    rgba = draw()
    change(rgba)
    if expected is None:
        assert trim_cutout(rgba, Path("a.png")).figure.height == 2
        return
    with pytest.raises(UserError, match=rf"^a\.png: .*{expected}"):
        trim_cutout(rgba, Path("a.png"))


def test_fewer_than_sixteen_solid_pixels_are_no_figure():
    rgba = np.zeros((50, 50, 4), np.uint8)
    rgba[10:13, 10:15, 3] = 255
    with pytest.raises(UserError, match=r"in only 15 px, at least 16 are needed"):
        trim_cutout(rgba, Path("a.png"))
    rgba[13, 10, 3] = 255
    assert trim_cutout(rgba, Path("a.png")).figure == Box(left=10, top=10, right=15, bottom=14)


def test_photos_and_inverted_alpha_are_told_apart_from_cutouts():
    photo = draw()
    photo[..., 3] = 0
    photo[30:150, 40:200] = 255  # a photo pasted onto an empty canvas
    assert trim_cutout(photo, Path("a.png")).is_rectangle
    inverted = draw()
    inverted[..., 3] = 255 - inverted[..., 3]
    assert trim_cutout(inverted, Path("a.png")).is_hollow
    assert not trim_cutout(draw(), Path("a.png")).is_hollow


def write_assets(folder: Path, rgba: np.ndarray, relief: np.ndarray | None = None, spec: dict | None = None) -> AssetsSource:
    for name in ("bg", "bg_depth", "fg", "fg_depth"):
        (folder / name).mkdir(parents=True)
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 255, (48, 48, 3), np.uint8)).save(folder / "bg/room.png")
    Image.fromarray(np.linspace(6000, 2000, 48 * 48).reshape(48, 48).astype(np.uint16)).save(folder / "bg_depth/room.png")
    Image.fromarray(rgba).save(folder / "fg/thing.png")
    if relief is None:
        (folder / "fg_depth").rmdir()
    else:
        Image.fromarray(relief).save(folder / "fg_depth/thing.png")
    if spec is not None:
        (folder / "pack.json").write_text(json.dumps({"cutouts": {"thing": spec}}))
    return folder


@pytest.fixture
def open_assets(params):
    return lambda folder: AssetsSource(folder, params.download.model_copy(update={"source": "assets", "path": str(folder)}))


def test_relief_is_trimmed_with_its_cutout(tmp_path, open_assets):
    relief = np.arange(CANVAS[0] * CANVAS[1], dtype=np.uint32).reshape(CANVAS) % 256
    source = open_assets(write_assets(tmp_path / "set", draw(), relief.astype(np.uint8)))
    cutout = source.read_cutout("thing")
    assert cutout.rgba.shape[:2] == cutout.relief.shape == (65, 39)
    np.testing.assert_allclose(cutout.relief, (relief[21:86, 58:97].astype(np.float32) - 128) / 100)


def test_size_is_that_of_the_figure_not_of_the_canvas(tmp_path, open_assets):
    by_height = open_assets(write_assets(tmp_path / "one", draw(), spec={"height_m": 1.26}))
    assert by_height.read_cutout("thing").units_per_px == pytest.approx(1.26 / 63)
    by_scale = open_assets(write_assets(tmp_path / "two", draw(), spec={"height_m": 9.0, "pixels_per_m": 50.0}))
    assert by_scale.read_cutout("thing").units_per_px == pytest.approx(1 / 50)


def test_a_16_bit_relief_is_refused(tmp_path, open_assets):
    relief = np.full(CANVAS, 1280, np.uint16)
    source = open_assets(write_assets(tmp_path / "set", draw(), relief))
    with pytest.raises(UserError, match=r"thing\.png: relief with values up to 1280; expected 8 bits"):
        source.read_cutout("thing")


def test_trimmed_cutouts_are_composed_as_tight_ones(tmp_path, open_assets, params):
    from depthmask.compose.composer import Composer
    from depthmask.data.batch import ByteBatch

    tight = np.ascontiguousarray(draw()[FIGURE.top - 2 : FIGURE.bottom + 2, FIGURE.left - 2 : FIGURE.right + 2])
    batches = []
    for name, rgba in (("tight", tight), ("canvas", draw(haze=5))):
        source = open_assets(write_assets(tmp_path / name, rgba))
        batch = ByteBatch.allocate(4, 48, 48, with_background=False)
        Composer(source, ["room"], ["thing"], 48, params.compose, seed=3).fill(batch, [0] * 4, [0, 1, 2, 3])
        batches.append(batch)
    inside = [batch.mask >= 128 for batch in batches]
    np.testing.assert_array_equal(*inside)
    np.testing.assert_allclose(batches[0].depth, batches[1].depth)
    assert inside[0].mean() > 0.05


def test_an_edge_stays_soft_where_a_trimmed_cutout_is_enlarged():
    """Why a pixel around the figure is kept: without it, an enlarged figure ends at full alpha along its box."""
    trimmed = trim_cutout(draw(), Path("a.png"))
    drawn = cv2.resize(trimmed.rgba[..., 3], None, fx=3, fy=3, interpolation=cv2.INTER_LINEAR)
    assert max(drawn[0].max(), drawn[-1].max(), drawn[:, 0].max(), drawn[:, -1].max()) == 0
