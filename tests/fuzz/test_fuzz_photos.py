"""Photos with spoilt headers, names and encodings: each is read, or refused in one line that names the file.

A case spoils one of `make_plain`'s files in one way of `SPOILERS`, gives it a name of `NAMES` and reads it with every reader of
pictures. Where only metadata were spoilt (`METADATA_ALONE`), the photo must be read, with its pixels, in one of the eight
orientations. Other cases are tables and settings in encodings of all kinds.
"""

from __future__ import annotations

import functools
import io
import json
import os
import random
import struct
import warnings
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from fuzzing import Outcome, Tally, count_cases, run_in_process
from making_models import save_small_model
from PIL import Image

from depthmask.base.entry_points import print_errors_as_lines
from depthmask.base.errors import UserError
from depthmask.base.paths import show_path
from depthmask.catalog.named_sets import COLUMNS, read_registry
from depthmask.cli import main
from depthmask.data.formats import OPENED
from depthmask.data.images import measure_picture, read_photo, read_rgb, read_rgba, read_values
from depthmask.download.fetch import fetch
from depthmask.params import DownloadParams, load_params
from depthmask.params.mixture import strip_source
from depthmask.sources import RECORD
from depthmask.sources.pack_json import read_pack

SHORT, SECONDS = 400, 20
PROJECT = Path(__file__).resolve().parents[2]
PIXELS = np.random.default_rng(3).integers(0, 256, (12, 18, 3), dtype=np.uint8)
DEEP = np.dstack([np.arange(12 * 18, dtype=np.uint16).reshape(12, 18) * 300] * 3)
ARRAYS = ("npy", "npz", "pfm")
PNG_KINDS = (b"tEXt", b"zTXt", b"iTXt", b"iCCP", b"eXIf", b"gAMA", b"cHRM", b"pHYs", b"sRGB", b"tIME", b"sBIT", b"bKGD", b"acTL")
PNG_KINDS += (b"fcTL", b"hIST", b"sPLT", b"prIV")
KEYWORDS = (b"Comment", b"XML:com.adobe.xmp", b"Raw profile type exif", b"exif", b"xmp", b"transparency", b"interlace", b"gamma")
KEYWORDS += (b"icc_profile", b"dpi", b"default_image", b"duration", b"", b"\xff\xfe", b"loop", b"background", b"srgb")
TAGS = (0x0112, 0x011A, 0x011B, 0x0128, 0x8769, 0x8825, 0x02BC, 0x8773, 0x927C, 0xA005, 0x0100, 0x0111, 0x010E, 0xC4A5, 0)
TIFF_METADATA = (270, 271, 272, 282, 283, 296, 305, 306, 315, 700, 33432, 34377, 34665, 34675, 34853, 37500, 50341)


def pick_number(rng: random.Random) -> int:
    """An unsigned number of 32 bits, preferably one at an edge."""
    return rng.choice((0, 1, 2, 8, 255, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF, rng.randrange(200), rng.getrandbits(32)))


def draw_text(rng: random.Random) -> bytes:
    kind = rng.randrange(5)
    if kind == 0:
        return rng.randbytes(rng.randrange(60))
    if kind == 1:
        return b'<x:xmpmeta tiff:Orientation="%d"/>' % rng.choice((0, 1, 6, 8, 9, 66)) + rng.randbytes(rng.randrange(9))
    if kind == 2:
        return b"x" * rng.choice((0, 1, 70_000, 1_100_000))
    if kind == 3:
        return f"\nexif\n  {rng.randrange(99)}\n{draw_exif(rng).hex()[: rng.randrange(400)]}".encode()
    return "caf\u00e9 \u202e\u0000".encode(rng.choice(("utf-8", "latin-1", "utf-16")), "replace")


