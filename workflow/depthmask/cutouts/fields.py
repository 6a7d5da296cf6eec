"""Values in a JSON annotation, whose types nobody guarantees."""

from __future__ import annotations

import math
from typing import Any

from depthmask.cutouts.shapes import POINTS_MIN

SHOWN_MAX = 40
COORDINATE_MAX = 1e6


def is_number(value: Any) -> bool:
    """Whether it is a finite number of a size that a coordinate can have."""
    is_real = isinstance(value, int | float) and not isinstance(value, bool)
    return is_real and math.isfinite(value) and abs(value) <= COORDINATE_MAX


def get_size(entry: dict[str, Any], width: str, height: str) -> tuple[int, int] | None:
    """Declared width and height; None unless both are positive whole numbers."""
    sides = entry.get(width), entry.get(height)
    return (int(sides[0]), int(sides[1])) if all(is_number(s) and s >= 1 and s == int(s) for s in sides) else None


def get_text(entry: dict[str, Any], key: str) -> str | None:
    """A text that is not empty, stripped; numbers as text; None for anything else."""
    value = entry.get(key)
    if isinstance(value, int | float) and not isinstance(value, bool):
        value = str(value)
    return (value.strip() or None) if isinstance(value, str) else None


def pair_up(numbers: list[Any]) -> tuple[tuple[float, float], ...]:
    """(x, y) of a flat list x, y, x, y, ...

    Raises:
        ValueError: it is none, or has fewer than three points.
    """
    if not isinstance(numbers, list) or not all(map(is_number, numbers)):
        raise ValueError(f"coordinates that are not numbers: {show(numbers)}")
    if len(numbers) % 2 or len(numbers) < 2 * POINTS_MIN:
        raise ValueError(f"{len(numbers)} numbers, which are not x and y of three points or more")
    return tuple((float(x), float(y)) for x, y in zip(numbers[::2], numbers[1::2]))


def read_points(points: Any) -> tuple[tuple[float, float], ...]:
    """(x, y) of a list of pairs. Raises ValueError if it is none."""
    if not isinstance(points, list) or not all(isinstance(p, list) and len(p) == 2 and all(map(is_number, p)) for p in points):
        raise ValueError(f"points that are not pairs of numbers: {show(points)}")
    return tuple((float(x), float(y)) for x, y in points)


def show(value: Any) -> str:
    """A value for a message, shortened."""
    text = repr(value)
    return text if len(text) <= SHOWN_MAX else f"{text[:SHOWN_MAX]}..."
