"""More cases of odd_data.py: values that are not what a set's other files, or its declaration, say."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from odd_cases import (
    HEIGHT,
    IN_MM,
    ITSELF,
    METRES,
    NUM_ROOMS,
    TRUE_DEPTH,
    WIDTH,
    Keys,
    make_assets,
    make_composites,
    make_depth,
    make_subfolder,
    paint_room,
    paint_thing,
    save,
    write_depth,
    write_jpeg_with_holes,
    write_mm,
)
from odd_data import Case, reads, refuses
from PIL import Image

Paint = Callable[[np.ndarray, int], np.ndarray]
RIGHT_MASKS = reads(num_composites=24, mask=0.25)


def make_painted(paint: Paint, **options: Any) -> Callable[[Path], Keys]:
    """Composites whose masks are painted from (foreground bool H x W, number from 0)."""

    def make(folder: Path) -> Keys:
        numbers = iter(range(1000))
        return make_composites(folder, lambda inside: Image.fromarray(paint(inside, next(numbers)), **options))

    return make


def make_jpeg_masks(paint: Paint) -> Callable[[Path], Keys]:
    def make(folder: Path) -> Keys:
        keys = make_painted(paint)(folder)
        for path in sorted((folder / "masks").iterdir()):
            Image.open(path).save(path.with_suffix(".jpg"), quality=90)
            path.unlink()
        return keys

    return make


def make_array_masks(convert: Callable[[np.ndarray], np.ndarray]) -> Callable[[Path], Keys]:
    def make(folder: Path) -> Keys:
        keys = make_painted(lambda inside, _: np.uint8(255) * inside)(folder)
        for path in sorted((folder / "masks").iterdir()):
            np.save(path.with_suffix(".npy"), convert(np.asarray(Image.open(path)) > 0))
            path.unlink()
        return keys

    return make


def paint_edge(inside: np.ndarray, edge: int, foreground: int) -> np.ndarray:
    """A mask with another value around its foreground, as for what nobody decided."""
    values = np.uint8(foreground) * inside
    values[(cv2.dilate(inside.astype(np.uint8), np.ones((9, 9))) > 0) & ~inside] = edge
    return values


def paint_with_alpha(inside: np.ndarray, colour: np.ndarray | int) -> np.ndarray:
    rgb = np.broadcast_to(np.asarray(colour, np.uint8), (*inside.shape, 3))
    return np.dstack([rgb, np.uint8(255) * inside])


def write_npz(**others: Any) -> Callable[[np.ndarray, Path], None]:
    return lambda metres, path: np.savez(path, depth=np.float32(metres), **others)


def write_blender(metres: np.ndarray, path: Path) -> None:
    """Several layers, two of them with a channel Z."""
    import OpenEXR

    header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
    half = metres.astype(np.float16)
    channels = {"View.Combined.R": half / 9, "View.Depth.Z": half, "View.Mist.Z": half / 20}
    OpenEXR.File(header, channels).write(str(path.with_suffix(".exr")))


def write_pfm_with_comment(metres: np.ndarray, path: Path) -> None:
    """Big-endian, which a positive scale says."""
    head = f"Pf\n# written by a tool\n{WIDTH} {HEIGHT}\n1.0\n".encode()
    path.with_suffix(".pfm").write_bytes(head + metres[::-1].astype(">f4").tobytes())


def write_top(metres: np.ndarray, path: Path) -> None:
    """What was not measured is 65535."""
    values = np.uint16(metres * 1000)
    values[5:15, 5:20] = 65535
    write_depth(values, path.with_suffix(".png"))


def write_one_in_centimetres(metres: np.ndarray, path: Path) -> None:
    write_depth(np.uint16(metres * (10 if path.name == "room2" else 1000)), path.with_suffix(".png"))


def write_one_blank(metres: np.ndarray, path: Path) -> None:
    write_depth(np.uint16(metres * (0 if path.name == "room2" else 1000)), path.with_suffix(".png"))


def write_false_colours(metres: np.ndarray, path: Path) -> None:
    write_depth(cv2.applyColorMap(np.uint8(metres * 25), cv2.COLORMAP_JET), path.with_suffix(".png"))


def make_cutouts(scale: float = 1.0, halo: int = 0) -> Callable[[Path], Keys]:
    """Discs on a large canvas with alpha scaled, and a faint halo of five times their size."""

    def make(folder: Path) -> Keys:
        keys = make_assets(folder)
        for number, path in enumerate(sorted((folder / "fg").iterdir())):
            thing, around = paint_thing(number, 300, 400), paint_thing(number, 300, 400, radius=100)
            alpha = np.maximum(thing[..., 3] * scale, around[..., 3] / 255 * halo)
            save(np.dstack([thing[..., :3], alpha.astype(np.uint8)]), path)
        return keys

    return make


def make_deep_only(folder: Path) -> Keys:
    keys = make_subfolder(folder)
    for path in sorted((folder / "bg").glob("*.png")):
        path.unlink()
    (folder / "bg/house").mkdir()
    shutil.move(folder / "bg/kitchen", folder / "bg/house/kitchen")
    return keys


def make_one_level_too_high(folder: Path) -> Keys:
    return make_assets(folder / "rooms") | {"path": str(folder)}


def make_rare_suffixes(folder: Path) -> Keys:
    """TGA, a bitmap of one bit and a picture for two eyes."""
    keys = make_assets(folder)
    save(paint_room(81), folder / "bg/tga.tga")
    save(paint_room(82)[..., 0] > 127, folder / "bg/bits.pbm")
    save(paint_room(83), folder / "bg/eyes.mpo", save_all=True, append_images=[Image.fromarray(paint_room(84))])
    return keys


def paint_photo(_: np.ndarray, number: int) -> np.ndarray:
    return paint_room(100 + number)[..., 0]


CASES = [
    Case("masks in the alpha channel, white", make_painted(lambda m, _: paint_with_alpha(m, 255)), RIGHT_MASKS),
    Case("masks in the alpha channel, black", make_painted(lambda m, _: paint_with_alpha(m, 0)), RIGHT_MASKS),
    Case("cut-outs as masks", make_painted(lambda m, n: paint_with_alpha(m, paint_room(n))), refuses("masks", "alpha")),
    Case(
        "masks of 0, 1 and an undecided 255",
        make_painted(lambda m, _: paint_edge(m, 255, 1)),
        refuses("masks", "foreground: [1]"),
    ),
    Case("trimaps", make_painted(lambda m, _: paint_edge(m, 128, 255)), reads("128", "trimaps", "foreground: [255]")),
    Case(
        "one mask of 0 and 1 among others",
        make_painted(lambda m, n: np.uint8(1 if n == 5 else 255) * m),
        reads("masks/mask6.png", "1 of 24"),
    ),
    Case(
        "half of the masks inverted",
        make_painted(lambda m, n: np.uint8(255) * (m ^ (n % 2 == 1))),
        reads("masks/mask2.png", "12 of 24", "invert these files"),
    ),
    Case(
        "JPEG masks of 0 and 1",
        make_jpeg_masks(lambda m, _: np.uint8(m)),
        refuses("masks/mask1.jpg", "PNG", unlike="set download"),
    ),
    Case(
        "coloured JPEG masks", make_jpeg_masks(lambda m, _: np.uint8([200, 0, 0]) * m[..., None]), refuses("PNG", "download.mask")
    ),
    Case("grey photos as masks", make_painted(paint_photo), reads("are these masks?")),
    Case("masks of 16 bits up to 255", make_painted(lambda m, _: np.uint16(255) * m), refuses("65535", "foreground: [255]")),
    Case("masks as boolean arrays", make_array_masks(lambda m: m), RIGHT_MASKS),
    Case("masks as arrays with NaN", make_array_masks(lambda m: np.where(m, 1, np.nan)), refuses("masks/mask1.npy", "NaN")),
    Case(
        "floating-point metres under a raw_max of 8 bits",
        make_depth(lambda z, path: np.save(path, np.float32(z)), METRES | {"raw_max": 255}),
        refuses("raw_max", "8.9", "metre"),
    ),
    Case(
        "millimetres under a raw_max of 65535",
        make_depth(write_mm, METRES | {"raw_max": 65535}),
        reads("raw_max", "65535", "millimetres"),
    ),
    Case(
        "normalised depth declared as metres",
        make_depth(lambda z, path: np.save(path, np.float32(z / z.max())), ITSELF),
        reads("normalised", "relative"),
    ),
    Case("depth with 65535 where nothing was measured", make_depth(write_top), reads("65535", "raw_unknown")),
    Case(
        "JPEG depth with an undeclared unknown 0",
        make_depth(write_jpeg_with_holes, METRES | {"raw_max": 255}),
        reads("raw_unknown"),
    ),
    Case("one depth map of another scale", make_depth(write_one_in_centimetres), reads("bg_depth/room2.png", "scale")),
    Case(
        "one depth map of which nothing is known",
        make_depth(write_one_blank, IN_MM | {"raw_unknown": 0}),
        reads("bg_depth/room2.png", f"1 of {NUM_ROOMS}"),
    ),
    Case(
        "depth of NaN alone",
        make_depth(lambda z, path: np.save(path, np.float32(z) * np.nan), ITSELF),
        refuses("NaN", unlike="none"),
    ),
    Case(
        "depth along an axis to the back",
        make_depth(lambda z, path: np.save(path, np.float32(-z)), ITSELF),
        refuses("room0", "-9"),
    ),
    Case("depth in false colours", make_depth(write_false_colours), refuses("room0.png", "false colours")),
    Case("depth and mask in an .npz", make_depth(write_npz(mask=np.ones((HEIGHT, WIDTH), bool)), ITSELF), TRUE_DEPTH),
    Case("depth and text in an .npz", make_depth(write_npz(camera=np.array("left"), k=np.eye(3)), ITSELF), TRUE_DEPTH),
    Case("layers of half floats in .exr", make_depth(write_blender, ITSELF), TRUE_DEPTH),
    Case("big-endian .pfm with a comment", make_depth(write_pfm_with_comment, ITSELF), TRUE_DEPTH),
    Case("depth in .txt", make_depth(lambda z, path: np.savetxt(path.with_suffix(".txt"), z)), refuses("4 .txt", ".npy")),
    Case("cut-outs with alpha of 0 and 1", make_cutouts(scale=1 / 255), refuses("fg/thing0.png", "1 of 255", "scale")),
    Case("cut-outs that are translucent everywhere", make_cutouts(scale=0.8), reads("fg/thing0.png", "translucent")),
    Case("cut-outs with residue of matting", make_cutouts(halo=20), reads(figure_px=40.0, canvas_px=46.0)),
    Case("cut-outs with a halo", make_cutouts(halo=60), reads("fg/thing0.png", "halo")),
    Case("only folders in folders", make_deep_only, refuses("3 files", "bg/house/kitchen", unlike="empty")),
    Case("a path one level too high", make_one_level_too_high, refuses("rooms/bg", "download.path")),
    Case("rare suffixes", make_rare_suffixes, reads(num_backgrounds=NUM_ROOMS + 3)),
]
