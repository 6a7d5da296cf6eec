"""Unknown depth in files of lossy compression: what ringing makes of it is not measured."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, features

from depthmask.data.images import decode_depth
from depthmask.data.lossy import is_lossy, read_stored_depth, spread_unknown

SIZE = (96, 128)


def draw_depth() -> tuple[np.ndarray, np.ndarray]:
    """A ramp of depth with three holes of 0, and where the holes are."""
    depth = np.tile(np.linspace(200, 90, SIZE[0]).round().astype(np.uint8)[:, None], (1, SIZE[1]))
    holes = np.zeros(SIZE, bool)
    holes[:, :13], holes[40:57, 60:91], holes[10:14, 30:34] = True, True, True
    return np.where(holes, 0, depth), holes


@pytest.mark.parametrize("quality", [50, 75, 90])
def test_no_pixel_of_a_hole_is_measured_after_jpeg(tmp_path, params, quality):
    drawn, holes = draw_depth()
    Image.fromarray(drawn).save(tmp_path / "a.jpg", quality=quality)
    scale = params.download.depth.model_copy(update={"raw_max": 255, "max": 10.0, "raw_unknown": 0})
    raw, num_band_px = read_stored_depth(tmp_path / "a.jpg", scale)
    depth, valid = decode_depth(raw, scale)
    assert not valid[holes].any()
    assert np.abs(depth[valid] * 255 - drawn[valid]).max() <= 5  # what JPEG does far from any hole
    assert num_band_px > 0
    far = np.ones(SIZE, bool)
    far[:, :21], far[32:65, 52:99], far[2:22, 22:42] = False, False, False  # 8 px around the holes
    assert valid[far].all()


def test_lossless_files_keep_every_value(tmp_path, params):
    drawn, holes = draw_depth()
    Image.fromarray(drawn).save(tmp_path / "a.png")
    scale = params.download.depth.model_copy(update={"raw_max": 255, "raw_unknown": 0})
    raw, num_band_px = read_stored_depth(tmp_path / "a.png", scale)
    np.testing.assert_array_equal(raw, drawn)
    assert num_band_px is None
    np.testing.assert_array_equal(~decode_depth(raw, scale)[1], holes)


def test_without_a_declared_unknown_lossy_files_keep_every_value(tmp_path, params):
    drawn, _ = draw_depth()
    Image.fromarray(drawn).save(tmp_path / "a.jpg")
    scale = params.download.depth.model_copy(update={"raw_max": 255, "raw_unknown": None})
    raw, num_band_px = read_stored_depth(tmp_path / "a.jpg", scale)
    np.testing.assert_array_equal(raw, np.asarray(Image.open(tmp_path / "a.jpg")))
    assert num_band_px == 0


def test_the_band_is_seven_pixels_wide():
    raw = np.full((40, 40), 100, np.uint8)
    raw[20, 20] = 255
    unknown = spread_unknown(raw, 255) == 255
    assert np.argwhere(unknown).min() == 13
    assert np.argwhere(unknown).max() == 27
    assert unknown.sum() == 15 * 15
    assert spread_unknown(np.full((4, 4), 100, np.uint8), 0) is not None


def save(kind: str, path: Path) -> None:
    picture = Image.fromarray(draw_depth()[0])
    options = {
        "lossy.webp": {"format": "WEBP", "quality": 80},
        "lossless.webp": {"format": "WEBP", "lossless": True},
        "lossy.jp2": {"format": "JPEG2000", "irreversible": True, "quality_mode": "rates", "quality_layers": [20]},
        "lossless.jp2": {"format": "JPEG2000", "irreversible": False},
        "lossy.tif": {"format": "TIFF", "compression": "jpeg"},
        "lossless.tif": {"format": "TIFF", "compression": "tiff_lzw"},
        "lossy.jpg": {"format": "JPEG"},
        "lossless.png": {"format": "PNG"},
        "lossless.bmp": {"format": "BMP"},
    }[kind]
    buffer = io.BytesIO()
    picture.convert("RGB" if "webp" in kind else "L").save(buffer, **options)
    path.write_bytes(buffer.getvalue())


@pytest.mark.parametrize(
    "kind",
    [
        "lossy.webp",
        "lossless.webp",
        "lossy.jp2",
        "lossless.jp2",
        "lossy.tif",
        "lossless.tif",
        "lossy.jpg",
        "lossless.png",
        "lossless.bmp",
    ],
)
def test_lossy_compression_is_told_by_content(tmp_path, kind):
    needs = {"jp2": "jpg_2000", "webp": "webp", "tif": "libtiff"}.get(kind.rpartition(".")[2])
    if needs and not features.check(needs):
        pytest.skip(f"this Pillow has no {needs}")
    save(kind, tmp_path / "a.png")  # whatever its name
    assert is_lossy(tmp_path / "a.png") == kind.startswith("lossy")
