"""Rounds scores for files."""

from __future__ import annotations

import math

SIGNIFICANT_DIGITS = 6


def round_score(value: float) -> float | None:
    """Round to six significant digits, so that files are short and independent of the last bits of a sum; None if not finite."""
    return float(f"{value:.{SIGNIFICANT_DIGITS}g}") if math.isfinite(value) else None
