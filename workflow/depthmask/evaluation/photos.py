"""Predictions for photos from outside the data set, which have no truth and so no scores.

Shapes: photos are uint8 H x W x 3 of any size and aspect. A network that takes the bare background finds that of NAME.jpg
in NAME_background.jpg beside it (any of the suffixes).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps

from depthmask.batch import Batch
from depthmask.errors import UserError
from depthmask.evaluation.colours import find_depth_range, paint_depth, paint_mask
from depthmask.evaluation.grids import draw_grid
from depthmask.evaluation.score import Predict
from depthmask.files import write_json
from depthmask.sources.images import SUFFIXES
from depthmask.sources.layout import NAMES_SHOWN

CAPTIONS = {"image": "photo", "mask": "mask", "cutout": "cut out", "depth": "depth, near is yellow"}
BACKGROUND = "_background"  # at the end of a photo's stem: it is the bare background of another photo
BEHIND_CUTOUT = 255  # grey level that takes the background's place in the picture of the cut-out


@dataclass(frozen=True)
class Photo:
    name: str
    size_px: tuple[int, int]  # width and height before resizing
    image: np.ndarray
    background: np.ndarray | None = None


def list_photos(folder: Path) -> list[Path]:
    """The photos of a folder by name; other files in it, and folders, are left alone.

    Raises:
        UserError: there is no such folder.
    """
    if not folder.is_dir():
        raise UserError(f"evaluate.photos: {folder}: no such folder; make it, empty if there are no photos")
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and path.is_file() and path.name[0] != ".")


def keep_side(side_px: int) -> int:
    return side_px


def read_photo(
    path: Path, longest_side_px: int, background: Path | None = None, fit_side: Callable[[int], int] = keep_side
) -> Photo:
    """A photo, and its bare background in the same size.

    fit_side: from the side that keeps the aspect to the nearest one that the network takes, for both sides.

    Raises:
        UserError: a file is broken or is no picture, or the two are not of one aspect.
    """
    image, size_px = _read_resized(path, longest_side_px, fit_side)
    if background is None:
        return Photo(path.name, size_px, image)
    bare, _ = _read_resized(background, longest_side_px, fit_side)
    if bare.shape != image.shape:
        raise UserError(f"{background}: another aspect than {path.name}; take both photos from one place, with one camera")
    return Photo(path.name, size_px, image, bare)


def _read_resized(path: Path, longest_side_px: int, fit_side: Callable[[int], int]) -> tuple[np.ndarray, tuple[int, int]]:
    """Upright (EXIF), sRGB, enlarged or reduced so that the longest side is as asked; and its size before."""
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
    size = tuple(fit_side(max(1, round(side * scale))) for side in photo.size)
    resized = photo.resize(size, Image.Resampling.BOX if scale < 1 else Image.Resampling.BICUBIC)
    return np.asarray(resized), photo.size


def read_photos(folder: Path, longest_side_px: int, fit_side: Callable[[int], int] = keep_side) -> list[Photo]:
    """All photos of a folder, each with its background if that is there; see `list_photos` and `read_photo`.

    Raises:
        UserError: a background has no photo, or as the other two say.
    """
    paths = list_photos(folder)
    backgrounds = {path.stem.removesuffix(BACKGROUND): path for path in paths if path.stem.endswith(BACKGROUND)}
    photos = [path for path in paths if not path.stem.endswith(BACKGROUND)]
    orphans = sorted(backgrounds.keys() - {path.stem for path in photos})
    if orphans:
        raise UserError(
            f"{backgrounds[orphans[0]]}: the background of a photo that is not there; add {orphans[0]}.jpg or remove it"
        )
    return [read_photo(path, longest_side_px, backgrounds.get(path.stem), fit_side) for path in photos]


def write_predictions(
    folder: Path, photos: list[Photo], predict: Predict, max_depth: float, unit: str, *, background_input: bool
) -> tuple[int, str | None]:
    """Predict each photo and write its pictures, and index.json also when there are no photos, into an empty folder.

    Of photo.jpg: photo.jpg.mask.png (8 bit, probability x 255), photo.jpg.depth.png (16 bit, depth / max_depth x 65535),
    photo.jpg.picture.png (side by side), photo.jpg.photo.jpg and photo.jpg.depth_colours.jpg (for the report), all in the
    size that the network saw. Returns how many were predicted, and which were not and why.
    """
    entries = []
    usable = [photo for photo in photos if photo.background is not None or not background_input]
    lacking = [photo.name for photo in photos if photo.background is None and background_input]
    skipped = None
    if lacking:
        names = ", ".join(lacking[:NAMES_SHOWN]) + (" and others" if len(lacking) > NAMES_SHOWN else "")
        skipped = (
            f"the network takes the bare background too, and {len(lacking)} photos have no NAME{BACKGROUND} beside them: {names}"
        )
    for photo in usable:
        answer = predict(_make_batch(photo, background_input))
        mask_prob, depth = (values[0, 0].clamp(0, 1).numpy() for values in answer)
        entries.append(_write_photo(folder, photo, mask_prob, depth))
    index = {"unit": unit, "max_depth": max_depth, "skipped": skipped, "captions": CAPTIONS, "photos": entries}
    write_json(folder / "index.json", index)
    return len(entries), skipped


def _make_batch(photo: Photo, background_input: bool) -> Batch:
    """A batch of one, since photos differ in size; nothing is known of its maps."""
    image = _make_tensor(photo.image)
    unknown = torch.zeros_like(image[:, :1])
    background = _make_tensor(photo.background) if background_input else None
    return Batch(image, unknown, unknown, unknown.bool(), background, [photo.name])


def _make_tensor(image: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(image.copy()).permute(2, 0, 1)[None].float().div_(255)


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
