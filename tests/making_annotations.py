"""Made-up photos with figures, and their annotations in the formats that `depthmask cutouts` reads."""

from __future__ import annotations

import base64
import io
import json
import math
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import quoteattr

import numpy as np
from PIL import Image, ImageDraw

WIDTH, HEIGHT = 320, 240
COLOURS = {"person": (200, 60, 50), "dog": (60, 90, 200), "ball": (240, 220, 40)}
KINDS = tuple(COLOURS)


@dataclass(frozen=True)
class Figure:
    """A polygon of a kind; points are (x, y) in pixels of the photo."""

    kind: str
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Photo:
    name: str
    figures: tuple[Figure, ...] = ()
    size: tuple[int, int] = (WIDTH, HEIGHT)


def make_star(x: float, y: float, radius: float, corners: int = 7) -> tuple[tuple[float, float], ...]:
    """Corners alternately on two circles around a point."""
    radii = [radius, 0.6 * radius] * corners
    angles = [math.pi * number / corners for number in range(2 * corners)]
    return tuple((round(x + r * math.sin(a), 2), round(y - r * math.cos(a), 2)) for r, a in zip(radii, angles))


def make_photos(number: int = 12) -> list[Photo]:
    """Every third photo is empty; the others have a person, some a dog too, some one that is cut by the frame or tiny."""
    photos = []
    for i in range(number):
        figures = []
        if i % 3:
            figures.append(Figure("person", make_star(90 + 5 * (i % 8), 120, 60 + i % 5)))
            if i % 2:
                figures.append(Figure("dog", make_star(240, 150 - i, 36)))
            if i % 5 == 0:
                figures.append(Figure("person", make_star(300, 60, 50)))
            if i % 7 == 0:
                figures.append(Figure("ball", make_star(30, 30, 6)))
        photos.append(Photo(f"{i:06d}.jpg", tuple(figures)))
    return photos


def paint(photo: Photo, seed: int = 0) -> np.ndarray:
    """uint8 H x W x 3: a sloped, slightly noisy ground, and the figures in their colours."""
    width, height = photo.size
    rows, columns = np.mgrid[:height, :width]
    random = np.random.default_rng([seed, *photo.name.encode()])
    tint = random.integers(20, 90, 3)
    ground = np.stack([tint[0] + rows / 4, tint[1] + columns / 4, tint[2] + (rows + columns) / 8], axis=2)
    image = Image.fromarray((ground + random.integers(0, 12, ground.shape)).clip(0, 255).astype(np.uint8))
    draw = ImageDraw.Draw(image)
    for figure in photo.figures:
        draw.polygon(figure.points, fill=COLOURS[figure.kind])
    return np.array(image)


def save_photos(folder: Path, photos: list[Photo]) -> Path:
    for photo in photos:
        (folder / photo.name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(paint(photo)).save(folder / photo.name, quality=92)
    return folder


def draw_mask(figure: Figure, size: tuple[int, int] = (WIDTH, HEIGHT)) -> np.ndarray:
    """bool H x W by Pillow, whose outlines include the pixels that they touch."""
    mask = Image.new("1", size)
    ImageDraw.Draw(mask).polygon(figure.points, fill=1)
    return np.array(mask)


def make_coco(photos: list[Photo]) -> dict:
    """A COCO file as a mapping; licences alternate between two."""
    annotations = []
    for image_id, photo in enumerate(photos, 1):
        for figure in photo.figures:
            flat = [number for point in figure.points for number in point]
            xs, ys = flat[::2], flat[1::2]
            box = [min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)]
            annotations.append(
                {
                    "id": 100 + len(annotations), "image_id": image_id, "category_id": 1 + KINDS.index(figure.kind), "iscrowd": 0,
                    "segmentation": [flat], "bbox": box, "area": box[2] * box[3],
                }
            )  # fmt: skip
    return {
        "images": [
            {"id": i, "file_name": photo.name, "width": photo.size[0], "height": photo.size[1], "license": 1 + i % 2}
            for i, photo in enumerate(photos, 1)
        ],
        "annotations": annotations,
        "categories": [{"id": i, "name": kind} for i, kind in enumerate(KINDS, 1)],
        "licenses": [
            {"id": 1, "name": "CC BY 4.0", "url": "https://creativecommons.org/licenses/by/4.0/"},
            {"id": 2, "name": "CC0", "url": ""},
        ],
    }


