"""A small scene of two planes, whose points are known."""

from __future__ import annotations

import numpy as np

from depthmask.point_clouds.points import PointCloud, make_points

SIDE_PX = 60
WALL_M, FIGURE_M = 4.0, 2.0
WALL, FIGURE = (30, 90, 200), (220, 40, 30)


def make_scene(unit: str = "metre") -> PointCloud:
    """A red square 2 m before the camera, in the middle of a blue wall at 4 m."""
    mask = np.zeros((SIDE_PX, SIDE_PX), np.float32)
    mask[20:40, 20:40] = 1
    depth = np.where(mask > 0, FIGURE_M, WALL_M).astype(np.float32)
    image = np.where(mask[..., None] > 0, FIGURE, WALL).astype(np.uint8)
    return make_points(image, mask, depth, unit=unit, depth_max=20.0)
