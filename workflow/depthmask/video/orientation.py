"""How frames are turned to be upright: phones store them as the sensor saw them, with a matrix beside them.

A turn is (transposed, mirrored, upside down): first rows and columns change places, then columns and rows are reversed.
"""

from __future__ import annotations

from typing import Any

import numpy as np

NONE = (False, False, False)


def read_turn(frame: Any) -> tuple[bool, bool, bool]:
    """The turn that a decoded frame needs.

    The display matrix (a, b, u, c, d, v, x, y, w) shows the stored point (p, q) at (a p + c q + x, b p + d q + y), as FFmpeg's
    display.h says; x runs right and y down. Angles between quarter turns become the nearest.
    """
    data = frame.side_data.get("DISPLAYMATRIX")
    if data is None:
        return NONE
    values = np.frombuffer(bytes(data), np.int32)
    if values.size != 9:
        return NONE
    a, b, c, d = (float(values[place]) for place in (0, 1, 3, 4))
    if abs(b) + abs(c) > abs(a) + abs(d):
        return True, c < 0, b < 0
    return False, a < 0, d < 0


def turn(image: np.ndarray, how: tuple[bool, bool, bool]) -> np.ndarray:
    """An image (H x W x C) turned upright; a view."""
    transposed, mirrored, upside_down = how
    if transposed:
        image = image.swapaxes(0, 1)
    return image[:: -1 if upside_down else 1, :: -1 if mirrored else 1]
