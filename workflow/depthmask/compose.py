"""Background + cut-out + placement -> image, mask, depth.

All of it happens at the size that is trained or scored: `prepare_background` and `prepare_cutout` bring an asset to that
size once; `place_*` choose where a cut-out goes, from a keyed generator; `compose` draws it. Lengths are in pixels of the
composed square picture of side S, depths 0..1 of the source's maximum unless a name says otherwise.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import cv2
import numpy as np

from depthmask.params import ComposeParams
from depthmask.sample import Background, Camera, Cutout, Sample

FLOOR_TOLERANCE_UNITS = 0.05  # how far from the floor plane a pixel may lie and still be floor
FLOOR_CANDIDATES = 8  # floor pixels tried for one placement
HIDDEN_ALLOWED = 0.1  # part of a cut-out that may stand behind nearer things before another pixel is tried
HIDDEN_TOLERANCE_UNITS = 0.3  # relief of the things themselves: nearer by less than this does not hide
STANDING_HEIGHT_MIN, STANDING_HEIGHT_MAX = 0.1, 1.5  # of S: smaller is a speck, larger is a wall of cloth
THUMBNAIL_PX = 8  # the alpha's resolution for the question what is hidden
GRID_ROWS, GRID_COLUMNS = 4, 5
GRID_SIDES = (60 / 150, 70 / 150, 80 / 150, 90 / 150)  # of S, from the highest row to the lowest
GRID_FEET = (0.55, 0.7, 0.85, 1.0)  # of S: where the cut-out of each row stands


@dataclass(frozen=True)
class Scene:
    """A background at the composed size. depth, valid: S x S or None; floor_px: N x 2 (row, column) of visible floor."""

    key: str
    image: np.ndarray
    depth: np.ndarray | None
    valid: np.ndarray | None
    camera: Camera | None
    floor_px: np.ndarray | None
    depth_max: float


@dataclass(frozen=True)
class Figure:
    """A cut-out ready to be drawn: premultiplied uint8 RGBA no larger than it is ever drawn, in its own pixels."""

    key: str
    kind: str | None
    rgba_premultiplied: np.ndarray
    relief: np.ndarray | None
    width_units: float | None
    height_units: float | None
    thumbnail: np.ndarray

    @property
    def aspect(self) -> float:
        """Width over height."""
        return self.rgba_premultiplied.shape[1] / self.rgba_premultiplied.shape[0]


@dataclass(frozen=True)
class Placement:
    """Where a cut-out goes: its box (whole pixels, may lie partly outside), the depth of its foot (None: unknown)."""

    left_px: int
    top_px: int
    width_px: int
    height_px: int
    foot_depth: float | None
    on_floor: bool = False
    flip_background: bool = False
    flip_cutout: bool = False


def prepare_background(
    background: Background, size_px: int, fit: str, depth_max: float, field_of_view_deg: float | None = None
) -> Scene:
    """Bring a background to size_px x size_px; `fit` is crop (the centre) or stretch. Depth is never mixed, only picked.

    field_of_view_deg: of the crop, where the camera is known and sees that much: a picture alone does not tell its focal
    length, and without that no depth in metres.
    """
    height, width = background.image.shape[:2]
    rows, columns, side = slice(0, height), slice(0, width), min(height, width)
    if fit == "crop":
        if field_of_view_deg is not None and background.camera is not None:
            side = min(side, round(2 * background.camera.focal_px * math.tan(math.radians(field_of_view_deg) / 2)))
        top, left = (height - side) // 2, (width - side) // 2
        rows, columns = slice(top, top + side), slice(left, left + side)
    image = resize_area(background.image[rows, columns], size_px, size_px)
    depth = valid = camera = None
    if background.depth is not None:
        depth = _pick(background.depth[rows, columns], size_px)
        valid = _pick(background.valid[rows, columns].astype(np.uint8), size_px).astype(bool)
    if background.camera is not None and fit == "crop":
        camera = replace(background.camera, focal_px=background.camera.focal_px * size_px / side)
    floor_px = None
    if camera is not None and depth is not None:
        floor_px = find_floor(depth * depth_max, valid & (depth < 1), camera)
    return Scene(background.key, image, depth, valid, camera, floor_px, depth_max)


def find_floor(depth_units: np.ndarray, valid: np.ndarray, camera: Camera) -> np.ndarray:
    """Pixels (row, column), N x 2, whose depth puts them on the floor plane below a pin-hole camera."""
    size = depth_units.shape[0]
    slope = -(np.arange(size) + 0.5 - size / 2)[:, None] / camera.focal_px
    above = camera.height_m + depth_units * (math.sin(camera.pitch_rad) + slope * math.cos(camera.pitch_rad))
    return np.argwhere(valid & (np.abs(above) < FLOOR_TOLERANCE_UNITS))


def prepare_cutout(cutout: Cutout, size_px: int) -> Figure:
    """Premultiply the alpha, and shrink what is larger than the picture: it is drawn smaller than that nearly always."""
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


def place(scene: Scene, figure: Figure, params: ComposeParams, rng: np.random.Generator) -> Placement:
    """Choose a placement of the kind that params asks for; `floor` falls back to `uniform` where there is no floor."""
    flips = {"flip_background": rng.random() < params.flip_background, "flip_cutout": rng.random() < params.flip_cutout}
    if params.placement == "grid":
        placement = place_on_grid(scene, figure, rng)
    else:
        placement = place_on_floor(scene, figure, flips["flip_cutout"], rng) if params.placement == "floor" else None
        placement = placement or place_uniformly(scene, figure, params.scale_min, params.scale_max, rng)
    return replace(placement, **flips)


def place_uniformly(scene: Scene, figure: Figure, scale_min: float, scale_max: float, rng: np.random.Generator) -> Placement:
    """Any centre inside the picture; the longer side covers scale_min to scale_max of S; parts may lie outside."""
    size = scene.image.shape[0]
    longer = rng.uniform(scale_min, scale_max) * size
    width, height = longer * min(1, figure.aspect), longer * min(1, 1 / figure.aspect)
    centre_x, centre_y = rng.uniform(0, size, 2)
    return _make_box(scene, figure, centre_x - width / 2, centre_y + height / 2, width, height)


def place_on_grid(scene: Scene, figure: Figure, rng: np.random.Generator) -> Placement:
    """One of 4 rows x 5 columns; the higher the row, the farther and the smaller."""
    size = scene.image.shape[0]
    row, column = divmod(int(rng.integers(GRID_ROWS * GRID_COLUMNS)), GRID_COLUMNS)
    longer = GRID_SIDES[row] * size
    width, height = longer * min(1, figure.aspect), longer * min(1, 1 / figure.aspect)
    centre_x = (column + 0.5) / GRID_COLUMNS * size
    return _make_box(scene, figure, centre_x - width / 2, GRID_FEET[row] * size, width, height)


def place_on_floor(scene: Scene, figure: Figure, flip_cutout: bool, rng: np.random.Generator) -> Placement | None:
    """Standing on a visible floor pixel at its true size; None where depth, camera or size are not known.

    Of several floor pixels the first is taken where next to nothing nearer stands before the cut-out, else the best.
    """
    if scene.floor_px is None or len(scene.floor_px) == 0 or figure.height_units is None:
        return None
    size = scene.image.shape[0]
    best, least_hidden = None, math.inf
    for row, column in scene.floor_px[rng.integers(len(scene.floor_px), size=FLOOR_CANDIDATES)]:
        depth_units = float(scene.depth[row, column]) * scene.depth_max
        px_per_unit = scene.camera.focal_px / depth_units
        width, height = figure.width_units * px_per_unit, figure.height_units * px_per_unit
        if not STANDING_HEIGHT_MIN * size <= height <= STANDING_HEIGHT_MAX * size:
            continue
        left, top = round(column + 0.5 - width / 2), round(row + 1 - height)
        box = (left, top, max(1, round(width)), max(1, round(height)))
        hidden = _measure_hidden(scene, figure, box, depth_units, flip_cutout)
        if hidden < least_hidden:
            best, least_hidden = Placement(*box, foot_depth=float(scene.depth[row, column]), on_floor=True), hidden
        if hidden <= HIDDEN_ALLOWED:
            break
    return best


def _measure_hidden(scene: Scene, figure: Figure, box: tuple[int, int, int, int], depth_units: float, flip_cutout: bool) -> float:
    """The part of the cut-out that would stand behind nearer things, from a thumbnail of its alpha."""
    left, top, width, height = box
    size = scene.image.shape[0]
    rows = (top + (np.arange(THUMBNAIL_PX) + 0.5) * height / THUMBNAIL_PX).astype(int)
    columns = (left + (np.arange(THUMBNAIL_PX) + 0.5) * width / THUMBNAIL_PX).astype(int)
    alpha = figure.thumbnail[:, ::-1] if flip_cutout else figure.thumbnail
    inside = alpha & ((rows >= 0) & (rows < size))[:, None] & ((columns >= 0) & (columns < size))[None]
    behind = scene.depth[rows.clip(0, size - 1)[:, None], columns.clip(0, size - 1)[None]] * scene.depth_max
    hidden = inside & (behind < depth_units - HIDDEN_TOLERANCE_UNITS)
    return float(hidden.sum()) / max(1, int(alpha.sum()))


def _make_box(scene: Scene, figure: Figure, left: float, foot: float, width: float, height: float) -> Placement:
    """A box that stands at `foot`, with the depth that its size, or the background at its foot, tells."""
    size = scene.image.shape[0]
    depth = None
    if scene.camera is not None and figure.height_units is not None:
        depth = min(1.0, scene.camera.focal_px * figure.height_units / height / scene.depth_max)
    elif scene.depth is not None:
        row, column = int(np.clip(foot - 1, 0, size - 1)), int(np.clip(left + width / 2, 0, size - 1))
        if scene.valid[row, column]:
            depth = float(scene.depth[row, column])
    return Placement(round(left), round(foot - height), max(1, round(width)), max(1, round(height)), depth)


def compose(scene: Scene, figure: Figure, placement: Placement, shadow: float, with_background: bool, key: str = "") -> Sample:
    """Draw the cut-out: alpha-blended image, mask = alpha, depth = that of the cut-out at its place.

    Inside the mask (alpha >= 0.5) the depth is the foot's plus the relief, but never farther than the background there.
    Where the cut-out's depth, or without depth at all the background's, is not known, `valid` is False.
    """
    size = scene.image.shape[0]
    image = scene.image.copy()
    mask = np.zeros((size, size), np.float32)
    depth = np.zeros((size, size), np.float32) if scene.depth is None else scene.depth.copy()
    valid = np.zeros((size, size), bool) if scene.valid is None else scene.valid.copy()
    if placement.on_floor and shadow:
        _draw_shadow(image, placement, shadow)
    box = placement
    top, bottom = max(0, box.top_px), min(size, box.top_px + box.height_px)
    left, right = max(0, box.left_px), min(size, box.left_px + box.width_px)
    if top < bottom and left < right:
        there = np.s_[top:bottom, left:right]
        part = np.s_[top - box.top_px : bottom - box.top_px, left - box.left_px : right - box.left_px]
        rgba = _resize_figure(figure.rgba_premultiplied, box)[part]
        alpha = rgba[..., 3].astype(np.float32) / 255
        mask[there] = alpha
        blended = rgba[..., :3] + image[there] * (1 - alpha[..., None])
        image[there] = np.minimum(blended + np.float32(0.5), 255).astype(np.uint8)
        _draw_depth(depth[there], valid[there], alpha >= 0.5, scene, figure, box, part)
    background = scene.image if with_background else None
    maps = [image, mask, depth, valid, background]
    if box.flip_background:
        maps = [None if m is None else np.ascontiguousarray(m[:, ::-1]) for m in maps]
    return Sample(key, *maps, background_key=scene.key, cutout_key=figure.key, kind=figure.kind)


def _resize_figure(maps: np.ndarray, box: Placement) -> np.ndarray:
    resized = resize_area(maps, box.width_px, box.height_px)
    return resized[:, ::-1] if box.flip_cutout else resized


def _draw_depth(
    depth: np.ndarray, valid: np.ndarray, inside: np.ndarray, scene: Scene, figure: Figure, box: Placement, part: tuple
) -> None:
    """Write the cut-out's depth into views of the depth and valid maps."""
    if box.foot_depth is None:
        depth[inside], valid[inside] = 0, False
        return
    own: np.ndarray | np.float32 = np.float32(box.foot_depth)
    if figure.relief is not None:
        relief = cv2.resize(figure.relief, (box.width_px, box.height_px), interpolation=cv2.INTER_LINEAR)
        own = own + (relief[:, ::-1] if box.flip_cutout else relief)[part] / np.float32(scene.depth_max)
    own = np.broadcast_to(np.clip(own, 0, 1).astype(np.float32), depth.shape)
    behind = np.where(valid, depth, np.float32(1))
    depth[inside] = np.minimum(own, behind)[inside]
    valid[inside] = scene.depth is not None


