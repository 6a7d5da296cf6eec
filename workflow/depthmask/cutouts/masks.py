"""A folder of photos and a folder of masks: white or opaque is the object, grey is its soft edge.

masks/NAME.png            the mask of images/NAME.jpg
masks/NAME_2.png          another object in it; _mask, -mask and numbers at the end of a name are ignored
masks/NAME/ANYTHING.png   likewise
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from depthmask.base.errors import UserError
from depthmask.cutouts.folders import LABEL_SUFFIXES, PictureFolder, require_folder, strip_suffix
from depthmask.cutouts.formats import Request
from depthmask.cutouts.label_pictures import require_size
from depthmask.cutouts.objects import EMPTY, INVERTED, MISSING, UNREADABLE, Found, Picture, Problem, Reading, View, Wants
from depthmask.cutouts.reading import SizeError, read_values
from depthmask.data.images import MASK_THRESHOLD

MASK_SUFFIXES = (*LABEL_SUFFIXES, ".jpg", ".jpeg")
WORD = r"[-_ ](mask|matte|alpha|seg)"
TAIL = re.compile(rf"({WORD})?([-_ ]\d+)?({WORD})?", re.IGNORECASE)
BLACK, WHITE = 0, 255
GREY_NOISE = 8  # levels by which the channels of a grey JPEG may differ
SOLID_MIN = 0.99  # of the border pixels that an inverted mask covers


def read(request: Request) -> Reading:
    """Match masks and photos by name.

    Raises:
        UserError: a folder is missing, or no mask has the name of a photo.
    """
    root = require_folder(request.annotations, "--annotations", "folder of masks")
    photos = PictureFolder(require_folder(request.images, "--images", "folder that contains the photos"))
    masks = PictureFolder(root, MASK_SUFFIXES)
    by_stem = {strip_suffix(name): name for name in photos.files}
    by_base: dict[str, list[str]] = defaultdict(list)
    for stem, name in by_stem.items():
        by_base[PurePosixPath(stem).name].append(name)
    matched: dict[str, list[str]] = defaultdict(list)
    reading = Reading([], kinds={request.kind} if request.kind else None)
    for name in masks.files:
        photo = _find_photo(name, by_stem, by_base)
        if photo is None:
            reading.problems.append(Problem(name, MISSING, "no photo of that name"))
        else:
            matched[photo].append(name)
    if not matched:
        raise UserError(
            f"{root}: none of {len(masks.files)} masks has the name of one of {len(photos.files)} photos in {photos.folder};"
            " name them alike, such as dog.jpg and dog.png"
        )
    for photo, names in sorted(matched.items()):
        paths = tuple(masks.files[name] for name in names)
        objects = MaskFiles(paths, request.kind, request.invert)
        reading.pictures.append(Picture(photo, photos.files[photo], objects, inputs=paths, is_exhaustive=False))
    reading.unread = photos.list_unread(matched, "photos without a mask")
    return reading


def _find_photo(mask: str, by_stem: dict[str, str], by_base: dict[str, list[str]]) -> str | None:
    """The photo of a mask: of the same name, without a tail, or named as its folder."""
    stem = PurePosixPath(strip_suffix(mask))
    base = stem.name
    names = [stem.parent / base[:end] for end in range(len(base), 0, -1) if TAIL.fullmatch(base[end:])]
    for name in [*names, stem.parent]:
        if name.as_posix() in by_stem:
            return by_stem[name.as_posix()]
        if len(by_base.get(name.name, [])) == 1:
            return by_base[name.name][0]
    return None


@dataclass(frozen=True)
class MaskFiles:
    """Each file is the mask of an object."""

    paths: tuple[Path, ...]
    kind: str | None
    invert: bool

    def find(self, view: View, wants: Wants) -> Iterator[Found]:
        for path in self.paths:
            try:
                alpha = read_alpha(path)
                require_size(path, alpha, view)
            except SizeError:
                raise
            except UserError as error:
                yield Found(path.name, self.kind, fault=UNREADABLE, detail=str(error))
                continue
            alpha = WHITE - alpha if self.invert else alpha
            if not (alpha >= MASK_THRESHOLD).any():
                yield Found(path.name, self.kind, fault=EMPTY)
            elif np.mean(_take_border(alpha) >= MASK_THRESHOLD) >= SOLID_MIN and (alpha < MASK_THRESHOLD).any():
                yield Found(path.name, self.kind, fault=INVERTED, detail="set --invert if so")
            else:
                yield Found(path.name, self.kind, alpha)


def _take_border(alpha: np.ndarray) -> np.ndarray:
    return np.concatenate([alpha[0], alpha[-1], alpha[:, 0], alpha[:, -1]])


def read_alpha(path: Path) -> np.ndarray:
    """A mask as uint8 H x W: 0 and 1, or 0 and another value, become 0 and 255; 16 bits become 8.

    Raises:
        UserError: it cannot be read, is in colour, or has class numbers.
    """
    values = read_values(path)
    numbers = values.numbers
    if values.is_colour:
        channels = np.stack([numbers >> 16, numbers >> 8 & 255, numbers & 255])
        if np.ptp(channels, axis=0).max() > GREY_NOISE:
            raise UserError(f"{path}: is in colour; read colours with the format labels and a --palette")
        numbers = channels[0]
    levels = np.unique(numbers)
    if len(levels) == 2 and levels[0] == BLACK:
        return np.where(numbers > 0, WHITE, BLACK).astype(np.uint8)
    if values.mode == "P" or (len(levels) > 2 and levels[-1] < MASK_THRESHOLD):
        raise UserError(f"{path}: has class numbers (up to {levels[-1]}); read them with the format labels and a --palette")
    if values.mode == "I" and levels[-1] > WHITE:
        return (numbers // 257).clip(0, WHITE).astype(np.uint8)
    return numbers.clip(0, WHITE).astype(np.uint8)
