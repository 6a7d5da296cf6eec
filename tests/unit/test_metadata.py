"""Photos with metadata that are broken, huge or misleading: the pixels are read, upright where an orientation can be found."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageFile, PngImagePlugin

from depthmask.base.errors import UserError
from depthmask.data.images import measure_picture, read_photo, read_rgb, read_rgba, read_values
from depthmask.data.masks import read_mask
from depthmask.data.metadata import find_orientation, find_orientation_in_xmp
from depthmask.data.stripping import strip_metadata
from depthmask.params import MaskParams
from depthmask.serving.predictor import _read

NOISE = np.random.default_rng(5).integers(0, 256, (24, 36, 3), dtype=np.uint8)
TURNED = np.rot90(NOISE, -1)  # orientation 6
PNG_TEXT_BYTES = 3_000_000  # more than Pillow inflates
XMP = b'<x:xmpmeta><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'


def make_exif(*entries: bytes, order: str = "<") -> bytes:
    """EXIF data with these entries and 16 bytes behind them, at the offset that `point` gives."""
    start = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", 8)
    return (
        start + struct.pack(f"{order}H", len(entries)) + b"".join(entries) + bytes(4) + struct.pack(f"{order}iiii", -1, 0, -1, 0)
    )


def point(num_entries: int, order: str = "<") -> bytes:
    return struct.pack(f"{order}I", 8 + 2 + 12 * num_entries + 4)


def entry(tag: int, kind: int, value: bytes, number: int = 1, order: str = "<") -> bytes:
    return struct.pack(f"{order}HHI", tag, kind, number) + value


SIX = entry(0x0112, 3, b"\6\0\0\0")
EXIFS = {  # what the data are: the data, and whether a quarter turn is in them
    "a resolution of -1/0": (make_exif(entry(0x011A, 10, point(2)), SIX), True),
    "a resolution far outside": (make_exif(entry(0x011A, 5, b"\xff\xff\xff\x7f"), SIX), True),
    "a rational as text": (make_exif(entry(0x011A, 2, point(2), 16), SIX), True),
    "an orientation as a LONG": (make_exif(entry(0x0112, 4, b"\6\0\0\0")), True),
    "the other byte order": (make_exif(entry(0x0112, 3, b"\0\6\0\0", order=">"), order=">"), True),
    "a type that does not exist": (make_exif(entry(0x0100, 77, b"abcd"), SIX), True),
    "cut off behind the orientation": (make_exif(SIX, entry(0x011A, 5, point(2)))[:24], True),
    "cut off before the orientation": (make_exif(entry(0x011A, 5, point(2)), SIX)[:24], False),
    "a million entries that are not there": (b"II*\0\x08\0\0\0\xff\xff", False),
    "no TIFF": (b"not a TIFF at all", False),
    "a directory in front of itself": (b"II*\0\xff\xff\xff\xff", False),
    "an orientation of 4711": (make_exif(entry(0x0112, 3, b"\x67\x12\0\0")), False),
    "nothing": (b"", False),
}


def make_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def save(form: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    lossless = {"lossless": True} if form == "WEBP" else {"quality": 95, "subsampling": 0} if form == "JPEG" else {}
    Image.fromarray(NOISE).save(buffer, form, **lossless, **options)
    return buffer.getvalue()


def add_exif(form: str, exif: bytes) -> bytes:
    if form != "PNG":
        return save(form, exif=b"Exif\0\0" + exif)
    plain = save("PNG")
    return plain[:33] + make_chunk(b"eXIf", exif) + plain[33:]


def add_chunks(*chunks: bytes, behind: bool = False) -> bytes:
    """A PNG with more chunks, before or behind the pixels."""
    plain = save("PNG")
    place = plain.rindex(b"IEND") - 4 if behind else 33
    return plain[:place] + b"".join(chunks) + plain[place:]


def read_plain(form: str) -> np.ndarray:
    with Image.open(io.BytesIO(save(form))) as image:
        return np.asarray(image.convert("RGB"))


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("name", EXIFS)
def test_the_orientation_is_read_whatever_else_the_exif_data_hold(tmp_path, form, name):
    exif, is_turned = EXIFS[name]
    path = tmp_path / "photo"
    path.write_bytes(add_exif(form, exif))
    plain = read_plain(form)
    expected = np.rot90(plain, -1) if is_turned else plain
    for read in (read_rgb, read_photo, lambda path: _read(Image.open(path))):
        assert np.array_equal(read(path), expected)
    assert measure_picture(path) == (expected.shape[1], expected.shape[0])


PNG_CHUNKS = {
    "text": make_chunk(b"zTXt", b"Comment\0\0" + zlib.compress(b"x" * PNG_TEXT_BYTES)),
    "ICC profile": make_chunk(b"iCCP", b"icc\0\0" + zlib.compress(bytes(PNG_TEXT_BYTES))),
    "ICC profile packed in an unknown way": make_chunk(b"iCCP", b"icc\0\7abc"),
    "empty ICC profile": make_chunk(b"iCCP", b""),
    "text packed in an unknown way": make_chunk(b"zTXt", b"Comment\0\7abc"),
    "XMP": make_chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(b" " * PNG_TEXT_BYTES)),
    "checksum": make_chunk(b"tEXt", b"a\0b")[:-1] + b"\0",
    "short gamma": make_chunk(b"gAMA", b""),
    "short resolution": make_chunk(b"pHYs", b"\0"),
    "text called interlace": make_chunk(b"tEXt", b"interlace\0yes"),
    "text called transparency": make_chunk(b"tEXt", b"transparency\0full"),
    "text called exif": make_chunk(b"tEXt", b"exif\0nothing"),
    "animation without frames": make_chunk(b"acTL", bytes(8)),
}


@pytest.mark.parametrize("behind", [False, True], ids=["before", "behind"])
@pytest.mark.parametrize("name", PNG_CHUNKS)
def test_no_chunk_of_a_png_costs_its_pixels(tmp_path, name, behind):
    path = tmp_path / "photo.png"
    path.write_bytes(add_chunks(PNG_CHUNKS[name], behind=behind))
    assert np.array_equal(read_rgb(path), NOISE)
    assert np.array_equal(read_photo(path), NOISE)


def test_the_orientation_survives_where_pillow_cannot_open_the_file(tmp_path):
    path, bad = tmp_path / "photo.png", PNG_CHUNKS["text"]
    zipped = zlib.compress(XMP + b" " * PNG_TEXT_BYTES)
    hexed = f"\nexif\n      26\n{EXIFS['an orientation as a LONG'][0].hex()}\n".encode()
    for chunk in (
        make_chunk(b"eXIf", make_exif(SIX)),
        make_chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP),
        make_chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zipped),
        make_chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(hexed)),
    ):
        path.write_bytes(add_chunks(bad, chunk))
        assert np.array_equal(read_rgb(path), TURNED), chunk[4:30]


def test_no_segment_of_a_jpeg_costs_its_pixels(tmp_path):
    path, plain = tmp_path / "photo.jpg", save("JPEG")
    assert plain[2:4] == b"\xff\xe0"
    start = 2 + 2 + struct.unpack(">H", plain[4:6])[0]
    for segment in (
        b"\xff\xe0\0\7JFIF\0",  # too short for what JFIF says
        b"\xff\xee\0\7Adobe",
        b"\xff\xe2\0\x10ICC_PROFILE\0\1\0",
        b"\xff\xe2\0\x0fICC_PROFILE\0\1",
        b"\xff\xe2\0\x0eMPF\0II*\0\xff\xff\xff\xff",
        b"\xff\xed\0\x16Photoshop 3.0\x008BIM\3\xed",
        b"\xff\xe1\0\x20http://ns.adobe.com/xap/1.0/\0<",
    ):
        path.write_bytes(plain[:2] + segment + plain[start:])
        assert np.array_equal(read_rgb(path), read_plain("JPEG")), segment
    turned = b"\xff\xe1" + struct.pack(">H", 2 + 6 + len(make_exif(SIX))) + b"Exif\0\0" + make_exif(SIX)
    path.write_bytes(plain[:2] + b"\xff\xe0\0\7JFIF\0" + turned + plain[start:])
    assert np.array_equal(read_rgb(path), np.rot90(read_plain("JPEG"), -1))


@pytest.mark.parametrize("tag", [0x011A, 0x8769, 0x8825, 700, 34675, 33723])
@pytest.mark.parametrize("kind", [5, 10, 13, 2, 99])
def test_no_tag_of_a_tiff_costs_its_pixels(tmp_path, tag, kind):
    data = bytearray(save("TIFF", tiffinfo={0x0112: 6, tag: b"xx" if tag in (700, 34675, 33723) else 1}))
    (start,) = struct.unpack_from("<I", data, 4)
    (num_entries,) = struct.unpack_from("<H", data, start)
    entries = range(start + 2, start + 2 + 12 * num_entries, 12)
    places = [place for place in entries if struct.unpack_from("<H", data, place)[0] == tag] or [entries[-1]]
    struct.pack_into("<HHII", data, places[0], tag, kind, 0xFFFF_FFF0, 0x7FFF_FFFF)
    path = tmp_path / "photo.tif"
    path.write_bytes(data)
    assert np.array_equal(read_rgb(path), TURNED)


def test_a_picture_that_is_really_damaged_is_still_one_line(tmp_path):
    data = add_chunks(PNG_CHUNKS["text"])
    (tmp_path / "cut.png").write_bytes(data[: len(data) // 2])
    jpeg = add_exif("JPEG", EXIFS["no TIFF"][0])
    (tmp_path / "cut.jpg").write_bytes(jpeg[: len(jpeg) // 2])
    (tmp_path / "head.png").write_bytes(data[:40])
    for path in sorted(tmp_path.iterdir()):
        for read in (read_rgb, read_photo, read_values, read_rgba):
            with pytest.raises(
                UserError, match=rf"^{path}: (damaged image|not a readable image) \([^\n]*; replace or remove it$"
            ):
                read(path)


def test_a_cut_out_keeps_its_alpha_when_its_metadata_are_left_out(tmp_path):
    rgba = np.dstack([NOISE, np.full(NOISE.shape[:2], 200, np.uint8)])
    rgba[:9, :, 3] = 0
    buffer = io.BytesIO()
    Image.fromarray(rgba).save(buffer, "PNG")
    data = buffer.getvalue()
    (tmp_path / "a.png").write_bytes(data[:33] + PNG_CHUNKS["XMP"] + data[33:])
    assert np.array_equal(read_rgba(tmp_path / "a.png"), rgba)


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
@pytest.mark.parametrize("name", PNG_CHUNKS)
def test_depth_in_colours_of_any_depth_is_read_whatever_the_metadata_hold(tmp_path, name, kind):
    values = np.arange(24 * 36).reshape(24, 36).astype(kind) * (1 if kind is np.uint8 else 70)
    data = cv2.imencode(".png", np.dstack([values] * 3))[1].tobytes()
    place = data.rindex(b"IEND") - 4
    path, turn = tmp_path / "depth.png", make_chunk(b"eXIf", make_exif(SIX))
    for whole in (
        data[:33] + PNG_CHUNKS[name] + turn + data[33:],
        data[:33] + PNG_CHUNKS[name] + data[33:place] + turn + data[place:],
    ):
        path.write_bytes(whole)
        found = read_values(path)
        assert found.dtype == kind and np.array_equal(found, np.rot90(values, -1))


def test_reading_changes_nothing_of_pillows_own_settings(tmp_path):
    before = (
        PngImagePlugin.MAX_TEXT_CHUNK,
        PngImagePlugin.MAX_TEXT_MEMORY,
        ImageFile.LOAD_TRUNCATED_IMAGES,
        Image.MAX_IMAGE_PIXELS,
    )
    (tmp_path / "a.png").write_bytes(add_chunks(PNG_CHUNKS["text"]))
    read_rgb(tmp_path / "a.png")
    after = (
        PngImagePlugin.MAX_TEXT_CHUNK,
        PngImagePlugin.MAX_TEXT_MEMORY,
        ImageFile.LOAD_TRUNCATED_IMAGES,
        Image.MAX_IMAGE_PIXELS,
    )
    assert after == before


def test_exif_data_count_before_xmp_and_nonsense_is_passed_over():
    assert find_orientation(b"Exif\0\0Exif\0\0" + make_exif(SIX)) == 6
    assert find_orientation(make_exif(entry(0x0112, 3, b"\0\0\0\0"), SIX)) == 6
    assert find_orientation_in_xmp(b"<tiff:Orientation>8</tiff:Orientation>") == 8
    assert find_orientation_in_xmp(b"tiff:Orientation = '3'") == 3
    assert find_orientation_in_xmp(b'tiff:Orientation="9"') is None
    assert find_orientation_in_xmp(b'tiff:Orientation="66"') is None


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "TIFF"])
def test_stripping_a_file_cut_anywhere_raises_nothing(form):
    data = add_exif(form, make_exif(SIX)) if form != "TIFF" else save("TIFF")
    for end in range(0, len(data), 7):
        strip_metadata(data[:end])
    stripped, _ = strip_metadata(data)
    with Image.open(io.BytesIO(stripped)) as image:
        assert "exif" not in image.info and image.size == (36, 24)
        image.load()


def test_a_format_without_known_metadata_is_left_alone(tmp_path: Path):
    assert strip_metadata(b"GIF89a") is None
    assert strip_metadata(b"RIFF....WAVE") is None
    assert strip_metadata(b"") is None


LATE = {
    "EXIF behind the pixels of a PNG": lambda: add_chunks(make_chunk(b"eXIf", make_exif(SIX)), behind=True),
    "XMP behind the pixels of a PNG": lambda: add_chunks(make_chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP), behind=True),
    "two EXIF chunks, of which the last counts": lambda: add_chunks(
        make_chunk(b"eXIf", make_exif(entry(0x0112, 3, b"\3\0\0\0"))), make_chunk(b"eXIf", make_exif(SIX))
    ),
    "EXIF before XMP behind the pixels": lambda: add_chunks(
        make_chunk(b"eXIf", make_exif(SIX)),
        make_chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP.replace(b"6", b"3")),
        behind=True,
    ),
    "XMP in a TIFF": lambda: save("TIFF", tiffinfo={700: XMP}),
    "XMP in a TIFF with an orientation of its own": lambda: save("TIFF", tiffinfo={700: XMP.replace(b"6", b"3"), 0x0112: 6}),
}


@pytest.mark.parametrize("name", LATE)
def test_a_picture_is_measured_by_its_header_as_it_will_be_read(tmp_path, name):
    path = tmp_path / "photo"
    path.write_bytes(LATE[name]())
    assert np.array_equal(read_rgb(path), TURNED)
    assert measure_picture(path) == TURNED.shape[1::-1]


def test_a_jpeg_with_more_pictures_behind_the_first_is_a_jpeg(tmp_path):
    """As phones store a second view or the brightness of highlights: lossy, whatever Pillow calls it."""
    first, path = Image.fromarray(NOISE), tmp_path / "photo.jpg"
    first.save(
        path,
        "MPO",
        save_all=True,
        append_images=[Image.fromarray(NOISE[::-1])],
        exif=b"Exif\0\0" + make_exif(SIX),
        quality=95,
        subsampling=0,
    )
    assert Image.open(path).format == "MPO"
    assert np.array_equal(read_rgb(path), np.rot90(read_plain("JPEG"), -1))
    with pytest.raises(UserError, match="JPEG does not keep the exact values"):
        read_mask(path, MaskParams(foreground=[1]))


PHONE = ["JPEG", "PNG", "WEBP", "TIFF", "AVIF", "HEIF"]


@pytest.mark.parametrize("form", PHONE)
def test_photos_of_phones_are_upright_however_the_phone_was_held(tmp_path, form):
    """Stored by Pillow and by pillow-heif as cameras do: pixels as the sensor has them, and how to turn them."""
    if form == "HEIF":
        pytest.importorskip("pillow_heif").register_heif_opener()
    upright = np.zeros((48, 64, 3), np.uint8)  # a corner of each colour, so that no two turns look alike
    upright[:24, :32], upright[:24, 32:], upright[24:, :32] = (250, 10, 10), (10, 250, 10), (10, 10, 250)
    held = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.swapaxes(0, 1),
        6: np.rot90(upright),
        7: np.rot90(upright.swapaxes(0, 1), 2),
        8: np.rot90(upright, -1),
    }
    for orientation, stored in held.items():
        path = tmp_path / f"{orientation}.photo"
        value = struct.pack("<HH", orientation, 0)
        options = (
            {"tiffinfo": {0x0112: orientation}} if form == "TIFF" else {"exif": b"Exif\0\0" + make_exif(entry(0x0112, 3, value))}
        )
        Image.fromarray(np.ascontiguousarray(stored)).save(path, form, quality=95, **options)
        found = read_rgb(path)
        assert found.shape == upright.shape and np.abs(found.astype(int) - upright).mean() < 6, orientation
        assert measure_picture(path) in (None, (64, 48))
