"""The point clouds that `depthmask predict` writes beside a photo's other results."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from depthmask.base.errors import UserError
from depthmask.point_clouds.camera import validate_angle
from depthmask.point_clouds.files import AXES, FORMATS
from depthmask.point_clouds.points import METRE, SIDE_MAX_PX

if TYPE_CHECKING:
    import numpy as np

    from depthmask.serving.predictor import PhotoPrediction, PhotoPredictor


@dataclass(frozen=True)
class PointOptions:
    """What was asked for. kind: of FORMATS; apart: foreground and scene in files of their own. The rest: as in `to_points`."""

    kind: str
    apart: bool = False
    field_of_view_deg: float | None = None
    side_max_px: int = SIDE_MAX_PX

    @property
    def endings(self) -> dict[str, str]:
        """What the names of the files end in."""
        return {name: f"_{name}.{self.kind}" for name in (("foreground", "scene") if self.apart else ("points",))}

    def save(self, parts: Mapping[str, Path], image: np.ndarray, prediction: PhotoPrediction) -> dict[str, Any]:
        """Write the files and return what predictions.json says of them; image: the photo. The caller makes the writes atomic.

        Raises:
            OSError: a file cannot be written.
        """
        points = replace(prediction, image=image).to_points(self.field_of_view_deg, self.side_max_px)
        clouds = {"foreground": points.take_foreground(), "scene": points.take_scene()} if self.apart else {"points": points}
        for name, cloud in clouds.items():
            parts[name].write_bytes(FORMATS[self.kind](cloud))
        return {
            "num": {name: len(cloud) for name, cloud in clouds.items()},
            "unit": points.unit,
            "axes": AXES,
            "field_of_view_deg": points.field_of_view_deg,
            "depth_factor": round(points.depth_factor, 6),
        }

    def find_note(self, predictors: Iterable[PhotoPredictor]) -> str | None:
        """What the user should know about the size of the points; None: nothing."""
        for predictor in predictors:
            if predictor.depth_unit != METRE:
                return "--pointcloud: the model's depth is relative, so the points have a shape but no size in metres"
            if self.field_of_view_deg is not None and predictor.trained_field_of_view_deg is None:
                return (
                    "--field-of-view-deg: the model file does not say for which field of view its metres are, so depth is not"
                    " scaled to the camera's; files written by depthmask export say it, if it was known"
                )
        return None


def choose_options(
    kind: str | None, apart: bool, field_of_view_deg: float | None, side_max_px: int | None
) -> PointOptions | None:
    """The options of --pointcloud; None without it.

    Raises:
        UserError: another option for point clouds without it, or a field of view that no camera has.
    """
    named = {
        "--pointcloud-apart": apart,
        "--pointcloud-side-px": side_max_px is not None,
        "--field-of-view-deg": field_of_view_deg is not None,
    }
    useless = next((name for name, is_set in named.items() if is_set), None)
    if kind is None:
        if useless is not None:
            raise UserError(f"{useless}: is for point clouds; add --pointcloud ply or glb, or remove it")
        return None
    if field_of_view_deg is not None:
        validate_angle(field_of_view_deg, "--field-of-view-deg")
    return PointOptions(kind, apart, field_of_view_deg, side_max_px or SIDE_MAX_PX)
