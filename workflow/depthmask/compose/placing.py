"""Places cut-outs: on the floor at true size, anywhere, or on a grid.

A whole batch is placed at once. Each sample uses the NUM_DRAWS uniforms in its own row, so the rest of the batch does not
matter. Lengths are in pixels of the composed square image of side S, depths 0..1 of the
source's maximum unless a name says otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from depthmask.data.sample import Camera
from depthmask.params import ComposeParams

FLOOR_CANDIDATES = 8  # floor pixels tried for one placement
HIDDEN_ALLOWED = 0.1  # fraction of a cut-out that may be hidden by nearer things before another pixel is tried
HIDDEN_TOLERANCE_UNITS = 0.3  # relief of the things themselves: nearer by less than this does not hide
STANDING_HEIGHT_MIN, STANDING_HEIGHT_MAX = 0.1, 1.5  # of S: smaller is a speck, larger is a wall of cloth
THUMBNAIL_PX = 8  # resolution of the alpha for measuring what is hidden
GRID_ROWS, GRID_COLUMNS = 4, 5
GRID_SIDES = np.array([60, 70, 80, 90]) / 150  # of S, from the highest row to the lowest
GRID_FEET = np.array([0.55, 0.7, 0.85, 1.0])  # of S: where the cut-outs of each row stand

# the meaning of each column of a sample's draws
FLIP_BACKGROUND, FLIP_CUTOUT, LONGER_SIDE, CENTRE_X, CENTRE_Y, CELL = range(6)
FLOOR = slice(6, 6 + FLOOR_CANDIDATES)
NUM_DRAWS = 6 + FLOOR_CANDIDATES


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
    """A cut-out ready to be drawn: premultiplied uint8 RGBA, no larger than it is ever drawn."""

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


class Placement(NamedTuple):
    """Where a cut-out goes: its box (whole pixels, may be partly outside) and the depth of its foot (None: unknown)."""

    left_px: int
    top_px: int
    width_px: int
    height_px: int
    foot_depth: float | None
    on_floor: bool = False
    flip_background: bool = False
    flip_cutout: bool = False


def place(scenes: Sequence[Scene], figures: Sequence[Figure], params: ComposeParams, draws_BN: np.ndarray) -> list[Placement]:
    """Place each figure in its scene, in the way set by params.

    `floor` falls back to `uniform` without a floor. draws_BN: B x NUM_DRAWS uniforms in 0..1.
    """
    flips_background = (draws_BN[:, FLIP_BACKGROUND] < params.flip_background).tolist()
    flips_cutout = (draws_BN[:, FLIP_CUTOUT] < params.flip_cutout).tolist()
    if params.placement == "grid":
        placed = place_on_grid(scenes, figures, draws_BN)
    else:
        placed = [None] * len(scenes)
        if params.placement == "floor":
            placed = place_on_floor(scenes, figures, flips_cutout, draws_BN)
        rest = [b for b, placement in enumerate(placed) if placement is None]
        if rest:
            pair = [scenes[b] for b in rest], [figures[b] for b in rest]
            anywhere = place_uniformly(*pair, params.scale_min, params.scale_max, draws_BN[rest])
            for b, placement in zip(rest, anywhere, strict=True):
                placed[b] = placement
    return [
        p._replace(flip_background=background, flip_cutout=cutout)
        for p, background, cutout in zip(placed, flips_background, flips_cutout, strict=True)
    ]


def place_uniformly(
    scenes: Sequence[Scene], figures: Sequence[Figure], scale_min: float, scale_max: float, draws_BN: np.ndarray
) -> list[Placement]:
    """Any centre inside the image; the longer side covers scale_min to scale_max of S; the cut-out may be partly outside."""
    size = scenes[0].image.shape[0]
    longer = (scale_min + (scale_max - scale_min) * draws_BN[:, LONGER_SIDE]) * size
    width, height = _share_side(longer, figures)
    left = draws_BN[:, CENTRE_X] * size - width / 2
    foot = draws_BN[:, CENTRE_Y] * size + height / 2
    return _make_boxes(scenes, figures, left, foot, width, height)


def place_on_grid(scenes: Sequence[Scene], figures: Sequence[Figure], draws_BN: np.ndarray) -> list[Placement]:
    """One of 4 rows x 5 columns; the higher the row, the farther and the smaller."""
    size = scenes[0].image.shape[0]
    row, column = np.divmod((draws_BN[:, CELL] * (GRID_ROWS * GRID_COLUMNS)).astype(int), GRID_COLUMNS)
    width, height = _share_side(GRID_SIDES[row] * size, figures)
    centre_x = (column + 0.5) / GRID_COLUMNS * size
    return _make_boxes(scenes, figures, centre_x - width / 2, GRID_FEET[row] * size, width, height)


def place_on_floor(
    scenes: Sequence[Scene], figures: Sequence[Figure], flips_cutout: Sequence[bool], draws_BN: np.ndarray
) -> list[Placement | None]:
    """On a visible floor pixel at true size; None if depth, camera or size are unknown.

    Of several candidate pixels, the first at which hardly anything hides the cut-out is used, else the best.
    """
    placed: list[Placement | None] = [None] * len(scenes)
    able = [
        b
        for b, (scene, figure) in enumerate(zip(scenes, figures, strict=True))
        if scene.floor_px is not None and len(scene.floor_px) and figure.height_units is not None
    ]
    if not able:
        return placed
    size = scenes[0].image.shape[0]
    picked = [scenes[b].floor_px[(draws_BN[b, FLOOR] * len(scenes[b].floor_px)).astype(int)] for b in able]
    rows_BC, columns_BC = np.moveaxis(np.stack(picked), 2, 0)
    foot_BC = np.stack([scenes[b].depth[pixels[:, 0], pixels[:, 1]] for b, pixels in zip(able, picked, strict=True)])
    depth_max, focal_px, height_units, width_units = np.array(
        [(scenes[b].depth_max, scenes[b].camera.focal_px, figures[b].height_units, figures[b].width_units) for b in able]
    ).T[:, :, None]
    units_BC = foot_BC * depth_max
    px_per_unit_BC = focal_px / units_BC
    width_BC, height_BC = width_units * px_per_unit_BC, height_units * px_per_unit_BC
    boxes_BC4 = np.stack(
        [
            np.rint(columns_BC + 0.5 - width_BC / 2),
            np.rint(rows_BC + 1 - height_BC),
            np.maximum(1, np.rint(width_BC)),
            np.maximum(1, np.rint(height_BC)),
        ],
        axis=2,
    )
    fits_BC = (STANDING_HEIGHT_MIN * size <= height_BC) & (height_BC <= STANDING_HEIGHT_MAX * size)
    hidden_BC = np.where(fits_BC, _measure_hidden(scenes, figures, able, flips_cutout, boxes_BC4, units_BC), np.inf)
    good_BC = hidden_BC <= HIDDEN_ALLOWED
    chosen = np.where(good_BC.any(axis=1), good_BC.argmax(axis=1), hidden_BC.argmin(axis=1))
    for b, c, boxes, foot, fits in zip(able, chosen.tolist(), boxes_BC4.astype(int).tolist(), foot_BC, fits_BC, strict=True):
        if fits[c]:
            placed[b] = Placement(*boxes[c], foot_depth=float(foot[c]), on_floor=True)
    return placed


def _measure_hidden(
    scenes: Sequence[Scene],
    figures: Sequence[Figure],
    able: Sequence[int],
    flips_cutout: Sequence[bool],
    boxes_BC4: np.ndarray,
    units_BC: np.ndarray,
) -> np.ndarray:
    """The fraction of each cut-out that nearer things would hide at each candidate, from a thumbnail of its alpha."""
    size = scenes[0].image.shape[0]
    left, top, width, height = (boxes_BC4[:, :, i, None] for i in range(4))
    centres = (np.arange(THUMBNAIL_PX) + 0.5) / THUMBNAIL_PX
    rows_BCT = np.floor(top + centres * height).astype(int)
    columns_BCT = np.floor(left + centres * width).astype(int)
    alpha_BTT = np.stack([figures[b].thumbnail[:, ::-1] if flips_cutout[b] else figures[b].thumbnail for b in able])
    seen = ((rows_BCT >= 0) & (rows_BCT < size))[..., None] & ((columns_BCT >= 0) & (columns_BCT < size))[:, :, None]
    places = rows_BCT.clip(0, size - 1)[..., None] * size + columns_BCT.clip(0, size - 1)[:, :, None]
    behind = np.stack([scenes[b].depth.reshape(-1)[p] * scenes[b].depth_max for b, p in zip(able, places, strict=True)])
    nearer = behind < (units_BC - HIDDEN_TOLERANCE_UNITS)[..., None, None]
    hidden = (alpha_BTT[:, None] & seen & nearer).sum(axis=(2, 3))
    return hidden / np.maximum(1, alpha_BTT.sum(axis=(1, 2)))[:, None]


def _share_side(longer: np.ndarray, figures: Sequence[Figure]) -> tuple[np.ndarray, np.ndarray]:
    """Width and height of figures whose longer side is given."""
    aspect = np.array([figure.aspect for figure in figures])
    return longer * np.minimum(1, aspect), longer * np.minimum(1, 1 / aspect)


def _make_boxes(
    scenes: Sequence[Scene], figures: Sequence[Figure], left: np.ndarray, foot: np.ndarray, width: np.ndarray, height: np.ndarray
) -> list[Placement]:
    """Boxes standing at `foot`, with the depth that follows from their size, or that of the background at their foot."""
    size = scenes[0].image.shape[0]
    sides = [np.maximum(1, np.rint(side)) for side in (width, height)]
    boxes = np.stack([np.rint(left), np.rint(foot - height), *sides], axis=1)
    rows = np.clip(foot - 1, 0, size - 1).astype(int).tolist()
    columns = np.clip(left + width / 2, 0, size - 1).astype(int).tolist()
    placed = []
    for scene, figure, box, tall, row, column in zip(
        scenes, figures, boxes.astype(int).tolist(), height.tolist(), rows, columns, strict=True
    ):
        depth = None
        if scene.camera is not None and figure.height_units is not None:
            depth = min(1.0, scene.camera.focal_px * figure.height_units / tall / scene.depth_max)
        elif scene.depth is not None and scene.valid[row, column]:
            depth = float(scene.depth[row, column])
        placed.append(Placement(*box, depth))
    return placed