def write_coco(folder: Path, photos: list[Photo], change=lambda data: None) -> Path:
    """instances.json and images/ in `folder`; change: applied to the mapping first."""
    save_photos(folder / "images", photos)
    data = make_coco(photos)
    change(data)
    (folder / "instances.json").write_text(json.dumps(data))
    return folder


def write_labelme(folder: Path, photos: list[Photo], *, embed: bool = False) -> Path:
    """A JSON file for each photo, beside it or with the photo inside."""
    save_photos(folder, photos)
    for photo in photos:
        path = folder / photo.name
        shapes = [
            {"label": f.kind, "points": [list(p) for p in f.points], "group_id": None, "shape_type": "polygon", "flags": {}}
            for f in photo.figures
        ]
        data = {
            "version": "5.5.0", "flags": {}, "shapes": shapes, "imagePath": path.name,
            "imageData": base64.b64encode(path.read_bytes()).decode() if embed else None,
            "imageHeight": photo.size[1], "imageWidth": photo.size[0],
        }  # fmt: skip
        path.with_suffix(".json").write_text(json.dumps(data))
        if embed:
            path.unlink()
    return folder


def make_cvat(photos: list[Photo]) -> str:
    """A file of CVAT for images 1.1."""
    lines = ['<?xml version="1.0" encoding="utf-8"?>', "<annotations>", "  <version>1.1</version>"]
    for i, photo in enumerate(photos):
        width, height = photo.size
        lines.append(f'  <image id="{i}" name={quoteattr(photo.name)} width="{width}" height="{height}">')
        for figure in photo.figures:
            points = ";".join(f"{x:.2f},{y:.2f}" for x, y in figure.points)
            lines.append(
                f'    <polygon label={quoteattr(figure.kind)} source="manual" occluded="0" points="{points}" z_order="0">'
            )
            lines.append("    </polygon>")
        lines.append("  </image>")
    return "\n".join([*lines, "</annotations>"])


def make_voc_colours() -> list[int]:
    """VOC's palette as Pillow takes it, by the algorithm of its development kit."""
    palette = []
    for index in range(256):
        red = green = blue = 0
        rest = index
        for shift in range(7, -1, -1):
            red |= (rest & 1) << shift
            green |= (rest >> 1 & 1) << shift
            blue |= (rest >> 2 & 1) << shift
            rest >>= 3
        palette += [red, green, blue]
    return palette


def save_palette(path: Path, numbers: np.ndarray) -> None:
    """A palette PNG in VOC's colours."""
    image = Image.new("P", numbers.shape[::-1])
    image.putdata(numbers.ravel().tolist())
    image.putpalette(make_voc_colours())
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)


VOC_CLASSES = {"person": 15, "dog": 12, "ball": 9}


def write_voc(folder: Path, photos: list[Photo], *, objects: bool = True) -> Path:
    """JPEGImages, SegmentationClass and SegmentationObject; outlines are void."""
    save_photos(folder / "JPEGImages", photos)
    for photo in photos:
        classes, numbers = (np.zeros(photo.size[::-1], np.uint8) for _ in range(2))
        for number, figure in enumerate(photo.figures, 1):
            image = Image.new("L", photo.size)
            ImageDraw.Draw(image).polygon(figure.points, fill=1, outline=2, width=3)
            mask = np.array(image)
            classes[mask == 1], numbers[mask == 1] = VOC_CLASSES[figure.kind], number
            classes[mask == 2] = numbers[mask == 2] = 255
        name = Path(photo.name).with_suffix(".png").name
        save_palette(folder / "SegmentationClass" / name, classes)
        if objects:
            save_palette(folder / "SegmentationObject" / name, numbers)
    return folder


def encode_png(mask: np.ndarray) -> str:
    """A bool mask as PNG in base64, as LabelMe stores it."""
    data = io.BytesIO()
    Image.fromarray(mask).save(data, "PNG")
    return base64.b64encode(data.getvalue()).decode()
