"""The cases of odd_data.py: what people have on disk, made small, and what is right."""

from __future__ import annotations

import gzip
import io
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from making_annotations import make_voc_colours
from odd_data import Case, Outcome, either, reads, refuses
from PIL import Image

HEIGHT, WIDTH, SIDE = 48, 64, 40
NUM_ROOMS, NUM_THINGS = 4, 6
Z_M = np.linspace(9, 2, HEIGHT)[:, None].repeat(WIDTH, 1)  # metres, the floor from far to near: the median is 5.5
MEDIAN_M = 5.5
METRES = {"unit": "metre", "polarity": "near_is_small", "max": 10.0}
IN_MM = METRES | {"raw_max": 10000}
ITSELF = METRES | {"raw_max": None}
Keys = dict[str, Any]


def paint_room(number: int) -> np.ndarray:
    """A picture with structure of its own, so that no two rooms are taken for copies; uint8 H x W x 3."""
    noise = np.random.default_rng(number).integers(0, 256, (6, 8, 3), np.uint8)
    return cv2.resize(noise, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)


def paint_thing(number: int, height: int = SIDE, width: int = SIDE, radius: float = SIDE / 2) -> np.ndarray:
    """A disc in the middle of a transparent canvas, uint8 H x W x 4."""
    rows, columns = np.mgrid[:height, :width]
    inside = np.hypot(rows - (height - 1) / 2, columns - (width - 1) / 2) < radius
    colour = np.random.default_rng(100 + number).integers(0, 256, (height, width, 3), np.uint8)
    return np.dstack([colour, np.uint8(255) * inside])


def save(array: np.ndarray, path: Path, **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, **options)
    return path


def write_depth(array: np.ndarray, path: Path) -> None:
    """16-bit PNG, by OpenCV, which keeps several channels of 16 bits."""
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), array)


def make_assets(folder: Path, depth: Callable[[np.ndarray, Path], None] | None = None, **things: Any) -> Keys:
    """Rooms, things and, by a writer of (metres, path without suffix), depth maps; returns the keys of download."""
    for number in range(NUM_ROOMS):
        save(paint_room(number), folder / f"bg/room{number}.png")
        if depth:
            (folder / "bg_depth").mkdir(exist_ok=True)
            depth(Z_M, folder / f"bg_depth/room{number}")
    for number in range(NUM_THINGS):
        save(paint_thing(number, **things), folder / f"fg/thing{number}.png")
    return {"source": "assets", "path": str(folder), "depth": IN_MM}


def write_mm(metres: np.ndarray, path: Path) -> None:
    write_depth(np.uint16(metres * 1000), path.with_suffix(".png"))


