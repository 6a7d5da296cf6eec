"""Where each file of a composite goes, in each layout, and how `download` reads the folder back.

The five layouts of the published systems have one clean background for all composites of a background. So nothing that would
change it applies to them (`SHARED_OFF`), and background and cut-out are paired evenly: composite i is at place i // (backgrounds
x cut-outs) of its pair, and each pair has as many places as any other, or one more.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

SHARED_OFF: Mapping[str, Any] = {"flip_background": 0.0, "view_min": None, "clutter": 0}  # of the section compose
COLUMNS = 5  # places in a row, of the second system's grid of 4 x 5
NUMBERS_PER_PART = 80_000  # of an archive of the third system


@dataclass(frozen=True)
class Grid:
    """How many backgrounds, cut-outs, and places of a pair of them there are."""

    num_backgrounds: int
    num_cutouts: int
    num_places: int

    @classmethod
    def fit(cls, num_backgrounds: int, num_cutouts: int, count: int) -> Grid:
        """The smallest grid that holds `count` composites."""
        return cls(num_backgrounds, num_cutouts, -(-count // (num_backgrounds * num_cutouts)))

    @property
    def num_pairs(self) -> int:
        return self.num_backgrounds * self.num_cutouts


class Spot(NamedTuple):
    """A composite: its index, and the numbers of its background, its cut-out and its place, all from 0."""

    index: int
    background: int
    cutout: int
    place: int


Names = dict[str, str]  # the path, without suffix, of each kind: image, mask, depth, background


@dataclass(frozen=True)
class Layout:
    """source: the value of `download.source` that reads it. published: in the layout of a published system.

    name: the files of a composite. name_clean: the clean background of a number, where all composites of it share one; None:
    each composite has its own. declare: keys of `download` besides source, path and depth. masks_as_png: whether masks and depth
    are PNG even if images are JPEG. groups: keys of `split` that keep a background, and a cut-out, in one set.
    """

    source: str
    name: Callable[[Spot, Grid], Names]
    name_clean: Callable[[int], str] | None = None
    declare: Callable[[Grid], dict[str, Any]] = lambda grid: {}
    masks_as_png: bool = False
    groups: Mapping[str, str] | None = None

    @property
    def is_published(self) -> bool:
        return self.name_clean is not None


def _name_photo(spot: Spot, grid: Grid) -> Names:
    name = f"bg{spot.background + 1:04d}_fg{spot.cutout + 1:04d}_{spot.index:06d}"
    return {kind: f"{folder}/{name}" for kind, folder in _OF_PHOTOS.items()}


def _number(spot: Spot, grid: Grid) -> int:
    """From 1, ordered by background, cut-out and place."""
    return (spot.background * grid.num_cutouts + spot.cutout) * grid.num_places + spot.place + 1


def _declare_numbers(grid: Grid) -> dict[str, Any]:
    return {
        "composites_per_background": grid.num_cutouts * grid.num_places,
        "composites_per_cutout": grid.num_places,
        "backgrounds": "backgrounds",
    }


def _name_numbered(spot: Spot, grid: Grid) -> Names:
    number = f"{_number(spot, grid):06d}"
    return {"image": f"images/fgbg{number}", "mask": f"masks/mask{number}", "depth": f"depth/fgbg{number}"}


def _name_in_parts(spot: Spot, grid: Grid) -> Names:
    number = _number(spot, grid)
    part = f"data_Part{1 + (number - 1) // NUMBERS_PER_PART}"
    names = {"image": f"Fg-Bg/fg-bg{number}", "mask": f"Fg-Bg-Mask/fg-bg-mask{number}", "depth": f"Depth/depth{number}"}
    return {kind: f"{part}/{name}" for kind, name in names.items()}


def _name_nested(spot: Spot, grid: Grid) -> Names:
    folder = f"bg{spot.background + 1}/fg_{spot.cutout + 1}"
    kinds = {"image": "overlay", "mask": "mask", "depth": "depth"}
    return {kind: f"{folder}/{name}/{spot.place + 1}" for kind, name in kinds.items()}


def _name_in_full(spot: Spot, grid: Grid) -> Names:
    row, column = divmod(spot.place, COLUMNS)
    background = spot.background + 1
    name = f"bg{background}_{row + 1}_{column + 1}_fg_{spot.cutout + 1}"
    prefixes = {"image": "", "mask": "mask_", "depth": "depth_"}
    return {kind: f"{prefix}fgbg_{background}/{prefix}{name}" for kind, prefix in prefixes.items()}


def _name_in_four(spot: Spot, grid: Grid) -> Names:
    background = spot.background + 1
    name = f"f{spot.cutout + 1}_b{background}_{spot.place + 1}"
    tops = {"image": "OverlayedImages", "mask": "OverlayedMasks", "depth": "DepthImage"}
    return {kind: f"{top}/bg{background}/{name}" for kind, top in tops.items()}


_OF_PHOTOS = {"image": "images", "mask": "masks", "depth": "depth", "background": "background"}
_GROUPS = {"background_group": r"^bg\d+", "cutout_group": r"fg\d+"}

LAYOUTS: dict[str, Layout] = {
    "image_mask_depth": Layout("image_mask_depth", _name_photo, masks_as_png=True, groups=_GROUPS),
    "coco": Layout("image_mask_depth", _name_photo, masks_as_png=True, groups=_GROUPS),
    "flat_numbered": Layout("flat_numbered", _name_numbered, lambda b: f"backgrounds/bg{b + 1}", _declare_numbers),
    "nested": Layout("nested", _name_nested, lambda b: f"bg/bg{b + 1}"),
    "flat_named": Layout("flat_named", _name_in_full, lambda b: f"bg/bg{b + 1}", lambda grid: {"backgrounds": "bg"}),
    "parts": Layout("parts", _name_in_parts, lambda b: f"backgrounds/bg{b + 1}", _declare_numbers),
    "four_zips": Layout("four_zips", _name_in_four, lambda b: f"Background/room_{b + 1}", groups={"cutout_group": r"^f\d+"}),
}
