"""Each way in which a user's file can be wrong is one line that names the file, or is read as what it shows."""

from __future__ import annotations

import io
import os
import shutil
import struct
import subprocess
import unicodedata
import zlib
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from making_layouts import make_download
from PIL import Image

from depthmask.base.entry_points import print_errors_as_lines
from depthmask.base.errors import UserError
from depthmask.base.files import read_json
from depthmask.data.images import read_rgb, read_values
from depthmask.download.fetch import fetch
from depthmask.sources import RECORD, open_source

SIZE = (40, 30)  # width, height
DEPTH = {"unit": "metre", "polarity": "near_is_small", "max": 10.0, "raw_max": 255, "raw_unknown": None}
ORIENTATION_TAG, QUARTER_TURN = 0x0112, 6
NOBODY = 65534


def make_photo() -> np.ndarray:
    """Smooth colours, H x W x 3, that JPEG keeps."""
    width, height = SIZE
    rows, columns = np.mgrid[:height, :width]
    return np.stack([rows * 6, columns * 5, 200 - rows - columns], axis=2).astype(np.uint8)


@pytest.fixture
def assets(tmp_path) -> Path:
    """Four backgrounds with depth, four cut-outs."""
    folder = tmp_path / "assets"
    for kind in ("bg", "bg_depth", "fg"):
        (folder / kind).mkdir(parents=True)
    for number in range(4):
        Image.fromarray(np.roll(make_photo(), 7 * number, axis=1)).save(folder / f"bg/room{number}.jpg", quality=95)
        Image.fromarray(np.full(SIZE[::-1], 50 + number, np.uint8)).save(folder / f"bg_depth/room{number}.png")
        rgba = np.full((20, 12, 4), 90 + number, np.uint8)
        rgba[..., 3] = 0
        rgba[3:-3, 3:-3, 3] = 255
        Image.fromarray(rgba).save(folder / f"fg/thing{number}.png")
    return folder


@pytest.fixture
def download(params, assets):
    return make_download(params, "assets", assets, {"depth": DEPTH})


def _truncate_jpeg(folder: Path) -> Path:
    path = folder / "bg/room1.jpg"
    path.write_bytes(path.read_bytes()[:-200])
    return path


def _truncate_png(folder: Path) -> Path:
    path = folder / "fg/thing1.png"
    path.write_bytes(path.read_bytes()[:60])
    return path


def _empty(folder: Path) -> Path:
    (folder / "bg/room1.jpg").write_bytes(b"")
    return folder / "bg/room1.jpg"


def _write_text(folder: Path) -> Path:
    (folder / "bg/room1.jpg").write_text("<html>404</html>")
    return folder / "bg/room1.jpg"


def _save(folder: Path, name: str, pixels: np.ndarray) -> Path:
    Image.fromarray(pixels).save(folder / name)
    return folder / name


def _shrink_to_a_pixel(folder: Path) -> Path:
    _save(folder, "bg_depth/room1.png", np.full((1, 1), 9, np.uint8))
    return _save(folder, "bg/room1.jpg", np.full((1, 1, 3), 9, np.uint8))