def draw_exif(rng: random.Random) -> bytes:
    """EXIF data of which some could be read."""
    order = rng.choice("<>")
    number = rng.choice((0, 1, 3, 6, 0xFFFF))
    entries = b"".join(
        struct.pack(f"{order}HHII", rng.choice(TAGS), rng.choice((*range(14), 99)), pick_number(rng), pick_number(rng))
        for _ in range(min(number, 6))
    )
    head = (b"II*\0" if order == "<" else b"MM\0*") if rng.random() < 0.9 else rng.randbytes(4)
    start = struct.pack(f"{order}I", 8 if rng.random() < 0.9 else pick_number(rng))
    exif = head + start + struct.pack(f"{order}H", number) + entries + struct.pack(f"{order}I", pick_number(rng))
    exif += rng.choice((b"", struct.pack(f"{order}iiii", -1, 0, -1, 0), rng.randbytes(40)))
    exif = exif[: rng.randrange(len(exif) + 1)] if rng.random() < 0.2 else exif
    return rng.choice((b"", b"", b"Exif\0\0", b"Exif\0\xff", b"Exif\0\0Exif\0\0")) + exif


def draw_icc(rng: random.Random) -> bytes:
    return rng.choice((b"", rng.randbytes(200), struct.pack(">I", pick_number(rng)) + b"lcms" + bytes(120)))


