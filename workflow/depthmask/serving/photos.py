"""Predictions for photos from outside the data set, which have no truth and so no scores.

A network that takes the clean background finds that of NAME.jpg in NAME_background.jpg beside it (any of the suffixes).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from depthmask.base.errors import UserError
from depthmask.base.files import write_json
from depthmask.base.paths import validate_path
from depthmask.pictures.grids import draw_grid
from depthmask.serving.pictures import CAPTIONS, declare_depth, paint_photo, save_depth, save_mask
from depthmask.serving.predictor import Predictor, Shrunk
from depthmask.serving.selection import BACKGROUND, is_photo
from depthmask.sources.layout import NAMES_SHOWN


@dataclass(frozen=True)
class Photo:
    """A photo from outside: its file's name, and the photo (with its background) in the network's size."""

    name: str
    shrunk: Shrunk


def read_photos(folder: Path, predictor: Predictor) -> tuple[list[Photo], str | None]:
    """The photos of a folder by name, in the network's size; and which lack the background that the network takes.

    Other files in it, and folders, are left alone.

    Raises:
        UserError: there is no such folder, a file is broken or a pipe, a background has no photo or another aspect.
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
        raise UserError(
            f"{backgrounds[orphans[0]]}: the background of a photo that is not there; add {orphans[0]}.jpg or remove it"
        )
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
        f"the network takes the clean background too, and {len(lacking)} photos have no NAME{BACKGROUND} beside them: {names}"
    )


def write_predictions(folder: Path, photos: list[Photo], skipped: str | None, predictor: Predictor) -> None:
    """Predict each photo and write its pictures, and index.json also when there are no photos, into an empty folder.

    Of photo.jpg: photo.jpg.mask.png and photo.jpg.depth.png (see serving.pictures), photo.jpg.picture.png (side by side),
    photo.jpg.photo.jpg and photo.jpg.depth_colours.jpg (for the report), all in the size that the network saw.
    """
    entries = [_write_photo(folder, photo, predictor) for photo in photos]
    depth = declare_depth(predictor.card)
    write_json(
        folder / "index.json",
        {"unit": depth["unit"], "depth_max": depth["max"], "skipped": skipped, "captions": CAPTIONS, "photos": entries},
    )


def _write_photo(folder: Path, photo: Photo, predictor: Predictor) -> dict:
    image, background = photo.shrunk.for_depth
    prediction = predictor.predict(image, background)
    files = {
        "mask": f"{photo.name}.mask.png",
        "depth": f"{photo.name}.depth.png",
        "picture": f"{photo.name}.picture.png",
        "image": f"{photo.name}.photo.jpg",
        "cutout": f"{photo.name}.cutout.jpg",
        "depth_colours": f"{photo.name}.depth_colours.jpg",
    }
    save_mask(folder / files["mask"], prediction.mask)
    save_depth(folder / files["depth"], prediction, declare_depth(predictor.card))
    pictures = paint_photo(image, prediction.mask, prediction.depth / np.float32(prediction.depth_max))
    draw_grid([pictures], [photo.name], CAPTIONS).save(folder / files["picture"], optimize=True)
    for name, picture in (("image", "image"), ("cutout", "cutout"), ("depth_colours", "depth")):
        Image.fromarray(pictures[picture]).save(folder / files[name], quality=90, subsampling=0)
    height, width = image.shape[:2]
    return {"name": photo.name, "photo_size_px": list(photo.shrunk.size_px), "size_px": [width, height], "files": files}
