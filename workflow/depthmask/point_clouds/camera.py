"""The pinhole camera that points are placed by: square pixels, principal point at the image's centre, no distortion."""

from __future__ import annotations

import math

FIELD_OF_VIEW_DEG = 53.0  # of `compose.field_of_view_deg`, which the models that come with depthmask were trained for
FIELD_OF_VIEW_RANGE_DEG = (1.0, 170.0)


def find_focal_px(height: int, width: int, field_of_view_deg: float) -> float:
    """The focal length in pixels of a picture of that size; field_of_view_deg: across its longer side."""
    return max(height, width) / 2 / math.tan(math.radians(field_of_view_deg) / 2)
