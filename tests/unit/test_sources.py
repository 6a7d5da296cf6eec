"""What is read is what was declared, and each kind of bad file is one line that names it."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from PIL import Image

from depthmask.base.errors import UserError
from depthmask.data.images import decode_depth, read_rgb, read_rgba, read_values
from depthmask.download.fetch import fetch
from depthmask.params import DepthParams
from depthmask.sources import open_source

METRES = DepthParams(unit="metre", polarity="near_is_small", max=20.0, raw_max=20000, raw_unknown=0)


def test_depth_in_millimetres_is_scaled_clipped_and_masked():
    depth, valid = decode_depth(np.array([[0, 1000, 20000, 30000]], np.uint16), METRES)
    np.testing.assert_allclose(depth, [[0, 0.05, 1, 1]])
    assert valid.tolist() == [[False, True, True, True]]


def test_depth_whose_near_is_bright_is_turned_round():
    scale = DepthParams(unit="relative", polarity="near_is_large", max=1.0, raw_max=255, raw_unknown=None)
    depth, valid = decode_depth(np.array([[0, 51, 255]], np.uint8), scale)
    np.testing.assert_allclose(depth, [[1, 0.8, 0]], atol=1e-6)
    assert valid.all()


def test_bad_pictures_are_one_line_that_names_the_file(tmp_path):
    opaque = np.full((4, 4, 4), 255, np.uint8)
    Image.fromarray(opaque).save(tmp_path / "opaque.png")
    Image.fromarray(opaque * np.array([1, 1, 1, 0], np.uint8)).save(tmp_path / "clear.png")
    Image.fromarray(opaque[..., :3]).save(tmp_path / "no_alpha.png")
    (tmp_path / "text.jpg").write_text("not an image")
    (tmp_path / "zero.jpg").write_bytes(b"")
    colours = np.zeros((4, 4, 3), np.uint8)
    colours[..., 0] = 255
    Image.fromarray(colours).save(tmp_path / "colours.png")
    for read, name, why in (
        (read_rgba, "opaque.png", "opaque everywhere"),
        (read_rgba, "clear.png", "nothing is visible"),
        (read_rgba, "no_alpha.png", "without alpha"),
        (read_rgb, "text.jpg", "not a readable image"),
        (read_rgb, "zero.jpg", "0 bytes"),
        (read_rgb, "missing.jpg", "no such file"),
        (read_values, "colours.png", "colour image"),
    ):
        with pytest.raises(UserError, match=why) as error:
            read(tmp_path / name)
        assert str(tmp_path / name) in str(error.value)
        assert "\n" not in str(error.value)


def _truncate(folder):
    path = folder / "bg/003.jpg"
    path.write_bytes(path.read_bytes()[:1500])
    return path


def _shrink_depth(folder):
    path = folder / "bg_depth/004.png"
    Image.open(path).resize((10, 10), Image.Resampling.NEAREST).save(path)
    return path


def _remove_depth(folder):
    (folder / "bg_depth/005.png").unlink()
    return folder / "bg_depth"


def _empty_cutouts(folder):
    shutil.rmtree(folder / "fg")
    (folder / "fg").mkdir()
    return folder / "fg"


def _flatten_cutout(folder):
    path = folder / "fg/002.png"
    Image.open(path).convert("RGB").save(path)
    return path


@pytest.mark.parametrize("spoil", [_truncate, _shrink_depth, _remove_depth, _empty_cutouts, _flatten_cutout])
def test_a_bad_file_stops_the_download_and_leaves_the_data_of_before(tmp_path, small_demo, params, spoil):
    shutil.copytree(small_demo, tmp_path / "demo")
    out = tmp_path / "raw"
    download = params.download.model_copy(update={"path": str(tmp_path / "demo")})
    fetch(download, out)
    before = sorted(file.relative_to(out) for file in out.rglob("*"))
    named = spoil(tmp_path / "demo")
    with pytest.raises(UserError) as error:
        fetch(download, out)
    assert str(named) in str(error.value)
    assert "\n" not in str(error.value)
    assert sorted(file.relative_to(out) for file in out.rglob("*")) == before
    assert not list(tmp_path.glob(".*part"))


def _make_flat(folder, num=6):
    for name in ("images", "masks", "depth"):
        (folder / name).mkdir(parents=True)
    rng = np.random.default_rng(0)
    for number in range(1, num + 1):
        mask = np.zeros((20, 20), np.uint8)
        mask[5:15, 5:15] = 255
        Image.fromarray(rng.integers(0, 255, (20, 20, 3), np.uint8)).save(folder / f"images/fgbg{number:06d}.png")
        Image.fromarray(mask).save(folder / f"masks/mask{number:06d}.png")
        Image.fromarray(np.full((20, 20), 255 - 10 * number, np.uint8)).save(folder / f"depth/fgbg{number:06d}.png")


def _flat_params(params, path, **changes):
    depth = {"unit": "relative", "polarity": "near_is_large", "max": 1.0, "raw_max": 255, "raw_unknown": None}
    values = params.download.model_dump() | {"source": "flat_numbered", "path": str(path), "depth": depth} | changes
    return type(params.download)(**values)


def test_flat_numbered_composites_know_background_and_cutout_by_their_number(tmp_path, params):
    _make_flat(tmp_path / "flat")
    fetch(_flat_params(params, tmp_path / "flat", composites_per_background=4, composites_per_cutout=2), tmp_path / "raw")
    source = open_source(tmp_path / "raw")
    assert [(c.background, c.cutout) for c in source.composites] == [
        ("bg0000", "fg0000"), ("bg0000", "fg0000"), ("bg0000", "fg0001"), ("bg0000", "fg0001"),
        ("bg0001", "fg0000"), ("bg0001", "fg0000"),
    ]  # fmt: skip
    sample = source.read_composite(source.composites[2])
    assert sample.mask.sum() == 100 * 255
    np.testing.assert_allclose(sample.depth, 30 / 255, atol=1e-6)


def test_flat_numbered_reports_missing_and_misfitting_files(tmp_path, params):
    _make_flat(tmp_path / "flat")
    (tmp_path / "flat/masks/mask000003.png").unlink()
    with pytest.raises(UserError, match=r"masks: mask missing for 1 of 6 images: 000003"):
        fetch(_flat_params(params, tmp_path / "flat"), tmp_path / "raw")
    Image.fromarray(np.zeros((9, 9), np.uint8)).save(tmp_path / "flat/masks/mask000003.png")
    with pytest.raises(UserError, match=r"mask000003.png: mask has 9 x 9 px, but fgbg000003.png has 20 x 20 px"):
        fetch(_flat_params(params, tmp_path / "flat"), tmp_path / "raw")


@pytest.mark.parametrize("kind", ["zip", "gztar"])
def test_an_archive_gives_what_its_folder_gives(tmp_path, small_demo, params, kind):
    archive = shutil.make_archive(str(tmp_path / "pack"), kind, small_demo.parent, small_demo.name)
    folder_record = fetch(params.download.model_copy(update={"path": str(small_demo)}), tmp_path / "from_folder")
    record = fetch(params.download.model_copy(update={"path": archive}), tmp_path / "from_archive")
    assert record["sha256"] == folder_record["sha256"]
    wrong = params.download.model_copy(update={"path": archive, "sha256": "0" * 64})
    with pytest.raises(UserError, match=f"sha256 is {record['archives'][0]['sha256']}, but download.sha256 is 000"):
        fetch(wrong, tmp_path / "never")
    assert not (tmp_path / "never").exists()


def test_a_damaged_archive_and_a_missing_path_are_one_line(tmp_path, params):
    (tmp_path / "bad.zip").write_bytes(b"PK\x03\x04 cut off")
    for path, why in ((tmp_path / "bad.zip", "cannot be unpacked"), (tmp_path / "none", "no such folder or archive")):
        with pytest.raises(UserError, match=why):
            fetch(params.download.model_copy(update={"path": str(path)}), tmp_path / "raw")
