"""Background + cut-out + placement -> image, mask, depth.

Everything happens at the size that is trained or scored: `prepare_background` and `prepare_cutout` resize an asset once;
`placing.place` chooses where a cut-out goes; `compose` draws it into one sample of a batch, in place, after the clutter behind
it; `harmonizing` fits each cut-out to its background. Lengths are in pixels of the square composite of side S, depths 0..1 of
the source's maximum, unless a name says otherwise.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

import cv2
import numpy as np

from depthmask.compose.clutter import PlacedCutout
from depthmask.compose.fitting import crop_centre, pick, resize_area
from depthmask.compose.harmonizing import Finish, fit_to_background
from depthmask.compose.placing import THUMBNAIL_PX, Figure, Placement, Scene
from depthmask.data.batch import INSIDE, ByteBatch
from depthmask.data.sample import Background, Camera, Cutout

FLOOR_TOLERANCE_UNITS = 0.05  # how far from the floor plane a pixel may be and still count as floor
SHADOW_PX = 64  # size of the shadow's template, which is scaled to the size of a foot


def prepare_background(
    background: Background, size_px: int, fit: str, depth_max: float, field_of_view_deg: float | None = None
) -> Scene:
    """Resize a background to size_px x size_px; `fit` is crop (the centre) or stretch. Depth is resized without interpolation.

    field_of_view_deg: of the crop, if the camera is known and sees that much: without the focal length, which an image alone
    does not reveal, there is no depth in metres.
    """
    side = max(1, round(measure_side(background, field_of_view_deg)))
    part = crop_centre(background.image.shape, side) if fit == "crop" else np.s_[:, :]
    image = resize_area(background.image[part], size_px, size_px)
    depth = valid = camera = None
    if background.depth is not None:
        depth = pick(background.depth[part], size_px, size_px)
        valid = pick(background.valid[part].astype(np.uint8), size_px, size_px).astype(bool)
    if background.camera is not None and fit == "crop":
        camera = replace(background.camera, focal_px=background.camera.focal_px * size_px / side)
    floor_px = None
    if camera is not None and depth is not None:
        floor_px = find_floor(depth * depth_max, valid & (depth < 1), camera)
    return Scene(background.key, image, depth, valid, camera, floor_px, depth_max)


def measure_side(background: Background, field_of_view_deg: float | None) -> float:
    """Side in pixels of the largest square of a background that shows no more than that field of view, if its camera is known."""
    side = min(background.image.shape[:2])
    if field_of_view_deg is None or background.camera is None:
        return side
    return min(side, 2 * background.camera.focal_px * math.tan(math.radians(field_of_view_deg) / 2))


def find_floor(depth_units: np.ndarray, valid: np.ndarray, camera: Camera) -> np.ndarray:
    """Pixels (row, column), N x 2, whose depth puts them on the floor plane below a pin-hole camera."""
    size = depth_units.shape[0]
    slope = -(np.arange(size) + 0.5 - size / 2)[:, None] / camera.focal_px
    above = camera.height_m + depth_units * (math.sin(camera.pitch_rad) + slope * math.cos(camera.pitch_rad))
    return np.argwhere(valid & (np.abs(above) < FLOOR_TOLERANCE_UNITS))


def prepare_cutout(cutout: Cutout, size_px: int) -> Figure:
    """Premultiply alpha, and shrink cut-outs larger than the image, because they are nearly always drawn smaller."""
    rgba = cutout.rgba.copy()
    rgba[..., :3] = (rgba[..., :3].astype(np.uint16) * rgba[..., 3:] + 127) // 255
    height, width = rgba.shape[:2]
    shrink = min(1.0, size_px / max(height, width))
    relief = cutout.relief
    units = cutout.units_per_px
    size = None if units is None else (width * units, height * units)
    if shrink < 1:
        new_width, new_height = max(1, round(width * shrink)), max(1, round(height * shrink))
        rgba = resize_area(rgba, new_width, new_height)
        relief = None if relief is None else cv2.resize(relief, (new_width, new_height), interpolation=cv2.INTER_LINEAR)
    thumbnail = resize_area(np.ascontiguousarray(rgba[..., 3]), THUMBNAIL_PX, THUMBNAIL_PX) >= 128
    return Figure(cutout.key, cutout.kind, rgba, relief, *(size or (None, None)), thumbnail)


def compose(
    batch: ByteBatch,
    b: int,
    scene: Scene,
    figure: Figure,
    box: Placement,
    shadow: float,
    finish: Finish | None = None,
    clutter: Sequence[PlacedCutout] = (),
) -> None:
    """Draw the cut-out into sample b: alpha-blended image, mask = alpha, depth = the cut-out's at its place.

    Inside the mask (alpha >= 0.5) the depth is the foot's plus the relief, but never farther than the background there.
    `valid` is False where the cut-out's depth (or without any, the background's) is unknown.
    finish: fits the cut-out to the background. clutter: in drawing order; part of the scene, so drawn into the clean background
    too, with its depth, and mask 0.
    """
    image, mask, depth, valid = batch.image[b], batch.mask[b], batch.depth[b], batch.valid[b]
    _copy(scene.image, image, box.flip_background)
    if scene.depth is None:
        depth.fill(0), valid.fill(False)
    else:
        _copy(scene.depth, depth, box.flip_background)
        _copy(scene.valid.view(np.uint8), valid.view(np.uint8), box.flip_background)
    for placed in clutter:
        _draw_cutout(image, depth, valid, scene, placed, shadow)
    if batch.background is not None:
        batch.background[b] = image
    mask.fill(0)
    there, alpha = _draw_cutout(image, depth, valid, scene, PlacedCutout(figure, box, finish), shadow)
    mask[there] = alpha


def _draw_cutout(
    image: np.ndarray, depth: np.ndarray, valid: np.ndarray, scene: Scene, placed: PlacedCutout, shadow: float
) -> tuple[tuple[slice, slice], np.ndarray]:
    """Draw a cut-out into image, depth and valid; where it is, and its alpha there."""
    figure, box, finish = placed
    size, mirrored = image.shape[0], box.flip_background
    left = size - box.left_px - box.width_px if mirrored else box.left_px
    if box.on_floor and shadow:
        _draw_shadow(image, box._replace(left_px=left), shadow)
    margin = finish.margin_px if finish else 0
    left, top = left - margin, box.top_px - margin
    y0, y1 = max(0, top), min(size, top + box.height_px + 2 * margin)
    x0, x1 = max(0, left), min(size, left + box.width_px + 2 * margin)
    if y0 >= y1 or x0 >= x1:
        return np.s_[0:0, 0:0], np.empty((0, 0), np.uint8)
    there = np.s_[y0:y1, x0:x1]
    part = np.s_[y0 - top : y1 - top, x0 - left : x1 - left]
    flipped = box.flip_cutout != mirrored
    rgba = _draw_figure(figure.rgba_premultiplied, box, flipped, margin)
    if finish:
        rgba = fit_to_background(rgba, look_around(image, there), finish)
    rgba = rgba[part]
    alpha = rgba[..., 3]
    blend(image[there], rgba, alpha)
    relief = None if figure.relief is None else _draw_relief(figure.relief, box, flipped, margin)[part]
    _draw_depth(depth[there], valid[there], alpha >= INSIDE, scene, relief, box.foot_depth)
    return there, alpha


def look_around(image: np.ndarray, there: tuple[slice, slice]) -> np.ndarray:
    """The part of the image at a place and around it, up to half the place's sides away."""
    rows, columns = ((s.start, s.stop, (s.stop - s.start) // 2) for s in there)
    return image[max(0, rows[0] - rows[2]) : rows[1] + rows[2], max(0, columns[0] - columns[2]) : columns[1] + columns[2]]


def _copy(source: np.ndarray, target: np.ndarray, mirrored: bool) -> None:
    if mirrored:
        cv2.flip(source, 1, dst=target)
    else:
        np.copyto(target, source)


def _draw_figure(rgba: np.ndarray, box: Placement, flipped: bool, margin: int) -> np.ndarray:
    """Resize a cut-out to its box, with a transparent margin around it."""
    drawn = resize_area(rgba, box.width_px, box.height_px)
    return _pad(cv2.flip(drawn, 1) if flipped else drawn, margin, cv2.BORDER_CONSTANT)


def _draw_relief(relief: np.ndarray, box: Placement, flipped: bool, margin: int) -> np.ndarray:
    """Resize a relief to its box; the margin repeats the nearest values."""
    drawn = cv2.resize(relief, (box.width_px, box.height_px), interpolation=cv2.INTER_LINEAR)
    return _pad(cv2.flip(drawn, 1) if flipped else drawn, margin, cv2.BORDER_REPLICATE)


def _pad(pixels: np.ndarray, margin: int, border: int) -> np.ndarray:
    return cv2.copyMakeBorder(pixels, margin, margin, margin, margin, border) if margin else pixels


def blend(target: np.ndarray, rgba: np.ndarray, alpha: np.ndarray) -> None:
    """Blend premultiplied colours over the target; each of the two terms is rounded once."""
    clear = cv2.cvtColor(cv2.bitwise_not(alpha), cv2.COLOR_GRAY2RGB)
    behind = cv2.multiply(target, clear, scale=1 / 255)
    cv2.add(behind, cv2.cvtColor(rgba, cv2.COLOR_RGBA2RGB), dst=target)


def _draw_depth(
    depth: np.ndarray, valid: np.ndarray, inside: np.ndarray, scene: Scene, relief: np.ndarray | None, foot_depth: float | None
) -> None:
    """Write the cut-out's depth into views of the depth and valid maps."""
    if foot_depth is None:
        depth[inside], valid[inside] = 0, False
        return
    if relief is None:
        own = np.full(depth.shape, min(max(foot_depth, 0), 1), np.float32)
    else:
        own = relief * np.float32(1 / scene.depth_max)
        own += np.float32(foot_depth)
        np.maximum(own, 0, out=own)
        np.minimum(own, 1, out=own)
    np.minimum(own, depth, out=own, where=valid)
    np.copyto(depth, own, where=inside)
    if scene.depth is None:
        depth[inside] = 0
    else:
        valid |= inside


def _draw_shadow(image: np.ndarray, box: Placement, strength: float) -> None:
    """Darken a soft ellipse round the foot, as a contact shadow under a diffuse light."""
    size = image.shape[0]
    width, height = max(1, round(1.8 * box.width_px)), max(4, round(0.48 * box.width_px))
    left, top = round(box.left_px + (box.width_px - width) / 2), round(box.top_px + box.height_px - 0.5 - height / 2)
    y0, y1, x0, x1 = max(0, top), min(size, top + height), max(0, left), min(size, left + width)
    if y0 >= y1 or x0 >= x1:
        return
    light = cv2.resize(_make_light(strength), (width, height), interpolation=cv2.INTER_LINEAR)
    shaded = image[y0:y1, x0:x1]
    cv2.multiply(shaded, light[y0 - top : y1 - top, x0 - left : x1 - left], dst=shaded, dtype=cv2.CV_8U)


@lru_cache(maxsize=4)
def _make_light(strength: float) -> np.ndarray:
    """The remaining light under a Gaussian shadow, two standard deviations each way; three equal channels."""
    profile = np.exp(-np.square(np.linspace(-2, 2, SHADOW_PX, dtype=np.float32)))
    return np.repeat((1 - strength * np.outer(profile, profile)).astype(np.float32)[..., None], 3, axis=2)
