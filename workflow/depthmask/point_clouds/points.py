"""A photo with mask and depth as coloured points in space.

Shapes: photos are uint8 H x W x 3 sRGB, maps H x W; N points.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from depthmask.base.errors import UserError
from depthmask.point_clouds.camera import FIELD_OF_VIEW_DEG, find_focal_px, validate_angle
from depthmask.point_clouds.edges import find_depth_edges
from depthmask.point_clouds.files import save_points

SIDE_MAX_PX = 640  # default: the longest side of the grid of pixels that become points
FAR_PART = 0.99  # of the maximum depth: from here on, depth means that far or farther, which is no place
MASK_THRESHOLD = 0.5
METRE = "metre"


@dataclass(frozen=True)
class PointCloud:
    """Points before a camera at the origin that looks along -z, with x to the right and y upwards, as in glTF.

    positions: float32 N x 3, in `unit`: metre, or relative (shape without a size). colours: uint8 N x 3, sRGB. mask: float32
    N, 0..1, probability of foreground. field_of_view_deg: of the camera, across the photo's longer side. spacing_rad: the angle
    between neighbouring points at the centre of the camera's view. depth_factor: what predicted depth was multiplied by for this
    camera.
    """

    positions: np.ndarray
    colours: np.ndarray
    mask: np.ndarray
    unit: str
    field_of_view_deg: float
    spacing_rad: float
    depth_factor: float = 1.0

    def __len__(self) -> int:
        return len(self.positions)

    @property
    def is_foreground(self) -> np.ndarray:
        """bool N: whether a point belongs to the foreground."""
        return self.mask >= MASK_THRESHOLD

    def take_foreground(self) -> PointCloud:
        """The points of the foreground alone."""
        return self._take(self.is_foreground)

    def take_scene(self) -> PointCloud:
        """The points behind and around the foreground."""
        return self._take(~self.is_foreground)

    def save(self, path: str | Path) -> None:
        """Write a .ply or .glb file; raises as `files.save_points` does."""
        save_points(self, Path(path))

    def _take(self, wanted: np.ndarray) -> PointCloud:
        return replace(self, positions=self.positions[wanted], colours=self.colours[wanted], mask=self.mask[wanted])


def make_points(
    image: np.ndarray,
    mask: np.ndarray,
    depth: np.ndarray,
    *,
    unit: str,
    depth_max: float,
    detail_px: float | None = None,
    field_of_view_deg: float = FIELD_OF_VIEW_DEG,
    side_max_px: int = SIDE_MAX_PX,
) -> PointCloud:
    """The points of a photo's pixels, row by row.

    depth: z-depth in `unit`, larger is farther, 0 where unknown. Pixels without a depth, from FAR_PART of depth_max on, and at
    depth edges (see `edges`) are left out. detail_px: the longest side at which the depth was predicted, before it was enlarged
    to the photo's size; None: it was not predicted. side_max_px: of a larger photo, every second, third, ... pixel is taken.

    Raises:
        UserError: field_of_view_deg or side_max_px is out of range.
    """
    validate_angle(field_of_view_deg)
    if side_max_px < 1:
        raise UserError(f"side_max_px: {side_max_px}; allowed: a whole number from 1")
    height, width = depth.shape
    focal_px = find_focal_px(height, width, field_of_view_deg)
    step = math.ceil(max(height, width) / side_max_px)
    first_row, first_column = ((side - 1) % step // 2 for side in (height, width))
    rows, columns = np.arange(first_row, height, step), np.arange(first_column, width, step)
    taken = np.ix_(rows, columns)
    z = depth[taken].astype(np.float32)
    scale = None if detail_px is None else max(height, width) / detail_px / step
    kept = (z > 0) & (z < FAR_PART * depth_max) & ~find_depth_edges(z, focal_px / step, scale)
    x = (columns + 0.5 - width / 2)[None, :] / focal_px * z
    y = -(rows + 0.5 - height / 2)[:, None] / focal_px * z
    return PointCloud(
        positions=np.stack([x[kept], y[kept], -z[kept]], axis=1).astype(np.float32),
        colours=image[taken][kept],
        mask=mask[taken][kept].astype(np.float32),
        unit=unit,
        field_of_view_deg=float(field_of_view_deg),
        spacing_rad=step / focal_px,
    )
