"""Sizes in metres, and the relief of cut-outs, where depth and focal length are known."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from depthmask.cutouts.edges import OPAQUE, take
from depthmask.cutouts.reading import SizeError
from depthmask.data.cutouts import Box
from depthmask.data.deep_pictures import turn_array
from depthmask.data.images import MASK_THRESHOLD, decode_depth, read_depth
from depthmask.params import DepthParams
from depthmask.point_clouds.camera import find_focal_px
from depthmask.sources.assets import RELIEF_STEPS_PER_METRE, RELIEF_ZERO

KNOWN_MIN = 0.5  # of a cut-out's pixels that must have a depth for its size to be known
FOOT_SHARE = 0.05  # of its height: the lowest rows, whose depth is that of the foot
TRIMMED_PERCENT = 2, 98  # a depth map's pixels at an outline are often those of what is behind


@dataclass(frozen=True)
class Optics:
    """The camera of all pictures. field_of_view_deg: across the longer side. The others are for the floor placement."""

    field_of_view_deg: float | None = None
    focal_px: float | None = None
    camera_height_m: float | None = None
    camera_pitch_rad: float | None = None

    def find_focal_px(self, height: int, width: int) -> float | None:
        """The focal length in pixels of a picture of that size; None if unknown."""
        if self.focal_px is not None or self.field_of_view_deg is None:
            return self.focal_px
        return find_focal_px(height, width, self.field_of_view_deg)

    def describe(self, height: int, width: int) -> dict[str, float]:
        """A background's keys in pack.json."""
        values = {
            "focal_px": self.find_focal_px(height, width),
            "camera_height_m": self.camera_height_m,
            "camera_pitch_rad": self.camera_pitch_rad,
        }
        return {key: round(value, 5) for key, value in values.items() if value is not None}


class Metres(NamedTuple):
    """A depth map in metres: float32 H x W, and where it is known. stored: as in the file, if it had to be turned."""

    depth: np.ndarray
    known: np.ndarray
    stored: np.ndarray | None = None


class Size(NamedTuple):
    """What is known of a cut-out. depth_m: median over its pixels."""

    pixels_per_m: float
    height_m: float
    depth_m: float


def read_metres(path: Path, scale: DepthParams, size: tuple[int, int], turn: Image.Transpose | None) -> Metres:
    """Read a depth map that fits a picture of that width and height; turned like the picture if only so it does.

    Raises:
        UserError: it cannot be read; SizeError: it has another size.
    """
    stored = read_depth(path, scale)
    is_turned = stored.shape != size[::-1] and turn is not None and stored.shape == size
    if is_turned:
        stored = turn_array(stored, turn)
    depth, known = decode_depth(stored, scale)
    if depth.shape != size[::-1]:
        raise SizeError(f"{path}: {depth.shape[1]} x {depth.shape[0]} px, the picture {size[0]} x {size[1]}")
    # what is at the maximum may be farther
    return Metres(depth * np.float32(scale.max), known & (depth < 1) & (depth > 0), stored if is_turned else None)


def measure(alpha: np.ndarray, box: Box, metres: Metres, focal_px: float) -> Size | None:
    """The size of a cut-out, whose alpha is that of its box; None if depth is unknown on most of it."""
    inside = alpha >= MASK_THRESHOLD
    depth, known = take(metres.depth, box, 0), take(metres.known, box, False) & inside
    if known.sum() < KNOWN_MIN * inside.sum():
        return None
    depth_m = float(np.median(depth[known]))
    rows = np.flatnonzero(inside.any(axis=1))
    pixels_per_m = focal_px / depth_m
    return Size(round(pixels_per_m, 5), round(float(rows[-1] + 1 - rows[0]) / pixels_per_m, 5), round(depth_m, 5))


def make_relief(alpha: np.ndarray, box: Box, metres: Metres | None) -> np.ndarray:
    """The relief as `source: assets` reads it: uint8 H x W of depth relative to the foot; flat where it is unknown."""
    relief = np.full(alpha.shape, RELIEF_ZERO, np.uint8)
    inside = alpha >= MASK_THRESHOLD
    if metres is None:
        return relief
    depth, known = take(metres.depth, box, 0), take(metres.known, box, False) & inside
    if known.sum() < KNOWN_MIN * inside.sum():
        return relief
    rows = np.flatnonzero(inside.any(axis=1))
    lowest = np.zeros_like(known)
    lowest[rows[-1] + 1 - max(1, round(FOOT_SHARE * len(rows))) : rows[-1] + 1] = True
    at_foot = depth[known & lowest] if (known & lowest).any() else depth[known]
    low, high = np.percentile(depth[known], TRIMMED_PERCENT)
    above = np.clip(np.where(known, depth, np.median(depth[known])), low, high) - np.median(at_foot)
    values = np.clip(np.round(RELIEF_ZERO + RELIEF_STEPS_PER_METRE * above), 0, OPAQUE)
    return np.where(alpha > 0, values, RELIEF_ZERO).astype(np.uint8)
