"""Random views of a training background: square crops, with the depth scaled as if the camera had moved closer.

To a camera of fixed field of view, a crop u times as wide as the full view (u <= 1) shows the same scene at u times the depth. So
one photo gives views from several distances and, off centre, in several directions. That the depth along the optical axis
changes with the direction (by less than 5 % up to 18 degrees) is neglected.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from depthmask.compose.compose import find_floor, measure_side
from depthmask.compose.fitting import pick, resize_area
from depthmask.compose.placing import Scene
from depthmask.data.sample import Background, Camera

# the meaning of each column of a sample's draws
WIDTH, ROW, COLUMN = range(3)
NUM_VIEW_DRAWS = 3


@dataclass(frozen=True)
class Panorama:
    """A whole background, no larger than its smallest view needs.

    image, depth, valid: H x W, as in `Background`; floor: H x W, where the floor is, or None. whole: height and width of the
    largest view. camera: of a view of size_px.
    """

    key: str
    image: np.ndarray
    depth: np.ndarray | None
    valid: np.ndarray | None
    floor: np.ndarray | None
    whole: tuple[float, float]
    camera: Camera | None
    depth_max: float


def prepare_panorama(
    background: Background, size_px: int, fit: str, depth_max: float, field_of_view_deg: float | None, view_min: float
) -> Panorama:
    """Shrink a background so far that its smallest view still has size_px; `fit` and field_of_view_deg as in a `Scene`."""
    height, width = background.image.shape[:2]
    side, camera = measure_side(background, field_of_view_deg), background.camera
    shrink = min(1.0, size_px / (view_min * side))
    new = [max(1, round(length * shrink)) for length in (height, width)]
    whole = (side * shrink, side * shrink) if fit == "crop" else tuple(map(float, new))
    image, depth, valid, floor = resize_area(background.image, *reversed(new)), background.depth, background.valid, None
    if depth is not None:
        depth, valid = pick(depth, *reversed(new)), pick(valid.astype(np.uint8), *reversed(new)).astype(bool)
        if camera is not None and fit == "crop":
            floor = np.zeros(new, bool)
            seen = replace(camera, focal_px=camera.focal_px * shrink)
            floor[tuple(find_floor(depth * depth_max, valid & (depth < 1), seen).T)] = True
    if camera is not None:
        camera = replace(camera, focal_px=camera.focal_px * size_px / side) if fit == "crop" else None
    return Panorama(background.key, image, depth, valid, floor, whole, camera, depth_max)


def take_view(panorama: Panorama, size_px: int, view_min: float, draws: np.ndarray) -> Scene:
    """The view of size_px that NUM_VIEW_DRAWS uniforms choose: view_min to 1 times the whole one's width, anywhere."""
    height, width = panorama.image.shape[:2]
    scale = view_min + (1 - view_min) * draws[WIDTH]
    high, wide = (max(1, min(round(scale * side), limit)) for side, limit in zip(panorama.whole, (height, width), strict=True))
    top, left = round(draws[ROW] * (height - high)), round(draws[COLUMN] * (width - wide))
    part = np.s_[top : top + high, left : left + wide]
    image = resize_area(panorama.image[part], size_px, size_px)
    depth = valid = floor_px = None
    if panorama.depth is not None:
        depth = pick(panorama.depth[part], size_px, size_px)
        np.multiply(depth, np.float32(scale), out=depth, where=depth < 1)  # 1 is that far or farther
        valid = pick(panorama.valid[part].astype(np.uint8), size_px, size_px).astype(bool)
        if panorama.floor is not None:
            floor_px = np.argwhere(pick(panorama.floor[part].astype(np.uint8), size_px, size_px))
    return Scene(panorama.key, image, depth, valid, panorama.camera, floor_px, panorama.depth_max)
