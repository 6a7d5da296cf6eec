"""What people have on disk is read at full depth, whatever its format, or refused in one line that says what to do."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from depthmask.base.errors import UserError
from depthmask.data import formats, images
from depthmask.data.arrays import measure_array
from depthmask.data.images import (
    decode_depth,
    measure_picture,
    read_depth,
    read_photo,
    read_rgb,
    read_rgba,
    read_values,
)
from depthmask.params import DepthParams

MILLIMETRES = DepthParams(unit="metre", polarity="near_is_small", max=20.0, raw_max=20000, raw_unknown=0)
METRES = MILLIMETRES.model_copy(update={"raw_max": None})
ALL_KNOWN = METRES.model_copy(update={"raw_unknown": None})
RAW = (np.arange(12 * 17).reshape(12, 17) * 91).astype(np.uint16)  # up to 18,473, and 0 at a corner
TURNED = {1: RAW, 2: RAW[:, ::-1], 3: RAW[::-1, ::-1], 4: RAW[::-1], 6: np.rot90(RAW, 3), 8: np.rot90(RAW, 1)}


def _save(path: Path, values: np.ndarray) -> Path:
    assert cv2.imwrite(str(path), values)
    return path


def _add_orientation(png: Path, orientation: int) -> None:
    """Put an EXIF chunk behind the header of a PNG, which OpenCV does not write."""
    import zlib

    data = b"MM\0*" + struct.pack(">IHHHIHHI", 8, 1, 0x0112, 3, 1, orientation, 0, 0)
    content = png.read_bytes()
    chunk = struct.pack(">I", len(data)) + b"eXIf" + data + struct.pack(">I", zlib.crc32(b"eXIf" + data))
    png.write_bytes(content[:33] + chunk + content[33:])


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("num_channels", [3, 4])
def test_depth_in_the_channels_of_a_16_bit_colour_image_is_read_at_full_depth(tmp_path, suffix, num_channels):
    channels = [RAW, RAW, RAW, np.full_like(RAW, 65535)][:num_channels]
    path = _save(tmp_path / f"d{suffix}", np.dstack(channels))
    assert np.array_equal(read_depth(path, MILLIMETRES), RAW)
    assert read_depth(path, MILLIMETRES).dtype == np.uint16
    assert np.array_equal(read_values(path), RAW)


def test_depth_of_16_bits_with_alpha_is_read_at_full_depth(tmp_path):
    """Grey and alpha of 16 bits, written by hand: neither Pillow nor OpenCV writes it."""
    import zlib

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    def write(alpha: int) -> Path:
        rows = b"".join(b"\0" + np.dstack([row, np.full_like(row, alpha)]).astype(">u2").tobytes() for row in RAW)
        head = struct.pack(">IIBBBBB", RAW.shape[1], RAW.shape[0], 16, 4, 0, 0, 0)
        path = tmp_path / f"la{alpha}.png"
        path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))
        return path

    assert np.array_equal(read_depth(write(65535), MILLIMETRES), RAW)
    with pytest.raises(UserError, match=r"la65534.png: partly transparent"):
        read_depth(write(65534), MILLIMETRES)


@pytest.mark.parametrize("orientation", TURNED)
def test_a_16_bit_colour_image_is_turned_upright_like_any_other(tmp_path, orientation):
    path = _save(tmp_path / "d.png", np.dstack([RAW] * 3))
    _add_orientation(path, orientation)
    assert np.array_equal(read_depth(path, MILLIMETRES), TURNED[orientation])


@pytest.mark.parametrize("values", [RAW, (RAW >> 8).astype(np.uint8), RAW.astype(np.float32)])
@pytest.mark.parametrize("orientation", TURNED)
def test_an_uncompressed_tiff_is_turned_upright(tmp_path, orientation, values):
    path = tmp_path / "d.tif"
    Image.fromarray(values).save(path, tiffinfo={0x0112: orientation})
    wanted = {1: values, 2: values[:, ::-1], 3: values[::-1, ::-1], 4: values[::-1], 6: np.rot90(values, 3), 8: np.rot90(values)}
    assert np.array_equal(read_values(path), wanted[orientation])
    assert measure_picture(path) == wanted[orientation].shape[::-1]


def test_channels_of_16_bits_that_differ_are_no_depth(tmp_path):
    path = _save(tmp_path / "d.png", np.dstack([RAW, RAW, RAW + 1]))
    with pytest.raises(UserError, match=r"d.png: 3 channels that differ where one is expected; save the values in one channel"):
        read_depth(path, MILLIMETRES)


def _write_pfm(path: Path, values: np.ndarray, order: str, head: bytes = b"Pf") -> Path:
    scale = b"-1.0" if order == "<" else b"1.0"
    rows = values[::-1].astype(f"{order}f4").tobytes()
    path.write_bytes(b"%s\n%d %d\n%s\n" % (head, values.shape[1], values.shape[0], scale) + rows)
    return path


def _write_exr(path: Path, channels: dict[str, np.ndarray]) -> Path:
    import OpenEXR

    with OpenEXR.File({"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}, channels) as file:
        file.write(str(path))
    return path


def _write_npz(path: Path, **arrays: np.ndarray) -> Path:
    np.savez_compressed(path, **arrays)
    return path


def _write_npy(path: Path, values: np.ndarray) -> Path:
    with path.open("wb") as file:  # by name, numpy would append another suffix to .NPY
        np.save(file, values)
    return path


def _write_tif(path: Path, values: np.ndarray) -> Path:
    Image.fromarray(values).save(path)
    return path


IN_METRES = np.where(RAW == 0, np.nan, RAW / 1000).astype(np.float32)
WRITERS = {
    "npy": lambda folder: _write_npy(folder / "d.npy", IN_METRES),
    "npy of 64 bits in Fortran order": lambda folder: _write_npy(folder / "d.npy", np.asfortranarray(IN_METRES.astype(">f8"))),
    "npy with a side of 1": lambda folder: _write_npy(folder / "d.NPY", IN_METRES[None, :, :, None]),
    "npz of one": lambda folder: _write_npz(folder / "d.npz", arr_0=IN_METRES),
    "npz with a name": lambda folder: _write_npz(folder / "d.npz", depth=IN_METRES, confidence=IN_METRES),
    "npz with a camera": lambda folder: _write_npz(folder / "d.npz", z=IN_METRES, focal=np.ones(1), camera=np.ones(4)),
    "pfm little": lambda folder: _write_pfm(folder / "d.pfm", IN_METRES, "<"),
    "pfm big": lambda folder: _write_pfm(folder / "d.pfm", IN_METRES, ">"),
    "pfm colour": lambda folder: _write_pfm(folder / "d.pfm", np.dstack([IN_METRES] * 3), "<", b"PF"),
    "exr of one": lambda folder: _write_exr(folder / "d.exr", {"V": IN_METRES}),
    "exr of depth and colour": lambda folder: _write_exr(folder / "d.exr", {"Z": IN_METRES, "R": IN_METRES * 2, "A": IN_METRES}),
    "exr as Blender names it": lambda folder: _write_exr(
        folder / "d.exr", {"ViewLayer.Depth.Z": IN_METRES, "ViewLayer.Combined.R": IN_METRES * 2}
    ),
    "exr grey": lambda folder: _write_exr(folder / "d.exr", {"RGB": np.dstack([IN_METRES] * 3)}),
    "tif": lambda folder: _write_tif(folder / "d.tif", IN_METRES),
    "tif of 64 bits": lambda folder: _save(folder / "d.TIFF", IN_METRES.astype(np.float64)),
}


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_depth_in_metres_is_read_from_every_floating_point_format(tmp_path, write):
    path = write(tmp_path)
    raw = read_depth(path, METRES)
    assert raw.dtype == np.float32
    assert np.array_equal(raw, IN_METRES, equal_nan=True)
    depth, valid = decode_depth(raw, METRES)
    assert not valid[0, 0] and depth[0, 0] == 0
    assert valid.sum() == RAW.size - 1
    assert np.allclose(depth, RAW / 20000, atol=1e-6)  # as the same depth in 16-bit millimetres
    size = measure_picture(path)
    assert size is None or size == (17, 12)


def test_half_floats_of_an_exr_are_read(tmp_path):
    half = IN_METRES.astype(np.float16)
    assert np.array_equal(
        read_depth(_write_exr(tmp_path / "d.exr", {"Y": half}), METRES), half.astype(np.float32), equal_nan=True
    )


def test_headers_of_arrays_give_their_size(tmp_path):
    assert measure_array(_write_npy(tmp_path / "d.npy", IN_METRES)) == (17, 12)
    assert measure_array(_write_pfm(tmp_path / "d.pfm", IN_METRES, ">")) == (17, 12)


def test_what_no_float_can_measure_is_unknown():
    raw = np.array([[np.nan, np.inf, -np.inf, 0, -1, 5]], np.float32)
    assert decode_depth(raw, METRES)[1].tolist() == [[False, False, False, False, False, True]]
    assert decode_depth(raw, ALL_KNOWN)[1].tolist() == [[False, False, False, True, True, True]]
    assert decode_depth(raw, METRES)[0].tolist() == [[0, 0, 0, 0, 0, 0.25]]


@pytest.mark.parametrize("divisor, scale", [(256, {"max": 80.0, "raw_max": 20480}), (1000, {"max": 10.0, "raw_max": 10000})])
def test_kitti_and_nyu_are_declared_by_max_and_raw_max(tmp_path, divisor, scale):
    """KITTI's PNG: metres x 256; NYU's: millimetres; 0 is unknown in both."""
    metres = np.array([[0, 1.5], [3.25, 9.75]])
    path = _save(tmp_path / "d.png", np.round(metres * divisor).astype(np.uint16))
    declared = MILLIMETRES.model_copy(update=scale)
    depth, valid = decode_depth(read_depth(path, declared), declared)
    assert np.allclose(depth * declared.max, metres, atol=1e-5)
    assert valid.tolist() == [[False, True], [True, True]]


def test_whole_numbers_beyond_16_bits_keep_their_value(tmp_path):
    raw = read_depth(_write_npy(tmp_path / "d.npy", RAW.astype(np.int64) * 10), MILLIMETRES)
    assert raw.dtype == np.float32
    assert np.array_equal(raw, RAW.astype(np.float32) * 10)
    assert np.array_equal(read_depth(_write_npy(tmp_path / "e.npy", RAW.astype(np.int32)), MILLIMETRES), RAW)


class _Trap:
    def __reduce__(self):
        return Path.touch, (Path("trapped"),)


BAD = {
    "objects": (lambda f: _write_npy(f / "d.npy", np.array([[_Trap(), None]])), METRES, "holds Python objects, not numbers"),
    "text": (lambda f: _write_npy(f / "d.npy", np.array([["a", "b"]] * 2)), METRES, "holds <U1, not numbers"),
    "colour": (lambda f: _write_npy(f / "d.npy", np.ones((4, 5, 3))), METRES, "has the shape 4 x 5 x 3, not height x width"),
    "a row": (lambda f: _write_npy(f / "d.npy", np.ones(4)), METRES, "has the shape 4, not height x width"),
    "several": (
        lambda f: _write_npz(f / "d.npz", a=RAW, b=RAW),
        METRES,
        r"holds 2 arrays \(a, b\) where one is expected; keep one",
    ),
    "no array": (lambda f: _write_npz(f / "d.npz"), METRES, r"holds 0 arrays \(none\) where one"),
    "channels": (
        lambda f: _write_exr(f / "d.exr", {"U": IN_METRES, "W": IN_METRES}),
        METRES,
        r"2 channels \(U, W\) and not one called Z",
    ),
    "an exr photo": (
        lambda f: _write_exr(f / "d.exr", {"RGB": np.dstack([IN_METRES] * 2 + [RAW * 1.0]).astype("f4")}),
        METRES,
        "differ",
    ),
    "pfm of text": (lambda f: f / "d.pfm", METRES, "is not a PFM file"),
    "whole numbers": (lambda f: _save(f / "d.png", RAW), METRES, r"whole numbers \(uint16\), but download.depth.raw_max: null"),
    "metres": (
        lambda f: _write_npy(f / "d.npy", IN_METRES),
        MILLIMETRES,
        "18.473 at most, .* takes for 0.018 metre; set raw_max: null",
    ),
    "negative": (
        lambda f: _write_npy(f / "d.npy", IN_METRES - 1),
        ALL_KNOWN,
        "depth of -0.909; set download.depth.raw_unknown: 0, if values up to 0 are unknown",
    ),
    "zeros": (
        lambda f: _write_npy(f / "d.npy", RAW * 0.0),
        ALL_KNOWN,
        "depth map is 0 everywhere",
    ),
}


@pytest.mark.parametrize("write, scale, printed", BAD.values(), ids=BAD)
def test_depth_that_contradicts_its_declaration_is_one_line(tmp_path, monkeypatch, write, scale, printed):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "d.pfm").write_text("P6 hello")
    path = write(tmp_path)
    with pytest.raises(UserError, match=printed) as error:
        read_depth(path, scale)
    assert str(error.value).startswith(f"{path}: ")
    assert "\n" not in str(error.value)
    assert not Path("trapped").exists()


@pytest.mark.parametrize("name", ["npy", "npz of one", "pfm little", "exr of one", "tif of 64 bits", "tif"])
def test_a_cut_or_spoilt_file_is_one_line(tmp_path, name):
    whole = WRITERS[name](tmp_path)
    content = whole.read_bytes()
    rng = np.random.default_rng(0)
    for number in range(40):
        spoilt = bytearray(content[: rng.integers(0, len(content))] if number % 2 else content)
        for place in rng.integers(0, min(len(spoilt), 150) + 1, 3 if number % 2 == 0 else 0):
            spoilt[min(place, len(spoilt) - 1)] = rng.integers(0, 256)
        path = tmp_path / f"bad{number}{whole.suffix}"
        path.write_bytes(spoilt)
        try:
            assert read_values(path).ndim == 2
        except UserError as error:
            assert str(error).startswith(f"{path}: ") and "\n" not in str(error)


PHOTO = np.random.default_rng(0).integers(0, 255, (24, 32, 3), np.uint8)
PHOTO_SUFFIXES = [".JPG", ".jfif", ".jpe", ".png", ".webp", ".tif", ".TIFF", ".bmp", ".gif", ".jp2", ".ppm", ".avif", ".heic"]


@pytest.mark.parametrize("suffix", PHOTO_SUFFIXES)
def test_photos_of_every_format_are_read(tmp_path, suffix):
    if suffix == ".heic":
        pytest.importorskip("pillow_heif").register_heif_opener()
    path = tmp_path / f"p{suffix}"
    smooth = cv2.GaussianBlur(PHOTO, (0, 0), 5)
    image = Image.fromarray(smooth)
    if suffix.lower() in (".jfif", ".jpe", ".jpg"):
        image.save(path, "JPEG", quality=95)
    else:
        image.save(path)
    assert suffix.lower() in formats.SUFFIXES
    assert np.abs(read_rgb(path).astype(int) - smooth).mean() < 6
    assert measure_picture(path) in ((32, 24), None)


def test_the_first_image_of_an_animation_is_read(tmp_path):
    frames = [Image.fromarray(np.full((8, 9, 3), level, np.uint8)) for level in (10, 200)]
    for name in ("a.gif", "a.tif", "a.webp"):
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:])
        assert np.abs(read_photo(tmp_path / name).astype(int) - 10).max() < 8, name


def test_a_photo_is_recognised_by_its_content(tmp_path):
    Image.fromarray(PHOTO).save(tmp_path / "a.tif")
    (tmp_path / "a.tif").rename(tmp_path / "a.jpg")
    assert np.array_equal(read_rgb(tmp_path / "a.jpg"), PHOTO)


def test_a_heic_photo_without_its_package_says_what_to_install(tmp_path, monkeypatch):
    pytest.importorskip("pillow_heif").register_heif_opener()
    for name in ("a.heic", "b.jpg"):  # recognised by content
        content = io.BytesIO()
        Image.fromarray(PHOTO).save(content, "HEIF")
        (tmp_path / name).write_bytes(content.getvalue())
        with monkeypatch.context() as patch:
            patch.setattr(formats, "LACKING", {".heic": formats.GET_HEIF})
            with pytest.raises(UserError, match=rf"{name}: is a HEIC image, .* pip install -e '\.\[heif\]'"):
                read_rgb(tmp_path / name)
        assert read_rgb(tmp_path / name).shape == PHOTO.shape


@pytest.mark.parametrize(
    "content, what",
    [
        (b"<!DOCTYPE html><html>404", "a web page; download the file itself"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "a Git LFS pointer; run git lfs pull"),
        (b"%PDF-1.7 x", "a PDF; export it as PNG"),
        (b"\0\0\0\x20ftypmp42" + b"\0" * 40, "a video or a picture of a kind that is not read"),
        (b"\0" * 100, "zeros; copy or download it again"),
        (b"\xef\xbb\xbf\r\n <!doctype HTML>", "a web page; download the file itself"),
        (b'{"error": "not found"}', "text, such as a server's answer or a drawing in SVG; download or export the picture itself"),
        (b"\0\0\0\x1cftypavif" + b"\0" * 40, "a damaged AVIF image; replace or remove it"),
    ],
)
def test_what_is_no_picture_is_named(tmp_path, content, what):
    path = tmp_path / "a.jpg"
    path.write_bytes(content)
    with pytest.raises(UserError, match="a.jpg: not a readable image but " + what):
        read_rgb(path)


@pytest.mark.parametrize(("values", "what"), [(IN_METRES, "floating-point"), (RAW.astype(np.int32), "32-bit")])
def test_a_photo_whose_white_is_unknown_is_not_read_as_black(tmp_path, values, what):
    path = _write_tif(tmp_path / "a.tif", values)
    for read in (read_rgb, read_photo):
        with pytest.raises(
            UserError, match=f"a.tif: a photo with {what} pixels, in which white may be any value; save it with 8 or"
        ):
            read(path)


def test_cutouts_of_other_formats_keep_their_alpha(tmp_path):
    rgba = np.dstack([PHOTO, np.where(np.arange(32) > 9, 255, 0).astype(np.uint8)[None].repeat(24, 0)])
    for suffix in (".tif", ".webp", ".avif", ".gif", ".jp2"):
        Image.fromarray(rgba).save(tmp_path / f"c{suffix}")
        alpha = read_rgba(tmp_path / f"c{suffix}")[..., 3]
        assert ((alpha >= images.MASK_THRESHOLD) == (rgba[..., 3] > 0)).mean() > 0.97, suffix


def test_programs_are_not_started_by_the_name_of_a_photo(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n")
    with pytest.raises(UserError, match="not a readable image but an EPS file"):
        read_rgb(tmp_path / "a.jpg")


def test_metadata_that_keep_pillow_from_the_pixels_cost_no_depth(tmp_path):
    """A text chunk with a name that Pillow takes for a property of the pixels."""
    import zlib

    path = _save(tmp_path / "d.png", np.dstack([RAW] * 3))
    content, data = path.read_bytes(), b"transparency\0x"
    chunk = struct.pack(">I", len(data)) + b"tEXt" + data + struct.pack(">I", zlib.crc32(b"tEXt" + data))
    path.write_bytes(content[:33] + chunk + content[33:])
    assert np.array_equal(read_depth(path, MILLIMETRES), RAW)