def _write_bomb(folder: Path) -> Path:
    """A PNG whose header promises 20,000 x 20,000 px, in 70 bytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 20_000, 20_000, 8, 2, 0, 0, 0))
    path = folder / "bg/room1.jpg"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b""))
    return path


def _make_transparent(folder: Path) -> Path:
    rgba = np.dstack([make_photo(), np.full(SIZE[::-1], 100, np.uint8)])
    (folder / "bg/room1.jpg").unlink()
    return _save(folder, "bg/room1.png", rgba)


def _resize_depth(folder: Path) -> Path:
    return _save(folder, "bg_depth/room1.png", np.full((15, 20), 9, np.uint8))


def _clear_depth(folder: Path) -> Path:
    return _save(folder, "bg_depth/room1.png", np.zeros(SIZE[::-1], np.uint8))


def _colour_depth(folder: Path) -> Path:
    return _save(folder, "bg_depth/room1.png", make_photo())


def _flatten_cutout(folder: Path) -> Path:
    return _save(folder, "fg/thing1.png", make_photo())


def _write_twice(folder: Path) -> Path:
    shutil.copyfile(folder / "bg/room1.jpg", folder / "bg/room1.jpeg")
    return folder / "bg"


def _remove_depth(folder: Path) -> Path:
    (folder / "bg_depth/room1.png").unlink()
    return folder / "bg_depth"


def _make_folder(folder: Path) -> Path:
    (folder / "bg/room1.jpg").unlink()
    (folder / "bg/room1.jpg").mkdir()
    return folder / "bg/room1.jpg"


BAD_FILES = [
    (_truncate_jpeg, "damaged image .*truncated"),
    (_truncate_png, "damaged image"),
    (_empty, "0 bytes"),
    (_write_text, "not a readable image"),
    (_shrink_to_a_pixel, "1 x 1 px is not a valid image size"),
    (_write_bomb, "shrink it"),
    (_make_transparent, "partly transparent"),
    (_resize_depth, "depth map has 20 x 15 px, but room1.jpg has 40 x 30 px"),
    (_clear_depth, "depth map is 0 everywhere"),
    (_colour_depth, "colour image where a greyscale one is expected"),
    (_flatten_cutout, "cut-out without alpha"),
    (_write_twice, r"1 image has the same name as another: room1\.jpeg and room1\.jpg; rename or remove one"),
    (_remove_depth, "depth map missing for 1 of 4 images: room1"),
    (_make_folder, "is a folder"),
]


@pytest.mark.parametrize(("spoil", "printed"), BAD_FILES, ids=[spoil.__name__.strip("_") for spoil, _ in BAD_FILES])
def test_a_bad_file_is_one_line_that_names_it(assets, download, tmp_path, spoil, printed):
    named = spoil(assets)
    with pytest.raises(UserError, match=printed) as error:
        fetch(download, tmp_path / "raw")
    assert str(error.value).startswith(f"{named}: ")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "raw").exists()


@pytest.mark.parametrize("spoil", [spoil for spoil, _ in BAD_FILES if spoil is not _write_twice])
def test_a_bad_background_or_cutout_is_skipped_if_asked(assets, download, tmp_path, spoil):
    spoil(assets)
    record = fetch(download.model_copy(update={"on_bad_sample": "skip"}), tmp_path / "raw")
    source = open_source(tmp_path / "raw")
    key = record["skipped"][0]["key"]
    assert {entry["key"] for entry in record["skipped"]} == {key} and key in ("room1", "thing1")
    left = set(source.backgrounds) | set(source.cutouts)
    assert key not in left and len(left) == 7
    assert not list((tmp_path / "raw").rglob(f"*{key}*"))
    assert str(assets) not in record["skipped"][0]["reason"]


def test_pictures_of_other_kinds_are_read_as_what_they_show(tmp_path):
    photo = make_photo()
    image = Image.fromarray(photo)
    exif = image.getexif()
    exif[ORIENTATION_TAG] = QUARTER_TURN
    grey = photo[..., 0]
    cases = {
        "cmyk.jpg": (image.convert("CMYK"), {"quality": 100}, photo),
        "turned.jpg": (image, {"exif": exif, "quality": 100}, np.rot90(photo, -1)),
        "palette.png": (image.quantize(256), {}, photo),
        "16 bit.png": (Image.fromarray(grey.astype(np.uint16) * 257), {}, np.dstack([grey] * 3)),
        "grey.png": (Image.fromarray(grey), {}, np.dstack([grey] * 3)),
        "opaque alpha.png": (image.convert("RGBA"), {}, photo),
        "UPPER.JPG": (image, {"quality": 100, "format": "JPEG"}, photo),
    }
    for name, (saved, options, shown) in cases.items():
        saved.save(tmp_path / name, **options)
        read = read_rgb(tmp_path / name)
        assert read.dtype == np.uint8 and read.shape == shown.shape, name
        assert np.abs(read.astype(int) - shown).mean() < 4, name


def test_masks_and_depth_maps_of_other_kinds_are_read_as_their_grey_levels(tmp_path):
    levels = np.linspace(0, 255, SIZE[0] * SIZE[1]).astype(np.uint8).reshape(SIZE[::-1])
    image = Image.fromarray(levels)
    for name, saved in (
        ("rgb.png", image.convert("RGB")),
        ("palette.png", image.convert("P")),
        ("alpha.png", image.convert("LA")),
    ):
        saved.save(tmp_path / name)
        np.testing.assert_array_equal(read_values(tmp_path / name), levels)
    Image.fromarray(levels.astype(np.uint16) * 257).save(tmp_path / "deep.png")
    np.testing.assert_array_equal(read_values(tmp_path / "deep.png"), levels.astype(np.uint16) * 257)
    Image.fromarray(levels > 100).save(tmp_path / "one_bit.png")
    assert set(np.unique(read_values(tmp_path / "one_bit.png"))) == {0, 255}


def test_damaged_bytes_anywhere_are_an_error_or_a_picture(tmp_path):
    rng = np.random.default_rng(0)
    for format_name in ("JPEG", "PNG", "WEBP"):
        memory = io.BytesIO()
        Image.fromarray(make_photo()).save(memory, format_name)
        for _ in range(80):
            damaged = bytearray(memory.getvalue()[: int(rng.integers(1, len(memory.getvalue()) + 1))])
            for place in rng.integers(len(damaged), size=int(rng.integers(4))):
                damaged[place] = int(rng.integers(256))
            (tmp_path / "damaged.jpg").write_bytes(damaged)
            try:
                assert read_rgb(tmp_path / "damaged.jpg").dtype == np.uint8
            except UserError as error:
                assert str(tmp_path / "damaged.jpg") in str(error) and "\n" not in str(error)


def test_names_with_spaces_accents_and_upper_case_suffixes_are_kept(assets, download, tmp_path):
    for folder, suffix in (("bg", ".jpg"), ("bg_depth", ".png")):
        (assets / folder / f"room1{suffix}").rename(assets / folder / f"Küche, mit Tür 1{suffix.upper()}")
        (assets / folder / f"room2{suffix}").rename(assets / folder / f"台所 2{suffix}")
    (assets / "fg/thing1.png").rename(assets / "fg/A Thing.PNG")
    fetch(download, tmp_path / "raw")
    source = open_source(tmp_path / "raw")
    assert source.backgrounds == ("Küche, mit Tür 1", "room0", "room3", "台所 2")
    assert "A Thing" in source.cutouts
    assert len(list(source.check())) == 8


def test_one_accent_in_two_spellings_is_one_name(assets, download, tmp_path):
    composed, decomposed = (unicodedata.normalize(form, "Küche") for form in ("NFC", "NFD"))
    (assets / "bg/room1.jpg").rename(assets / f"bg/{decomposed}.jpg")
    (assets / "bg_depth/room1.png").rename(assets / f"bg_depth/{composed}.png")
    fetch(download, tmp_path / "raw")
    assert composed in open_source(tmp_path / "raw").backgrounds


def test_a_name_that_is_not_utf8_is_one_line(assets, download, tmp_path):
    try:
        (assets / "bg/room1.jpg").rename(assets / "bg" / os.fsdecode(b"k\xfcche.jpg"))
    except OSError:
        pytest.skip("this file system takes no such name")
    with pytest.raises(UserError, match=r"bg/k\\xfcche\.jpg: a name that is not UTF-8; rename it"):
        fetch(download, tmp_path / "raw")
    fetch(download.model_copy(update={"on_bad_sample": "skip"}), tmp_path / "raw")
    source, skipped = open_source(tmp_path / "raw"), read_json(tmp_path / "raw" / RECORD)["skipped"]
    assert "room1" not in source.backgrounds and len(source.backgrounds) > 1
    assert {"key": r"k\xfcche.jpg", "reason": r"bg/k\xfcche.jpg: a name that is not UTF-8; rename it"} in skipped


@contextmanager
def ordinary_user(*own: Path):
    """Work without root's rights for a while, in folders that are given away for it."""
    if os.geteuid() != 0:
        yield
        return
    for folder in own:
        for path in (folder, *folder.rglob("*")):
            os.chown(path, NOBODY, NOBODY)
    for parent in own[0].parents:
        if parent.stat().st_mode & 0o001 == 0:
            pytest.skip(f"{parent} is closed to ordinary users")
    os.setegid(NOBODY)
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)


