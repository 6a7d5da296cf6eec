"""How scores, baselines and stages are called in front of people, and how numbers are written."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, NamedTuple

ALIGNED, FOREGROUND, POOLED = "_aligned", "fg_", "_pooled"
UNKNOWN = "unknown"


class ScoreWords(NamedTuple):
    """`higher`: whether more is better. `in_unit`: whether it is in the unit of depth. `meaning`: a few words."""

    label: str
    higher: bool
    in_unit: bool
    meaning: str


SCORES = {
    "mask": {
        "iou": ScoreWords("IoU", True, False, "overlap divided by union"),
        "dice": ScoreWords("Dice", True, False, "overlap divided by mean size"),
        "precision": ScoreWords("precision", True, False, "part of the found foreground that is right"),
        "recall": ScoreWords("recall", True, False, "part of the true foreground that is found"),
        "mae": ScoreWords("MAE", False, False, "mean error of the probability"),
    },
    "depth": {
        "delta1": ScoreWords("δ < 1.25", True, False, "part of the pixels within a factor of 1.25"),
        "delta2": ScoreWords("δ < 1.25²", True, False, "part of the pixels within a factor of 1.56"),
        "delta3": ScoreWords("δ < 1.25³", True, False, "part of the pixels within a factor of 1.95"),
        "abs_rel": ScoreWords("AbsRel", False, False, "mean error divided by the true depth"),
        "log10": ScoreWords("log10", False, False, "mean error of the decimal logarithm"),
        "rmse": ScoreWords("RMSE", False, True, "root of the mean squared error"),
        "mae": ScoreWords("MAE", False, True, "mean error"),
        "ssim": ScoreWords("SSIM", True, False, "structural similarity"),
    },
    "published": {
        "mask_mse": ScoreWords("mask MSE", False, False, "system B: mean squared error of the probability"),
        "mask_iou": ScoreWords("mask IoU", True, False, "systems C and D: mask cut at 0.5"),
        "mask_iou_standardised": ScoreWords("mask IoU, standardised", True, False, "system D: mask cut at its mean + 0.5 std"),
        "mask_dice_loss": ScoreWords("mask Dice loss", False, False, "system D: soft, with squares"),
        "depth_rmse_of_max": ScoreWords("depth RMSE, 0 to 1", False, False, "system B: in parts of the largest depth"),
        "depth_l1_of_max": ScoreWords("depth L1, 0 to 1", False, False, "system D: in parts of the largest depth"),
        "depth_iou": ScoreWords("depth IoU", True, False, "system D: depth cut at half of the largest"),
        "depth_iou_standardised": ScoreWords("depth IoU, standardised", True, False, "system D: depth cut at its mean + 0.5 std"),
        "depth_dice_loss": ScoreWords("depth Dice loss", False, False, "system D: soft, with squares"),
    },
}
HEADLINES = (("mask", "iou"), ("mask", "dice"), ("depth", "delta1"), ("depth", "abs_rel"))
BASELINES = {
    "mask_all_foreground": "all foreground",
    "mask_empty": "empty mask",
    "mask_mean": "mean mask",
    "depth_mean": "mean depth",
    "depth_row_mean": "mean depth of each row",
}
UNIT_SIGNS = {"metre": "m", "relative": ""}


def describe_column(family: str, column: str) -> tuple[str, ScoreWords] | None:
    """What a column of per_image.csv is called, and the words of its score; None if it is no score of the family."""
    if not column.startswith(f"{family}_"):
        return None
    key = column.removeprefix(f"{family}_")
    where = ", in the foreground" if key.startswith(FOREGROUND) else ""
    how = ", aligned" if key.endswith(ALIGNED) else ""
    words = SCORES[family].get(key.removeprefix(FOREGROUND).removesuffix(ALIGNED))
    return (words.label + where + how, words) if words else None


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
    """An ISO time without seconds, as people write it: 2025-01-31 17:05 UTC."""
    return datetime.fromisoformat(started).astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")


def find_best_baseline(baselines: dict[str, dict[str, Any]], family: str, key: str) -> tuple[str, float] | None:
    """Name and score of the answer without a network that does best; None if there is none that has the score."""
    known = {
        name: scores[key] for name, scores in baselines.items() if name.startswith(f"{family}_") and scores.get(key) is not None
    }
    if not known:
        return None
    best = (max if SCORES[family][key].higher else min)(known, key=known.__getitem__)
    return best, known[best]


def is_better(value: float, other: float, family: str, key: str) -> bool:
    """Whether a score is better than another value of it; of two equal ones none is."""
    return value > other if SCORES[family][key].higher else value < other
