"""A folder of photos and a folder of masks: white, or what is not transparent, is the object; grey is its soft edge.

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
from depthmask.cutouts.folders import LABEL_SUFFIXES, PictureFolder, count_by_suffix, require_folder, separate, strip_suffix
from depthmask.cutouts.formats import Request
from depthmask.cutouts.label_pictures import require_size
from depthmask.cutouts.objects import EMPTY, INVERTED, MISSING, TWICE, UNREADABLE, Found, Picture, Problem, Reading, View, Wants
from depthmask.cutouts.reading import SizeError, read_opacity, read_values
from depthmask.data.images import MASK_THRESHOLD
from depthmask.sources.plausibility import CLASSES_MAX, FLAT_SHARE, GREY_SHARE
from depthmask.sources.value_statistics import GREY_LEVELS

MASK_SUFFIXES = (*LABEL_SUFFIXES, ".jpg", ".jpeg")
LOSSLESS = (".png", ".tif", ".tiff", ".bmp", ".gif")
WORD = r"[-_ ](mask|matte|alpha|seg)"
TAIL = re.compile(rf"({WORD})?([-_ ]\d+)?({WORD})?", re.IGNORECASE)
BLACK, WHITE = 0, 255
GREY_NOISE = 8  # levels by which the channels of a grey JPEG may differ
LEVELS_SHOWN = 6
SOLID_MIN = 0.99  # of the border pixels that an inverted mask covers


def read(request: Request) -> Reading:
    """Match masks and photos by name.

    Raises:
        UserError: a folder is missing, or no mask has the name of a photo.
    """
    root = require_folder(request.annotations, "--annotations", "folder of masks")
    photos = PictureFolder(require_folder(request.images, "--images", "folder that contains the photos"))
    masks = PictureFolder(root, MASK_SUFFIXES)
    separate(photos, masks)
    by_stem, by_base = defaultdict(list), defaultdict(list)
    for name in photos.files:
        by_stem[strip_suffix(name)].append(name)
        by_base[PurePosixPath(strip_suffix(name)).name].append(name)
    matched: dict[str, list[str]] = defaultdict(list)
    reading = Reading([], kinds={request.kind} if request.kind else None)
    for name in masks.files:
        found = _find_photos(name, by_stem, by_base)
        if not found:
            reading.problems.append(Problem(name, MISSING, "no photo of that name"))
        elif len(found) > 1:
            reading.problems.append(Problem(name, TWICE, f"could belong to {found[0]} and to {found[1]}"))
        else:
            matched[found[0]].append(name)
    if not matched:
        raise UserError(
            f"{root}: none of {len(masks.files)} masks has the name of one of {len(photos.files)} photos in {photos.folder};"
            " name them alike, such as dog.jpg and dog.png"
        )
    for photo, names in sorted(matched.items()):
        paths = tuple(masks.files[name] for name in names)
        objects = MaskFiles(paths, request.kind, request.invert)
        reading.pictures.append(Picture(photo, photos.files[photo], objects, inputs=paths, is_exhaustive=False))
    reading.unread = photos.list_unread(matched, "photos without a mask") + count_by_suffix(masks.others, root)
    return reading


def _find_photos(mask: str, by_stem: dict[str, list[str]], by_base: dict[str, list[str]]) -> list[str]:
    """The photo of a mask: of the same name, without a tail, or named as its folder; several if nothing tells which."""
    stem = PurePosixPath(strip_suffix(mask))
    base = stem.name
    names = [stem.parent / base[:end] for end in range(len(base), 0, -1) if TAIL.fullmatch(base[end:])]
    for name in [*names, stem.parent]:
        found = by_stem.get(name.as_posix()) or by_base.get(name.name)
        if found:
            return found
    return []


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
    opacity = read_opacity(path)
    if opacity is not None:
        return opacity
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
    is_deep = values.mode == "I" and levels[-1] > WHITE
    alpha = (numbers // 257 if is_deep else numbers).clip(0, WHITE).astype(np.uint8)
    advice = "read class numbers with the format labels and a --palette"
    if values.mode == "P" or (len(levels) > 2 and levels[-1] < MASK_THRESHOLD):
        raise UserError(f"{path}: has class numbers (up to {levels[-1]}); {advice}")
    if has_even_greys(alpha, is_lossless=path.suffix.lower() in LOSSLESS):
        listed = ", ".join(map(str, levels[:LEVELS_SHOWN])) + (", ..." if len(levels) > LEVELS_SHOWN else "")
        raise UserError(f"{path}: has even areas of grey ({listed}), like class numbers or a trimap; {advice}")
    return alpha


def has_even_greys(alpha: np.ndarray, is_lossless: bool) -> bool:
    """Whether a mask, uint8 H x W, has few values in even areas and not in soft edges: those of classes, or of a trimap.

    In a lossless file with black these may be as dark as 1, such as VOC's classes, whose void outline is white.
    """
    counts = np.bincount(alpha.ravel(), minlength=WHITE + 1)
    low, high = GREY_LEVELS
    is_exact = is_lossless and counts[BLACK] > 0 and not counts[high + 1 : WHITE].any()
    grey = (alpha > BLACK if is_exact else alpha >= low) & (alpha <= high)
    here, above, beside = alpha[1:, 1:], alpha[:-1, 1:], alpha[1:, :-1]
    num_grey, num_flat = np.count_nonzero(grey), np.count_nonzero(grey[1:, 1:] & (here == above) & (here == beside))
    is_even = num_grey > 0 and num_flat >= FLAT_SHARE * num_grey
    return is_even and np.count_nonzero(counts) <= CLASSES_MAX and num_grey > GREY_SHARE * np.count_nonzero(alpha)
