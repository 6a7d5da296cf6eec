"""Labels of scores and baselines, and formatting of numbers and times."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from depthmask.scores import ALIGNED, FOREGROUND, SCORES, ScoreSpec

UNKNOWN = "unknown"
BASELINES = {
    "mask_all_foreground": "all foreground",
    "mask_empty": "empty mask",
    "mask_mean": "mean mask",
    "depth_mean": "mean depth",
    "depth_row_mean": "mean depth of each row",
}
UNIT_SIGNS = {"metre": "m", "relative": ""}


def describe_column(column: str) -> tuple[str, ScoreSpec] | None:
    """The label and score of a column of per_image.csv; None if it is not a score."""
    family, _, key = column.partition("_")
    spec = SCORES.get((family, key.removeprefix(FOREGROUND).removesuffix(ALIGNED)))
    where = ", in the foreground" if key.startswith(FOREGROUND) else ""
    how = ", aligned" if key.endswith(ALIGNED) else ""
    return spec and (spec.label + where + how, spec)


def format_score(value: float | None) -> str:
    """Three decimals, or `unknown`."""
    return UNKNOWN if value is None else f"{value:.3f}"


def format_change(value: float, old: float) -> str:
    """+0.012, −0.003, or no change at three decimals."""
    change = f"{value - old:+.3f}"
    return "no change" if float(change) == 0 else change.replace("-", "\N{MINUS SIGN}")


def format_bytes(number: int) -> str:
    """812 B, 4.3 kB, 5.6 MB."""
    for power, unit in ((9, "GB"), (6, "MB"), (3, "kB")):
        if number >= 10**power:
            return f"{number / 10**power:.1f} {unit}"
    return f"{number} B"


def format_moment(started: str) -> str:
    """Format an ISO time without seconds: 2025-01-31 17:05 UTC."""
    return datetime.fromisoformat(started).astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")


def find_best_baseline(baselines: dict[str, dict[str, Any]], spec: ScoreSpec) -> tuple[str, float] | None:
    """Name and score of the best baseline; None if no baseline has the score."""
    known = {
        name: scores[spec.name]
        for name, scores in baselines.items()
        if name.startswith(f"{spec.family}_") and scores.get(spec.name) is not None
    }
    if not known:
        return None
    best = (max if spec.higher_is_better else min)(known, key=known.__getitem__)
    return best, known[best]


def is_better(value: float, other: float, spec: ScoreSpec) -> bool:
    """Whether a score is better than another; equal ones are not."""
    return value > other if spec.higher_is_better else value < other