@pytest.fixture
def open_folder(tmp_path):
    """A folder whose parents an ordinary user may pass."""
    folder = Path(subprocess.run(["mktemp", "-d"], capture_output=True, text=True, check=True).stdout.strip())
    folder.chmod(0o755)
    yield folder
    subprocess.run(["chmod", "-R", "u+rwX", folder], check=True)
    shutil.rmtree(folder)


def _tell(capsys, download, out: Path) -> str:
    """The one line that a stage would print about the download, which must fail."""
    assert print_errors_as_lines(lambda: fetch(download, out))() == 1
    lines = capsys.readouterr().err.splitlines()
    printed = [line for line in lines if line.startswith("error: ")]
    assert len(printed) == 1 and lines[-1] == printed[0]
    return printed[0]


def test_a_file_that_may_not_be_read_is_one_line_and_never_skipped(assets, download, open_folder, capsys):
    shutil.copytree(assets, open_folder / "assets")
    named = open_folder / "assets/bg/room1.jpg"
    download = download.model_copy(update={"path": str(open_folder / "assets"), "on_bad_sample": "skip"})
    named.chmod(0)
    with ordinary_user(open_folder):
        printed = _tell(capsys, download, open_folder / "raw")
    assert printed == f"error: {named}: permission denied; check its owner and write permission"
    assert not (open_folder / "raw").exists()


def test_a_folder_that_may_not_be_written_is_one_line(assets, download, open_folder, capsys):
    shutil.copytree(assets, open_folder / "assets")
    download = download.model_copy(update={"path": str(open_folder / "assets")})
    (open_folder / "closed").mkdir(mode=0o555)
    with ordinary_user(open_folder):
        printed = _tell(capsys, download, open_folder / "closed/raw")
    assert f"{open_folder}/closed" in printed and "permission denied" in printed


@contextmanager
def small_disk(folder: Path, options: str):
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip("a small disk needs the right to mount one")
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


@pytest.mark.parametrize("options", ["size=8k", "size=1m,nr_inodes=7"], ids=["bytes", "files"])
def test_a_full_disk_is_one_line_and_nothing_half_made_stays(assets, download, tmp_path, capsys, options):
    with small_disk(tmp_path / "disk", options) as disk:
        printed = _tell(capsys, download, disk / "raw")
        assert "free some space" in printed and str(disk) in printed
        assert not (disk / "raw").exists()


def test_a_read_only_disk_is_one_line(assets, download, tmp_path, capsys):
    with small_disk(tmp_path / "disk", "size=1m,ro") as disk:
        printed = _tell(capsys, download, disk / "raw")
        assert str(disk) in printed and "read-only" in printed