def _draw_shadow(image: np.ndarray, box: Placement, strength: float) -> None:
    """Darken a soft ellipse round the foot, as a contact shadow under a diffuse light."""
    size = image.shape[0]
    centre_x, centre_y = box.left_px + box.width_px / 2, box.top_px + box.height_px - 0.5
    radius_x, radius_y = 0.45 * box.width_px, max(1.0, 0.12 * box.width_px)
    top, bottom = max(0, int(centre_y - 2 * radius_y)), min(size, math.ceil(centre_y + 2 * radius_y) + 1)
    left, right = max(0, int(centre_x - 2 * radius_x)), min(size, math.ceil(centre_x + 2 * radius_x) + 1)
    if top >= bottom or left >= right:
        return
    rows = (np.arange(top, bottom, dtype=np.float32) + 0.5 - centre_y) / radius_y
    columns = (np.arange(left, right, dtype=np.float32) + 0.5 - centre_x) / radius_x
    light = 1 - np.float32(strength) * np.exp(-(rows[:, None] ** 2)) * np.exp(-(columns[None] ** 2))
    image[top:bottom, left:right] = (image[top:bottom, left:right] * light[..., None] + 0.5).astype(np.uint8)


def resize_area(pixels: np.ndarray, width: int, height: int) -> np.ndarray:
    """Resize with antialiasing when shrinking, linearly when enlarging."""
    if pixels.shape[:2] == (height, width):
        return pixels
    shrinks = width < pixels.shape[1] or height < pixels.shape[0]
    return cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)


def _pick(values: np.ndarray, size_px: int) -> np.ndarray:
    """Nearest-neighbour resize, at pixel centres."""
    return cv2.resize(values, (size_px, size_px), interpolation=cv2.INTER_NEAREST_EXACT)


def fit_sample(sample: Sample, size_px: int, fit: str) -> Sample:
    """A ready-made composite brought to size_px x size_px as `prepare_background` does."""
    height, width = sample.image.shape[:2]
    side = min(height, width)
    top, left = ((height - side) // 2, (width - side) // 2) if fit == "crop" else (0, 0)
    part = np.s_[top : top + side, left : left + side] if fit == "crop" else np.s_[:, :]
    return replace(
        sample,
        image=resize_area(sample.image[part], size_px, size_px),
        mask=resize_area(sample.mask[part], size_px, size_px).clip(0, 1),
        depth=_pick(sample.depth[part], size_px),
        valid=_pick(sample.valid[part].astype(np.uint8), size_px).astype(bool),
        background=None if sample.background is None else resize_area(sample.background[part], size_px, size_px),
    )