def make_composites(folder: Path, mask: Callable[[np.ndarray], Image.Image]) -> Keys:
    """Numbered composites whose masks, bool H x W, a quarter of the picture, are turned into a picture by `mask`."""
    inside = np.zeros((HEIGHT, WIDTH), bool)
    inside[HEIGHT // 4 : -HEIGHT // 4, WIDTH // 4 : -WIDTH // 4] = True
    for number in range(1, 25):
        save(paint_room(number), folder / f"images/fgbg{number}.png")
        save(np.uint8(Z_M * 25), folder / f"depth/fgbg{number}.png")
        (folder / "masks").mkdir(exist_ok=True)
        mask(inside).save(folder / f"masks/mask{number}.png")
    depth = {"unit": "relative", "polarity": "near_is_small", "max": 1.0, "raw_max": 255}
    return {"source": "flat_numbered", "path": str(folder), "composites_per_background": 4, "depth": depth}


def make_masks(values: np.ndarray | None = None, rule: Keys | None = None, **palette: Any) -> Callable[[Path], Keys]:
    """values: of background and foreground. palette: class: the index of the foreground in a VOC palette."""

    def paint(inside: np.ndarray) -> Image.Image:
        if values is not None:
            return Image.fromarray(np.asarray(values)[inside.astype(int)])
        picture = Image.fromarray(np.uint8(inside * palette["index"]), mode="P")
        picture.putpalette(make_voc_colours())
        return picture

    return lambda folder: make_composites(folder, paint) | ({"mask": rule} if rule else {})


def make_depth(write: Callable[[np.ndarray, Path], None], scale: Keys = IN_MM) -> Callable[[Path], Keys]:
    return lambda folder: make_assets(folder, write) | {"depth": scale}


def write_exr(metres: np.ndarray, path: Path) -> None:
    import OpenEXR

    header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
    OpenEXR.File(header, {"Z": np.float32(metres)}).write(str(path.with_suffix(".exr")))


def write_pfm(metres: np.ndarray, path: Path) -> None:
    """Rows from the bottom up; a negative scale says that the lowest byte comes first."""
    head = f"Pf\n{WIDTH} {HEIGHT}\n-1.0\n".encode()
    path.with_suffix(".pfm").write_bytes(head + metres[::-1].astype("<f4").tobytes())


def write_holes(metres: np.ndarray, path: Path) -> None:
    """A quarter is NaN, another infinite."""
    metres = metres.astype(np.float32)
    metres[:, : WIDTH // 4], metres[:, WIDTH // 4 : WIDTH // 2] = np.nan, np.inf
    np.save(path.with_suffix(".npy"), metres)


def write_jpeg_with_holes(metres: np.ndarray, path: Path) -> None:
    """Each second block of 12 pixels in a row is unknown, 0: compression rings around it."""
    values = np.uint8(metres * 25.5)
    values[:, (np.arange(WIDTH) // 12) % 2 == 1] = 0
    save(values, path.with_suffix(".jpg"), quality=75)


def make_formats(folder: Path) -> Keys:
    """The same rooms in every format that Pillow writes, and one in a subfolder."""
    keys = make_assets(folder)
    for suffix in ("tif", "bmp", "jfif", "avif", "jp2", "webp", "gif"):
        array = paint_room(hash_name(suffix))
        save(array, folder / f"bg/{suffix}.{suffix}", **({"format": "JPEG"} if suffix == "jfif" else {}))
    return keys


def hash_name(name: str) -> int:
    return 1000 + sum(map(ord, name))


def make_subfolder(folder: Path) -> Keys:
    keys = make_assets(folder)
    for number in range(3):
        save(paint_room(50 + number), folder / f"bg/kitchen/more{number}.jpg")
    return keys


def make_only(name: str, num: int = 3) -> Callable[[Path], Keys]:
    """Backgrounds that are nothing but files of this name; {} is a number."""

    def make(folder: Path) -> Keys:
        keys = make_assets(folder)
        for path in (folder / "bg").iterdir():
            path.unlink()
        for number in range(num):
            path = folder / "bg" / name.format(number)
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(b"\0\0\0\x18ftypheic" + bytes(100))
        return keys

    return make


def make_misspelt(folder: Path) -> Keys:
    keys = make_assets(folder, write_mm)
    (folder / "bg_depth").rename(folder / "bg_depths")
    return keys


def make_spoilt_photos(folder: Path) -> Keys:
    """JPEG with EXIF of -1/0 and with EXIF that is no TIFF; PNG with 2 MB of text."""
    keys = make_assets(folder)
    spoilt = struct.pack("<2sHIHHHIIIii", b"II", 42, 8, 1, 0x011A, 10, 1, 26, 0, -1, 0)
    for name, exif in (("rational", b"Exif\0\0" + spoilt), ("no_tiff", b"Exif\0\0no TIFF at all")):
        written = io.BytesIO()
        Image.fromarray(paint_room(hash_name(name))).save(written, "JPEG")
        data = written.getvalue()
        (folder / f"bg/{name}.jpg").write_bytes(data[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + data[2:])
    written = io.BytesIO()
    Image.fromarray(paint_room(7)).save(written, "PNG")
    data, text = written.getvalue(), b"Comment\0" + b"x" * 2_000_000
    chunk = struct.pack(">I", len(text)) + b"tEXt" + text + struct.pack(">I", zlib.crc32(b"tEXt" + text))
    (folder / "bg/text.png").write_bytes(data[:33] + chunk + data[33:])
    return keys


def zip_up(folder: Path, path: Path, name: Callable[[str], str] = str, **extra: bytes) -> None:
    """Pack a folder's files under names of a tool's making, and some more files."""
    files = sorted(file for file in folder.rglob("*") if file.is_file() and file != path)
    with zipfile.ZipFile(path, "w") as archive:
        for file in files:
            info = zipfile.ZipInfo("x")
            info.filename = name(file.relative_to(folder).as_posix())  # after the constructor, which would replace backslashes
            archive.writestr(info, file.read_bytes())
        for key, data in extra.items():
            archive.writestr(key.replace("_", "."), data)


def make_zip(name: Callable[[str], str], **extra: bytes) -> Callable[[Path], Keys]:
    def make(folder: Path) -> Keys:
        keys = make_assets(folder / "rooms")
        zip_up(folder / "rooms", folder / "rooms.zip", name, **extra)
        return keys | {"path": str(folder / "rooms.zip")}

    return make


def make_drive_parts(folder: Path) -> Keys:
    """As Google Drive splits a folder: archives that each hold some of the files, under the folder's name."""
    keys = make_assets(folder / "rooms")
    parts = folder / "parts"
    parts.mkdir()
    for number, kind in enumerate(("bg", "fg"), start=1):
        with zipfile.ZipFile(parts / f"rooms-20240101T101010Z-00{number}.zip", "w") as archive:
            for file in sorted((folder / "rooms" / kind).iterdir()):
                archive.write(file, f"rooms/{kind}/{file.name}")
    return keys | {"path": str(parts)}


def make_damaged_zip(folder: Path) -> Keys:
    keys = make_assets(folder / "rooms")
    (folder / "rooms/bg/room2.png").write_bytes((folder / "rooms/bg/room2.png").read_bytes()[:200])
    zip_up(folder / "rooms", folder / "rooms.zip")
    return keys | {"path": str(folder / "rooms.zip")}


def make_method(method: int) -> Callable[[Path], Keys]:
    """A zip that says that its members are packed by another method."""

    def make(folder: Path) -> Keys:
        keys = make_zip(str)(folder)
        path = folder / "rooms.zip"
        data = bytearray(path.read_bytes())
        for mark, offset in ((b"PK\3\4", 8), (b"PK\1\2", 10)):
            place = data.find(mark)
            while place >= 0:
                data[place + offset : place + offset + 2] = struct.pack("<H", method)
                place = data.find(mark, place + 4)
        path.write_bytes(data)
        return keys

    return make


def make_split_zip(folder: Path) -> Keys:
    """A zip in pieces, of which a tool wrote the last as .zip."""
    keys = make_zip(str)(folder)
    data, parts = bytearray((folder / "rooms.zip").read_bytes()), folder / "parts"
    end = data.rfind(b"PK\5\6")
    data[end + 4 : end + 8] = struct.pack("<HH", 2, 2)  # the end record is in the third piece, as the table of contents
    parts.mkdir()
    third = len(data) // 3
    for name, piece in (("z01", data[:third]), ("z02", data[third : 2 * third]), ("zip", data[2 * third :])):
        (parts / f"rooms.{name}").write_bytes(piece)
    return keys | {"path": str(parts)}


def make_long_name(folder: Path) -> Keys:
    return make_zip(lambda name: f"{name[:-4]}{'x' * 300}.png" if name == "bg/room1.png" else name)(folder)


def make_other(name: str, change: Callable[[bytes], bytes] = bytes) -> Callable[[Path], Keys]:
    """A zip under another name, or something else under the name of one."""

    def make(folder: Path) -> Keys:
        keys = make_zip(str)(folder)
        (folder / name).write_bytes(change((folder / "rooms.zip").read_bytes()))
        return keys | {"path": str(folder / name)}

    return make


def make_renamed(name: str) -> Callable[[Path], Keys]:
    def make(folder: Path) -> Keys:
        keys = make_assets(folder)
        (folder / "bg/room1.png").rename(folder / "bg" / name)
        return keys

    return make


def make_float_photo(folder: Path) -> Keys:
    keys = make_assets(folder)
    save(np.float32(Z_M / 10), folder / "bg/float.tif")
    return keys


def make_pack_json(text: str) -> Callable[[Path], Keys]:
    def make(folder: Path) -> Keys:
        keys = make_assets(folder)
        (folder / "pack.json").write_text(text)
        return keys

    return make


def judge_jpeg(outcome: Outcome) -> str | None:
    """What is known is what was written, within the compression's own error; nothing near a hole is measured as near 0."""
    wrong = reads(depth=MEDIAN_M)(outcome)
    known = outcome.found.get("known", 1.0)
    return wrong or (None if 0.05 < known < 0.5 else f"{known:.2f} of the pixels known, written were 0.56")


VOC, GREY = 15, 38
ALL_ROOMS = {"num_backgrounds": NUM_ROOMS, "num_cutouts": NUM_THINGS}
TRUE_DEPTH = reads(depth=MEDIAN_M, **ALL_ROOMS)
SEEN = either(TRUE_DEPTH, refuses("bg_depth"))
CASES = [
    Case("masks of 0 and 1", make_masks(np.uint8([0, 1])), either(reads(mask=0.25), refuses("masks", "download.mask"))),
    Case("masks of 0 and 1, declared", make_masks(np.uint8([0, 1]), {"foreground": [1]}), reads(mask=0.25)),
    Case("masks with a class number", make_masks(np.uint8([0, GREY])), refuses("masks", "38", "download.mask")),
    Case("masks with a class number, declared", make_masks(np.uint8([0, GREY]), {"foreground": [GREY]}), reads(mask=0.25)),
    Case("masks of 16 bits", make_masks(np.uint16([0, 65535])), reads(mask=0.25)),
    Case("inverted masks, declared", make_masks(np.uint8([255, 0]), {"invert": True}), reads(mask=0.25)),
    Case("palette masks of Pascal VOC", make_masks(index=VOC), refuses("masks", "15", "download.mask")),
    Case("palette masks of Pascal VOC, declared", make_masks(index=VOC, rule={"foreground": [VOC]}), reads(mask=0.25)),
    Case("depth in millimetres, 16-bit PNG", make_depth(write_mm), TRUE_DEPTH),
    Case(
        "depth as 16-bit RGB",
        make_depth(lambda z, path: write_depth(np.uint16(z * 1000)[..., None].repeat(3, 2), path.with_suffix(".png"))),
        SEEN,
    ),
    Case(
        "8-bit depth under a raw_max of 16 bits",
        make_depth(lambda z, path: write_depth(np.uint8(z * 25.5), path.with_suffix(".png")), METRES | {"raw_max": 20000}),
        either(reads("raw_max", "255"), refuses("raw_max", "255")),
    ),
    Case(
        "16-bit millimetres under a raw_max of 8 bits",
        make_depth(write_mm, METRES | {"raw_max": 255}),
        either(reads("raw_max"), refuses("raw_max")),
    ),
    Case(
        "JPEG depth with 0 as unknown", make_depth(write_jpeg_with_holes, METRES | {"raw_max": 255, "raw_unknown": 0}), judge_jpeg
    ),
    Case("depth as .npy", make_depth(lambda z, path: np.save(path, np.float32(z)), ITSELF), TRUE_DEPTH),
    Case("depth as .npz", make_depth(lambda z, path: np.savez(path, depth=np.float32(z)), ITSELF), TRUE_DEPTH),
    Case(
        "depth as floating-point .tif",
        make_depth(lambda z, path: save(np.float32(z), path.with_suffix(".tif")), ITSELF),
        TRUE_DEPTH,
    ),
    Case("depth as 16-bit .tif", make_depth(lambda z, path: save(np.uint16(z * 1000), path.with_suffix(".tif"))), TRUE_DEPTH),
    Case("depth as .exr", make_depth(write_exr, ITSELF), TRUE_DEPTH),
    Case("depth as .pfm", make_depth(write_pfm, ITSELF), TRUE_DEPTH),
    Case("depth with NaN and infinity", make_depth(write_holes, ITSELF), reads(depth=MEDIAN_M, known=0.5)),
    Case(
        "a cut-out on its photo's canvas", lambda f: make_assets(f, height=300, width=400), reads(figure_px=40.0, canvas_px=42.0)
    ),
    Case("formats beside .jpg and .png", make_formats, reads(num_backgrounds=NUM_ROOMS + 7)),
    Case("photos in a subfolder", make_subfolder, either(reads("kitchen", "3"), refuses("kitchen"))),
    Case("a misspelt folder", make_misspelt, either(reads("bg_depths"), refuses("bg_depths"))),
    Case("only HEIC that cannot be read", make_only("IMG_{}.HEIC"), refuses("IMG_", "bg")),
    Case("only files of an unknown suffix", make_only("{}.xyz"), refuses("3", ".xyz")),
    Case("only subfolders", make_only("kitchen/{}.jpg"), refuses("kitchen")),
    Case("spoilt EXIF, and 2 MB of text", make_spoilt_photos, reads(num_backgrounds=NUM_ROOMS + 3)),
    Case("pack.json is a list", make_pack_json("[1]"), refuses("pack.json")),
    Case("pack.json with a kind that is a number", make_pack_json('{"cutouts": {"thing0": {"kind": 3}}}'), refuses("pack.json")),
    Case("a zip with backslashes", make_zip(lambda name: name.replace("/", "\\")), reads(**ALL_ROOMS)),
    Case("a zip that climbs out by backslashes", make_zip(lambda name: "..\\" + name), refuses("rooms.zip", "outside")),
    Case("a top folder beside a README", make_zip(lambda name: f"rooms/{name}", README_md=b"hello"), reads(**ALL_ROOMS)),
    Case("two top folders, one in the other", make_zip(lambda name: f"rooms/rooms/{name}"), reads(**ALL_ROOMS)),
    Case("parts of a folder from Google Drive", make_drive_parts, reads(**ALL_ROOMS)),
    Case("a damaged photo in a zip", make_damaged_zip, refuses("rooms.zip", "bg/room2.png", unlike=".part")),
    Case("a zip with Deflate64", make_method(9), refuses("rooms.zip", "Deflate64", unlike="fetch it again")),
    Case("a split zip", make_split_zip, refuses("rooms.z", unlike="fetch it again")),
    Case("a zip without its suffix", make_other("all rooms"), refuses("rename it to all rooms.zip")),
    Case("a zip within gzip", make_other("a.tgz", gzip.compress), refuses("a.tgz", "no tar", unlike="fetch it again")),
    Case(
        "a server's answer as a zip",
        make_other("a.zip", lambda _: b'{"error": "AccessDenied"}'),
        refuses("a.zip", "AccessDenied", unlike="fetch it again"),
    ),
    Case("zeros as a zip", make_other("a.zip", lambda data: bytes(len(data))), refuses("a.zip", "zeros", "fetch it again")),
    Case("a zip with absolute paths", make_zip(lambda name: f"/home/me/{name}"), refuses("rooms.zip", "outside", "unpack it")),
    Case("a name that ends in a space", make_renamed("room1.png "), reads("bg/room1.png", "ends in a space")),
    Case("a name with a line end and one in emoji", make_renamed("\n\N{GRINNING FACE}.png"), reads(**ALL_ROOMS)),
    Case("a photo of floating-point pixels", make_float_photo, refuses("float.tif", "8 or 16 bits")),
    Case("pack.json with a misspelt section", make_pack_json('{"Cutouts": {}}'), reads("Cutouts", "did you mean cutouts")),
    Case("a name of 300 bytes in a zip", make_long_name, refuses("rooms.zip", "xxx")),
]
