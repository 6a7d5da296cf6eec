"""The page's 3D scene: the first test sample, by its predicted mask and depth."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from depthmask.base.errors import UserError
from depthmask.point_clouds.camera import FIELD_OF_VIEW_DEG, find_trained_angle
from depthmask.point_clouds.points import METRE, make_points
from depthmask.point_clouds.viewer import make_figure
from depthmask.reporting.inputs import Inputs
from depthmask.scores import labels as words

STAGE = "evaluate"  # whose record says what depth is in, and the camera of its images
IMAGE_MODES = {"image": "RGB", "mask_prediction": "L"}


def make_scene(inputs: Inputs, reports: Path) -> dict[str, Any] | None:
    """{"title", "figure": markup as text, "field_of_view_deg", "is_assumed", "is_metric"}; None where evaluate wrote no scene, or
    knew no depth: the network has not learnt any then.

    is_assumed: the images' field of view is not known, so a common one was taken.

    Raises:
        UserError: a file of the scene is missing or broken.
    """
    entry = inputs.samples.get("scene")
    if entry is None or inputs.metrics["test"]["num_images_with_depth"] == 0:
        return None
    folder = reports / "samples"
    run = next((run for run in inputs.runs if run["stage"] == STAGE), {})
    source = run.get("extra", {}).get("source", {})
    angle = find_trained_angle(run.get("params", {}) | {"download": {"source": source.get("name")}})
    depth_max = float(source.get("depth_max") or 1.0)
    try:
        sample = inputs.samples["samples"][entry["sample"]]
        maps = {name: _read(folder / sample["files"][name], mode) for name, mode in IMAGE_MODES.items()}
        depth = _read(folder / entry["depth"]).astype(np.float32) / entry["raw_max"] * depth_max
        _check_shapes(folder / entry["depth"], depth, maps)
    except (KeyError, TypeError) as error:
        raise UserError(f"{folder / 'index.json'}: its scene lacks {error}; run evaluate again") from error
    title = words.describe_scene(sample)
    points = make_points(
        maps["image"],
        maps["mask_prediction"].astype(np.float32) / 255,
        depth,
        unit=inputs.depth_unit,
        depth_max=depth_max,
        detail_px=max(depth.shape),
        field_of_view_deg=angle or FIELD_OF_VIEW_DEG,
    )
    return {
        "title": title,
        "figure": make_figure(points, f"{title}, as points in space"),
        "field_of_view_deg": points.field_of_view_deg,
        "is_assumed": angle is None,
        "is_metric": inputs.depth_unit == METRE,
    }


def _read(path: Path, mode: str | None = None) -> np.ndarray:
    try:
        with Image.open(path) as picture:
            return np.array(picture if mode is None else picture.convert(mode))
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file; run evaluate again") from error
    except (OSError, SyntaxError, ValueError) as error:
        raise UserError(f"{path}: cannot be read as an image ({error}); run evaluate again") from error


def _check_shapes(path: Path, depth: np.ndarray, maps: Mapping[str, np.ndarray]) -> None:
    if depth.ndim != 2 or any(picture.shape[:2] != depth.shape for picture in maps.values()):
        raise UserError(f"{path}: differs in size from the images of its sample; run evaluate again")
