"""Predictions for photos from outside the data set, which have no truth and so no scores.

Shapes: photos are uint8 H x W x 3 of any size and aspect.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps

from depthmask.dataset import Batch
from depthmask.errors import UserError
from depthmask.evaluation.colours import find_depth_range, paint_depth, paint_mask
from depthmask.evaluation.grids import draw_grid
from depthmask.evaluation.score import Predict
from depthmask.files import write_json

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
CAPTIONS = {"image": "photo", "mask": "mask", "cutout": "cut out", "depth": "depth, near is yellow"}
BEHIND_CUTOUT = 255  # grey level that takes the background's place in the picture of the cut-out


@dataclass(frozen=True)
class Photo:
    name: str
    size_px: tuple[int, int]  # width and height before resizing
    image: np.ndarray


def list_photos(folder: Path) -> list[Path]:
    """The photos of a folder by name; other files in it, and folders, are left alone.

    Raises:
        UserError: there is no such folder.
    """
    if not folder.is_dir():
        raise UserError(f"evaluate.photos: {folder}: no such folder; make it, empty if there are no photos")
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and path.is_file() and path.name[0] != ".")


def read_photo(path: Path, longest_side_px: int) -> Photo:
    """Upright (EXIF), sRGB, enlarged or reduced so that the longest side is as asked.

    Raises:
        UserError: the file is broken or is no picture.
    """
    try:
        with Image.open(path) as opened:
            photo = ImageOps.exif_transpose(opened)
            if photo.mode.startswith("I"):  # 16-bit grey
                photo = Image.fromarray((np.asarray(photo) / 257).round().clip(0, 255).astype(np.uint8))
            elif photo.has_transparency_data:
                photo = photo.convert("RGBA")
                photo = Image.alpha_composite(Image.new("RGBA", photo.size, "white"), photo)
            photo = photo.convert("RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UserError(f"{path}: cannot be read as a picture ({error}); replace or remove it") from error
    scale = longest_side_px / max(photo.size)
    size = tuple(max(1, round(side * scale)) for side in photo.size)
    resized = photo.resize(size, Image.Resampling.BOX if scale < 1 else Image.Resampling.BICUBIC)
    return Photo(path.name, photo.size, np.asarray(resized))


def read_photos(folder: Path, longest_side_px: int) -> list[Photo]:
    """All photos of a folder; see `list_photos` and `read_photo`."""
    return [read_photo(path, longest_side_px) for path in list_photos(folder)]


def write_predictions(
    folder: Path, photos: list[Photo], predict: Predict, max_depth: float, unit: str, skipped: str | None = None
) -> None:
    """Predict each photo and write its pictures, and index.json also when there are no photos, into an empty folder.

    Of photo.jpg: photo.jpg.mask.png (8 bit, probability x 255), photo.jpg.depth.png (16 bit, depth / max_depth x 65535),
    photo.jpg.picture.png (side by side), photo.jpg.photo.jpg and photo.jpg.depth_colours.jpg (for the report), all in the
    size that the network saw. `skipped` says why nothing is predicted.
    """
    entries = []
    for photo in [] if skipped else photos:
        answer = predict(_make_batch(photo))
        mask_prob, depth = (values[0, 0].clamp(0, 1).numpy() for values in answer)
        entries.append(_write_photo(folder, photo, mask_prob, depth))
    index = {"unit": unit, "max_depth": max_depth, "skipped": skipped, "captions": CAPTIONS, "photos": entries}
    write_json(folder / "index.json", index)


def _make_batch(photo: Photo) -> Batch:
    """A batch of one, since photos differ in size; nothing is known of its maps."""
    image = torch.from_numpy(photo.image.copy()).permute(2, 0, 1)[None].float().div_(255)
    unknown = torch.zeros_like(image[:, :1])
    return Batch(image, unknown, unknown, unknown.bool(), None, [photo.name])


def _write_photo(folder: Path, photo: Photo, mask_prob: np.ndarray, depth: np.ndarray) -> dict:
    alpha = mask_prob[..., None]
    pictures = {
        "image": photo.image,
        "mask": paint_mask(mask_prob),
        "cutout": np.round(photo.image * alpha + BEHIND_CUTOUT * (1 - alpha)).astype(np.uint8),
        "depth": paint_depth(depth, find_depth_range(depth, np.ones_like(depth, bool))),
    }
    files = {
        "mask": f"{photo.name}.mask.png",
        "depth": f"{photo.name}.depth.png",
        "picture": f"{photo.name}.picture.png",
        "image": f"{photo.name}.photo.jpg",
        "cutout": f"{photo.name}.cutout.jpg",
        "depth_colours": f"{photo.name}.depth_colours.jpg",
    }
    Image.fromarray(np.round(mask_prob * 255).astype(np.uint8)).save(folder / files["mask"], optimize=True)
    Image.fromarray(np.round(depth * 65535).astype(np.uint16)).save(folder / files["depth"])
    draw_grid([pictures], [photo.name], CAPTIONS).save(folder / files["picture"], optimize=True)
    for name, picture in (("image", "image"), ("cutout", "cutout"), ("depth_colours", "depth")):
        Image.fromarray(pictures[picture]).save(folder / files[name], quality=90, subsampling=0)
    height, width = photo.image.shape[:2]
    return {"name": photo.name, "photo_size_px": list(photo.size_px), "size_px": [width, height], "files": files}