def zip_npy(data: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("depth.npy", data)
    return buffer.getvalue()


@functools.cache
def make_plain(form: str) -> bytes:
    buffer, image = io.BytesIO(), Image.fromarray(PIXELS)
    if form == "PNG_16":
        return cv2.imencode(".png", DEEP)[1].tobytes()
    if form in ARRAYS:
        np.save(buffer, DEEP[..., 0].astype(np.float32))
        rows = DEEP[..., 0].astype(np.float32).tobytes()
        return {"npy": buffer.getvalue(), "pfm": b"Pf\n18 12\n-1.0\n" + rows, "npz": zip_npy(buffer.getvalue())}[form]
    options = {
        "JPEG": {"quality": 90},
        "WEBP": {"lossless": True},
        "TIFF": {"tiffinfo": dict.fromkeys(TIFF_METADATA[:5], 1) | {700: b"<x/>", 34665: 8, 0x0112: 1}},
        "TIFF_DEFLATE": {"compression": "tiff_deflate", "tiffinfo": {700: b"<x/>", 282: 1, 0x0112: 6}},
    }.get(form, {})
    image.save(buffer, form.partition("_")[0], **options)
    return buffer.getvalue()


@functools.cache
def read_plain(form: str) -> np.ndarray:
    if form == "PNG_16":
        return DEEP[..., 0]
    with Image.open(io.BytesIO(make_plain(form))) as image:
        return np.asarray(image.convert("RGB"))


def draw_chunk(kind: bytes, rng: random.Random) -> bytes:
    """The content of a chunk of a PNG."""
    text, key = draw_text(rng), rng.choice(KEYWORDS) + b"\0"
    match kind:
        case b"tEXt":
            return key + text
        case b"zTXt":
            return key + bytes([rng.choice((0, 0, 0, 7))]) + zlib.compress(text)
        case b"iTXt":
            return key + rng.choice((b"\0\0", b"\1\0", b"\1\1")) + b"\0\0" + zlib.compress(text)
        case b"iCCP":
            return b"icc\0" + bytes([rng.choice((0, 0, 3))]) + zlib.compress(rng.choice((draw_icc(rng), text)))
        case b"eXIf":
            return draw_exif(rng)
    return rng.randbytes(rng.randrange(30))


def spoil_png(data: bytes, rng: random.Random) -> bytes:
    """More chunks of metadata, before or behind the pixels."""
    chunks = b""
    for _ in range(rng.randint(1, 3)):
        kind = rng.choice(PNG_KINDS)
        body = draw_chunk(kind, rng)
        if rng.random() < 0.2:
            body = body[: rng.randrange(len(body) + 1)]
        checksum = zlib.crc32(kind + body) if rng.random() < 0.9 else rng.getrandbits(32)
        chunks += struct.pack(">I", len(body)) + kind + body + struct.pack(">I", checksum)
    place = 33 if rng.random() < 0.7 else data.rindex(b"IEND") - 4
    return data[:place] + chunks + data[place:]


def spoil_jpeg(data: bytes, rng: random.Random) -> bytes:
    """More segments of metadata, with JFIF's own or instead of it."""
    start = 2 + 2 + struct.unpack(">H", data[4:6])[0]
    segments = b""
    for _ in range(rng.randint(1, 3)):
        marker, body = rng.choice(
            (
                (0xE1, lambda: b"Exif\0\0" + draw_exif(rng)),
                (0xE1, lambda: b"Exif\0\0" + draw_exif(rng)),
                (0xE1, lambda: b"http://ns.adobe.com/xap/1.0/\0" + draw_text(rng)),
                (0xE2, lambda: b"ICC_PROFILE\0" + rng.randbytes(rng.randrange(3)) + draw_icc(rng)),
                (0xE2, lambda: b"MPF\0" + draw_exif(rng)),
                (0xED, lambda: b"Photoshop 3.0\0" + rng.choice((b"8BIM" + rng.randbytes(20), rng.randbytes(9)))),
                (0xE0, lambda: b"JFIF"[: rng.randrange(5)] + rng.randbytes(rng.randrange(12))),
                (0xFE, lambda: draw_text(rng)),
                (0xE5, lambda: rng.randbytes(20)),
            )
        )
        content = body()[:65_000]
        segments += bytes([0xFF, marker]) + struct.pack(">H", len(content) + 2) + content
    return data[:2] + (data[2:start] if rng.random() < 0.5 else b"") + segments + data[start:]


def spoil_tiff(data: bytes, rng: random.Random) -> bytes:
    """Other types, counts and values of entries that the pixels do not need."""
    spoilt = bytearray(data)
    (start,) = struct.unpack_from("<I", data, 4)
    (number,) = struct.unpack_from("<H", data, start)
    for place in range(start + 2, start + 2 + 12 * number, 12):
        if struct.unpack_from("<H", data, place)[0] in TIFF_METADATA and rng.random() < 0.5:
            struct.pack_into("<HII", spoilt, place + 2, rng.choice((*range(14), 99)), pick_number(rng), pick_number(rng))
    return bytes(spoilt)


def spoil_webp(data: bytes, rng: random.Random) -> bytes:
    """Metadata that Pillow writes without looking at them."""
    buffer = io.BytesIO()
    metadata = {"exif": draw_exif(rng), "xmp": draw_text(rng)[:5000], "icc_profile": draw_icc(rng)}
    with Image.open(io.BytesIO(data)) as image:
        image.save(buffer, "WEBP", lossless=True, **{name: metadata[name] for name in metadata if rng.random() < 0.6})
    return buffer.getvalue()


def flip_bytes(data: bytes, rng: random.Random) -> bytes:
    spoilt = bytearray(data)
    for _ in range(rng.randint(1, 8)):
        spoilt[min(int(rng.expovariate(1 / 60)), len(spoilt) - 1)] = rng.choice((0, 1, 127, 128, 255, rng.randrange(256)))
    return bytes(spoilt)


def cut(data: bytes, rng: random.Random) -> bytes:
    return data[: rng.randrange(len(data))]


def splice(data: bytes, rng: random.Random) -> bytes:
    place = rng.randrange(min(len(data), 200))
    return data[:place] + rng.randbytes(rng.randrange(20)) + data[place + rng.randrange(20) :]


METADATA_ALONE: dict[str, Callable[[bytes, random.Random], bytes]] = {
    "PNG": spoil_png,
    "PNG_16": spoil_png,
    "JPEG": spoil_jpeg,
    "TIFF": spoil_tiff,
    "TIFF_DEFLATE": spoil_tiff,
    "WEBP": spoil_webp,
}
FORMS = (*METADATA_ALONE, *ARRAYS, "GIF", "BMP", *({"AVIF"} & set(OPENED)))
ANYTHING = (flip_bytes, cut, splice)
NAMES = (
    b"photo",
    b"photo",
    b"caf\xe9",
    b"n" * 250,
    "\u202eo\u0301".encode(),
    b"esc\x1b[31m",
    b"a\nb",
    b"-",
    b"%s {0}",
    b"\xff\xfe",
)


def read_all(path: Path) -> dict[str, np.ndarray | UserError | tuple | None]:
    """What each reader of pictures returns or refuses."""
    found: dict = {}
    for read in (read_photo, read_rgb, read_values, read_rgba, measure_picture):
        try:
            found[read.__name__] = read(path)
        except UserError as error:
            found[read.__name__] = error
    return found


def is_the_photo(image: np.ndarray, plain: np.ndarray) -> bool:
    """Whether two pictures are the same in one of the eight orientations."""
    turned = [np.rot90(image, number) for number in range(4)]
    return any(np.array_equal(one, plain) or np.array_equal(one[:, ::-1], plain) for one in turned)


def judge(found: dict, path: Path, form: str, is_metadata_alone: bool) -> Outcome:
    errors = {name: error for name, error in found.items() if isinstance(error, UserError)}
    named = show_path(path)
    for name, error in errors.items():
        text = show_path(str(error))
        if not text.startswith(f"{named}: ") or "\n" in text.removeprefix(named):
            return Outcome("traceback", f"{name}: a line that does not name the file, or more than one: {text}")
    read = "read_values" if form in ("PNG_16", *ARRAYS) else "read_photo"
    if read in errors:
        if is_metadata_alone:
            return Outcome("traceback", f"{form}: its pixels are whole, but: {errors[read]}")
        return Outcome("refused", str(errors[read]))
    if is_metadata_alone and not is_the_photo(found[read], read_plain(form)):
        return Outcome("traceback", f"{form}: its pixels have changed")
    return Outcome("ran", "")


def try_photo(folder: Path, rng: random.Random) -> Outcome:
    form = rng.choice(FORMS)
    is_metadata_alone = form in METADATA_ALONE and rng.random() < 0.6
    spoil = METADATA_ALONE[form] if is_metadata_alone else rng.choice(ANYTHING)
    path = Path(os.fsdecode(os.fsencode(folder) + b"/" + rng.choice(NAMES) + (f".{form}" if form in ARRAYS else ".jpg").encode()))
    path.write_bytes(spoil(make_plain(form), rng))
    found: dict = {}
    try:
        outcome = run_in_process(print_errors_as_lines(lambda _: found.update(read_all(path))), [], SECONDS)
        return outcome if outcome.kind != "ran" else judge(found, path, form, is_metadata_alone)
    finally:
        path.unlink()


ENCODINGS = (
    "utf-8",
    "utf-8-sig",
    "latin-1",
    "cp1252",
    "utf-16",
    "utf-16-le",
    "utf-16-be",
    "utf-32",
    "utf-7",
    "cp037",
    "shift-jis",
)
ROW = ("rooms", "assets", "https://example.org/r.zip", "", "CC BY", "Çağrı; 東京", "")


def draw_table(rng: random.Random) -> str:
    separator, end = rng.choice(",;\t|"), rng.choice(("\n", "\r\n", "\r"))
    rows = [COLUMNS, *[ROW[: rng.choice((7, 7, 7, 3))] for _ in range(rng.randrange(3))]]
    return rng.choice(("", "", "sep=;\n", "\n")) + end.join(separator.join(row) for row in rows) + end


def draw_pack(rng: random.Random) -> str:
    values = (
        None,
        True,
        7,
        "a",
        [],
        {},
        [{}],
        {"thing": "person"},
        {"thing": {"kind": 3}},
        {"thing": {"pixels_per_m": "1"}},
        1e9,
    )
    return json.dumps(rng.choice((rng.choice(values), {rng.choice(("cutouts", "backgrounds", "x")): rng.choice(values)})))


def try_text(folder: Path, rng: random.Random) -> Outcome:
    name, draw, read = rng.choice(
        (
            ("sources.csv", draw_table, lambda path: read_registry(path, ("assets",))),
            ("pack.json", draw_pack, read_pack),
            ("params.yaml", lambda _: "seed: 0\nreport: {title: Küche 東京}\n", load_params),
        )
    )
    data = draw(rng).encode(rng.choice(ENCODINGS), "replace")
    path = folder / name
    path.write_bytes(flip_bytes(data, rng) if data and rng.random() < 0.3 else data)
    outcome = run_in_process(print_errors_as_lines(lambda _: read(path) and 0), [], SECONDS)
    if outcome.kind == "refused" and str(path) not in outcome.text:
        return Outcome("traceback", f"a line that does not name the file: {outcome.text}")
    return outcome


def test_spoilt_photos_and_texts_are_read_or_refused_in_a_line(tmp_path):
    warnings.simplefilter("ignore")
    tally = Tally()
    for case in range(count_cases(SHORT)):
        rng = random.Random(f"photos {case}")
        tally.add(case, (try_text if rng.random() < 0.1 else try_photo)(tmp_path, rng))
    tally.check("photos and texts")
    assert tally.counts["ran"] and tally.counts["refused"]


def write_spoilt(folder: Path, rng: random.Random, number: int, form: str) -> None:
    """Photos of which every second one has spoilt metadata alone, and the others are spoilt anyhow."""
    folder.mkdir(parents=True, exist_ok=True)
    for n in range(number):
        spoil = METADATA_ALONE[form] if n % 2 == 0 else rng.choice(ANYTHING)
        (folder / f"{n:02d}.{form.lower()}").write_bytes(spoil(make_plain(form), rng))


@pytest.mark.parametrize("form", ["PNG", "JPEG"])
def test_a_source_of_spoilt_photos_keeps_those_whose_pixels_are_whole(tmp_path, form):
    number = 8
    write_spoilt(tmp_path / "in/bg", random.Random(form), number, form)
    (tmp_path / "in/fg").mkdir()
    rgba = np.dstack([PIXELS, np.tile(np.arange(0, 252, 14, dtype=np.uint8), (12, 1))])
    for n in range(number):
        Image.fromarray(np.roll(rgba, n, axis=0)).save(tmp_path / f"in/fg/{n}.png")
    values = strip_source(load_params(PROJECT / "params.yaml").download).model_dump() | {
        "source": "assets",
        "path": str(tmp_path / "in"),
        "on_bad_sample": "skip",
    }
    record = fetch(DownloadParams(**values), tmp_path / "raw")
    assert (tmp_path / "raw" / RECORD).is_file()
    assert {path.stem for path in (tmp_path / "raw/bg").iterdir()} >= {f"{n:02d}" for n in range(0, number, 2)}
    skipped = {one["key"] for one in record["skipped"]}
    assert skipped <= {f"{n:02d}" for n in range(1, number, 2)}
    assert all(one["reason"].startswith("bg/") and "\n" not in one["reason"] for one in record["skipped"])


def test_predict_lists_each_of_a_folder_of_spoilt_photos(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    number = 12
    for form in ("PNG", "JPEG", "WEBP"):
        write_spoilt(tmp_path / "photos", random.Random(form), number, form)
    save_small_model(tmp_path / "m.safetensors")
    main(["predict", "photos", "--out", "out", "--model", "m.safetensors", "--device", "cpu"])
    index = json.loads((tmp_path / "out/predictions.json").read_text(encoding="utf-8"))
    predicted, failed = ({Path(one["photo"]).name for one in index[name]} for name in ("photos", "failed"))
    assert not predicted & failed
    assert predicted | failed == {path.name for path in (tmp_path / "photos").iterdir()}
    assert predicted >= {path.name for path in (tmp_path / "photos").iterdir() if int(path.stem) % 2 == 0}
