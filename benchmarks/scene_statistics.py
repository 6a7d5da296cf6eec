"""What the clean backgrounds of a source are like: depth, light, and where the camera was. To compare two sources.

    PYTHONPATH=workflow python benchmarks/scene_statistics.py --raw FOLDER [--field-of-view-deg DEGREES] [--json FILE]

A network trained on one source knows the depth of another as far as these agree. Pitch and height of the camera are measured
in the depth maps, by the plane of the floor, also where the source states them: for rooms whose camera is unknown, give the
field of view along the longer side, and look at the pack's stated values to see how far a measured one can be trusted.
"""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path

import cv2
import numpy as np

from depthmask.base.entry_points import print_errors_as_lines
from depthmask.base.errors import UserError
from depthmask.base.files import write_json
from depthmask.base.terminal import track
from depthmask.data.sample import Background
from depthmask.sources import open_source

PERCENTILES = (5, 25, 50, 75, 95)
SMOOTHED_PX = 5
REACH = 1 / 32  # of the image's width: from a pixel to the neighbours that span its surface
UPRIGHT = 0.6  # least vertical part of the normal of what may be floor: up to 53 degrees from upright
JUMP_MAX = 0.5  # between the neighbours, relative to the depth; more is an edge, not a surface
AGREEMENTS = (0.8, 0.9, 0.95, 0.97, 0.99, 0.99)  # cosine to the mean normal, step by step
FLOOR_MIN = 1 / 150  # of the image's pixels
NAMES = {
    "median_depth_m": "median depth, m",
    "far_depth_m": "95th percentile of the depth, m",
    "brightness": "mean brightness, 0 to 1",
    "contrast": "standard deviation of the brightness",
    "pitch_deg": "camera's pitch, degrees; negative looks down",
    "height_m": "camera's height above that plane, m",
}


@print_errors_as_lines
def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--raw", type=Path, required=True, help="folder written by the download stage")
    parser.add_argument("--field-of-view-deg", type=float, help="along the longer side, for backgrounds without a camera")
    parser.add_argument("--json", type=Path, help="JSON file to write: the percentiles of each statistic")
    args = parser.parse_args(argv)
    if args.field_of_view_deg is not None and not 0 < args.field_of_view_deg < 180:
        raise UserError(f"--field-of-view-deg {args.field_of_view_deg:g}; allowed: above 0, below 180")
    source = open_source(args.raw)
    if source.scale.unit != "metre" or not source.has_depth:
        raise UserError(f"{args.raw}: has no depth in metres, which most statistics are made of")
    found = [
        measure(source.read_background(key), source.scale.max, args.field_of_view_deg)
        for key in track(source.backgrounds, "measuring", "backgrounds", len(source.backgrounds))
    ]
    result = {name: summarise([one[name] for one in found if name in one]) for name in NAMES}
    print("| statistic | backgrounds | " + " | ".join(f"{percentile} %" for percentile in PERCENTILES) + " |")
    print("| --- |" + " ---: |" * (1 + len(PERCENTILES)))
    for name, (count, values) in result.items():
        cells = [f"{value:.2f}" for value in values] or ["-"] * len(PERCENTILES)
        print(f"| {NAMES[name]} | {count} | {' | '.join(cells)} |")
    if args.json:
        write_json(args.json, {name: {"backgrounds": count, "percentiles": values} for name, (count, values) in result.items()})
    return 0


def summarise(values: list[float]) -> tuple[int, list[float]]:
    """How many backgrounds have the statistic, and its PERCENTILES."""
    return len(values), [round(float(value), 4) for value in np.percentile(values, PERCENTILES)] if values else []


def measure(background: Background, depth_max: float, field_of_view_deg: float | None) -> dict[str, float]:
    """The statistics of one background by name; no pitch and height without a focal length or a visible floor."""
    grey = cv2.cvtColor(background.image, cv2.COLOR_RGB2GRAY) / 255
    known = background.depth[background.valid] * depth_max
    found = {"brightness": float(grey.mean()), "contrast": float(grey.std())}
    if known.size:
        found |= {"median_depth_m": float(np.median(known)), "far_depth_m": float(np.percentile(known, 95))}
    focal_px = background.camera and background.camera.focal_px
    if focal_px is None and field_of_view_deg is not None:
        focal_px = max(grey.shape) / 2 / math.tan(math.radians(field_of_view_deg) / 2)
    floor = find_floor(background.depth * depth_max, background.valid, focal_px) if focal_px else None
    if floor is not None:
        found |= {"pitch_deg": floor[0], "height_m": floor[1]}
    return found


def find_floor(depth_m: np.ndarray, valid: np.ndarray, focal_px: float) -> tuple[float, float] | None:
    """The camera's pitch in degrees and its height in metres above the largest level surface below it; None if there is none.

    depth_m: float32 H x W, along the optical axis. Normals are cross products of differences over REACH; those of the lower
    half that point upwards are averaged, and again those near the mean, until only one plane's are left. Within half a degree
    and five centimetres where the depth is exact: the foot of a wall bends the mean.
    """
    height, width = depth_m.shape
    reach = max(1, round(width * REACH))
    depth_m = cv2.medianBlur(depth_m.astype(np.float32), SMOOTHED_PX)
    row, column = np.mgrid[:height, :width] + 0.5
    points = np.stack([(column - width / 2) / focal_px * depth_m, (row - height / 2) / focal_px * depth_m, depth_m], axis=-1)
    inner = (slice(reach, -reach), slice(reach, -reach))
    across = points[reach:-reach, 2 * reach :] - points[reach:-reach, : -2 * reach]
    down = points[2 * reach :, reach:-reach] - points[: -2 * reach, reach:-reach]
    normals = np.cross(across, down)
    normals /= np.linalg.norm(normals, axis=-1, keepdims=True) + 1e-9
    normals = np.where(normals[..., 1:2] > 0, -normals, normals)  # y points down in images
    jumps = np.maximum(np.abs(across[..., 2]), np.abs(down[..., 2])) > JUMP_MAX * depth_m[inner]
    candidates = valid[inner] & ~jumps & (normals[..., 1] < -UPRIGHT)
    candidates[: candidates.shape[0] // 2] = False
    normals, points = normals[candidates], points[inner][candidates]
    if len(normals) < FLOOR_MIN * depth_m.size:
        return None
    mean = normals.mean(axis=0)
    for agreement in AGREEMENTS:
        mean /= np.linalg.norm(mean)
        alike = normals @ mean > agreement
        if alike.sum() < FLOOR_MIN * depth_m.size:
            return None
        mean = normals[alike].mean(axis=0)
    mean /= np.linalg.norm(mean)
    return math.degrees(math.atan2(mean[2], -mean[1])), -float(np.median(points[alike] @ mean))


if __name__ == "__main__":
    sys.exit(main())
