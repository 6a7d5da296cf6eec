"""Predicts your own photos, which have no ground truth and so no scores.

For a network that takes the clean background, that of NAME.jpg is NAME_background.jpg beside it (with any suffix).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from depthmask.base.errors import UserError
from depthmask.base.files import write_json
from depthmask.base.paths import NAME_BYTES_MAX, make_result_name, show_path, validate_path
from depthmask.data.formats import describe_unread_photos, is_unread_photo
from depthmask.pictures.grids import draw_grid
from depthmask.serving.pictures import CAPTIONS, declare_depth, paint_photo, save_depth, save_mask
from depthmask.serving.predictor import Predictor, Shrunk
from depthmask.serving.selection import BACKGROUND, is_photo
from depthmask.sources.layout import NAMES_SHOWN

ENDINGS = {
    "mask": ".mask.png",
    "depth": ".depth.png",
    "picture": ".picture.png",
    "image": ".photo.jpg",
    "cutout": ".cutout.jpg",
    "depth_colours": ".depth_colours.jpg",
}


@dataclass(frozen=True)
class Photo:
    """A photo: its file name, and its pixels (with background) at the network's size."""

    name: str
    shrunk: Shrunk


def find_unread(folder: Path) -> str | None:
    """A line about photos in a folder in formats that are not read; None if there are none."""
    return describe_unread_photos(sorted(path.name for path in folder.iterdir() if is_unread_photo(path.name)))


def read_photos(folder: Path, predictor: Predictor) -> tuple[list[Photo], str | None]:
    """Read the photos in a folder by name, at the network's size; also returns which ones lack a required background.

    Other files and folders are ignored.

    Raises:
        UserError: the folder is missing, a file is broken or a pipe, or a background has no photo or another aspect ratio.
    """
    if not folder.is_dir():
        raise UserError(f"evaluate.photos: {folder}: no such folder; make it, empty if there are no photos")
    for path in folder.iterdir():
        validate_path(path)
    paths = sorted(path for path in folder.iterdir() if is_photo(path))
    backgrounds = {path.stem.removesuffix(BACKGROUND): path for path in paths if path.stem.endswith(BACKGROUND)}
    paths = [path for path in paths if not path.stem.endswith(BACKGROUND)]
    orphans = sorted(backgrounds.keys() - {path.stem for path in paths})
    if orphans:
        raise UserError(f"{backgrounds[orphans[0]]}: background without a photo; add {orphans[0]}.jpg, or remove it")
    lacking = [path.name for path in paths if path.stem not in backgrounds] if predictor.background_input else []
    photos = [
        Photo(path.name, predictor.shrink(path, backgrounds.get(path.stem) if predictor.background_input else None))
        for path in paths
        if path.name not in lacking
    ]
    if not lacking:
        return photos, None
    names = ", ".join(lacking[:NAMES_SHOWN]) + (" and others" if len(lacking) > NAMES_SHOWN else "")
    return photos, (
        f"the network needs the clean background, but {len(lacking)} photos have no NAME{BACKGROUND} beside them: {names}"
    )


def write_predictions(folder: Path, photos: list[Photo], skipped: str | None, predictor: Predictor) -> None:
    """Predict each photo and write its images and index.json (even without photos) to an empty folder.

    For photo.jpg: photo.jpg.mask.png and photo.jpg.depth.png (see serving.pictures), photo.jpg.picture.png (side by side),
    photo.jpg.photo.jpg and photo.jpg.depth_colours.jpg (for the report), all at the size seen by the network.
    """
    entries = [_write_photo(folder, photo, predictor) for photo in photos]
    depth = declare_depth(predictor)
    write_json(
        folder / "index.json",
        {"unit": depth["unit"], "depth_max": depth["max"], "skipped": skipped, "captions": CAPTIONS, "photos": entries},
    )


def _write_photo(folder: Path, photo: Photo, predictor: Predictor) -> dict:
    image, background = photo.shrunk.for_depth
    prediction = predictor.predict(image, background)
    # DVC, which stores the results, takes only names in UTF-8
    name = make_result_name(photo.name, NAME_BYTES_MAX - max(map(len, ENDINGS.values())))
    files = {kind: name + ending for kind, ending in ENDINGS.items()}
    save_mask(folder / files["mask"], prediction.mask)
    save_depth(folder / files["depth"], prediction, declare_depth(predictor))
    pictures = paint_photo(image, prediction.mask, prediction.depth / np.float32(prediction.depth_max))
    draw_grid([pictures], [show_path(photo.name)], CAPTIONS).save(folder / files["picture"])
    for kind, picture in (("image", "image"), ("cutout", "cutout"), ("depth_colours", "depth")):
        Image.fromarray(pictures[picture]).save(folder / files[kind], quality=90, subsampling=0)
    height, width = image.shape[:2]
    return {
        "name": show_path(photo.name),
        "photo_size_px": list(photo.shrunk.size_px),
        "size_px": [width, height],
        "files": files,
    }
