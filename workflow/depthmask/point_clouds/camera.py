"""The pinhole camera that points are placed by: square pixels, principal point at the image's centre, no distortion.

A picture does not show its camera's focal length, so a network that predicts metres does so for the field of view of its
training images. A camera that sees more shows everything smaller, and so what it sees is taken for farther than it is.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from depthmask.base.errors import UserError

FIELD_OF_VIEW_DEG = 53.0  # where a model file says nothing: the default of `compose.field_of_view_deg`
FIELD_OF_VIEW_RANGE_DEG = (1.0, 170.0)
SOURCES_WITH_CAMERAS = ("demo", "assets")  # of the others, `compose.field_of_view_deg` crops nothing


def validate_angle(field_of_view_deg: float, name: str = "field_of_view_deg") -> None:
    """Raise UserError if no camera has that field of view; name: of the option that set it."""
    low, high = FIELD_OF_VIEW_RANGE_DEG
    if not low <= field_of_view_deg <= high:  # nor is nan
        raise UserError(f"{name}: {field_of_view_deg:g}; allowed: {low:g} to {high:g}")


def find_focal_px(height: int, width: int, field_of_view_deg: float) -> float:
    """The focal length in pixels of a picture of that size; field_of_view_deg: across its longer side."""
    return max(height, width) / 2 / math.tan(math.radians(field_of_view_deg) / 2)


def find_trained_angle(params: Mapping[str, Any]) -> float | None:
    """The field of view in degrees of the images that a model was trained on, by the params in its file; None: not known.

    Photos of a source without cameras have their own, whatever the params say.
    """
    angle, source = _get(params, "compose", "field_of_view_deg"), _get(params, "download", "source")
    if source not in (None, *SOURCES_WITH_CAMERAS):
        return None
    low, high = FIELD_OF_VIEW_RANGE_DEG
    return float(angle) if isinstance(angle, int | float) and low <= angle <= high else None


def _get(params: Mapping[str, Any], section: str, key: str) -> Any:
    values = params.get(section)
    return values.get(key) if isinstance(values, Mapping) else None


class CameraChoice(NamedTuple):
    """field_of_view_deg: of the camera; depth_factor: what predicted depth is multiplied by for it."""

    field_of_view_deg: float
    depth_factor: float


def choose_camera(field_of_view_deg: float | None, trained_deg: float | None, is_metric: bool) -> CameraChoice:
    """The camera of a photo: the one declared, else the one that the model was trained for, else FIELD_OF_VIEW_DEG.

    Metres predicted for one field of view are scaled for a camera with another by the ratio of the focal lengths, as in Yin et
    al., Metric3D: Towards Zero-shot Metric 3D Prediction from A Single Image, ICCV 2023, there to and from a canonical camera.
    Not where it is unknown what the model was trained for (trained_deg: None), nor where depth is relative.

    Raises:
        UserError: no camera has that field of view.
    """
    angle = next(one for one in (field_of_view_deg, trained_deg, FIELD_OF_VIEW_DEG) if one is not None)
    validate_angle(angle)
    if trained_deg is None or not is_metric:
        return CameraChoice(angle, 1.0)
    return CameraChoice(angle, math.tan(math.radians(trained_deg) / 2) / math.tan(math.radians(angle) / 2))
