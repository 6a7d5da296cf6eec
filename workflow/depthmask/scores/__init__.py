"""The scores: how each is computed, its label, which direction is better, and where it is shown.

Imports neither torch nor NumPy.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

# depth scores after fitting scale and shift, and inside the foreground only; POOLED: of the set as if it were one image
ALIGNED, FOREGROUND, POOLED = "_aligned", "fg_", "_pooled"
# keys of metrics.json, by `family.name`: why a score is null; how many images a mean is over, if not all
NOT_SCORED, NUM_SCORED = "not_scored", "num_scored"
# key of metrics.json, and column of per_image.csv, if there are several sources
BY_SOURCE, SOURCE = "by_source", "source"
# columns of per_image.csv: the group of a background or cut-out in the split, background_group and cutout_group
GROUP = "_group"
# keys of metrics.json beside a score: the ends of its 95 % confidence interval
LOW, HIGH = "_low", "_high"


class Prominence(IntEnum):
    """Where a score is shown; each level includes the ones below.

    DETAIL: result files and the page's tables. TABLE: the terminal table and the leaderboard, which can be sorted by it.
    HEADLINE: the top of the page, its groups and histograms. PRIMARY: one per task; also measured at each validation, and used
    to pick the best and worst samples, so higher must be better.
    """

    DETAIL = 0
    TABLE = 1
    HEADLINE = 2
    PRIMARY = 3


@dataclass(frozen=True)
class ScoreSpec:
    """A score. The function `name` in metrics/`module`.py computes it; without a module, in the family's file.

    family: its group in metrics.json. meaning: in a few words. in_depth_unit: computed as a fraction of the maximum depth and
    reported in the source's unit. pooled: metrics.json also has it over the pooled test set. gallery: it is in samples.json.
    own_sums: its module has a function `gather_NAME` for sums that the family does not gather.
    """

    family: str
    name: str
    label: str
    meaning: str
    higher_is_better: bool
    prominence: Prominence = Prominence.DETAIL
    in_depth_unit: bool = False
    pooled: bool = False
    gallery: bool = False
    module: str | None = None
    own_sums: bool = False

    @property
    def column(self) -> str:
        """Its name among all families: in CSV files, and as a sort key."""
        return f"{self.family}_{self.name}"

    @property
    def title(self) -> str:
        """Its label among all families."""
        return f"{self.family} {self.label}"

    @property
    def better(self) -> str:
        """`higher` or `lower`."""
        return "higher" if self.higher_is_better else "lower"

    @property
    def ascii_label(self) -> str:
        """Its label for a log line."""
        return self.label if self.label.isascii() else self.name


_DETAIL, _TABLE, _HEADLINE, _PRIMARY = Prominence
_HIGHER, _LOWER = True, False

# in the column order of per_image.csv
_SPECS = (
    ScoreSpec("mask", "iou", "IoU", "overlap divided by union", _HIGHER, _PRIMARY, pooled=True, gallery=True),
    ScoreSpec("mask", "dice", "Dice", "overlap divided by mean size", _HIGHER, _HEADLINE, pooled=True, gallery=True),
    ScoreSpec("mask", "precision", "precision", "fraction of the predicted foreground that is right", _HIGHER),
    ScoreSpec("mask", "recall", "recall", "fraction of the true foreground that is found", _HIGHER),
    ScoreSpec("mask", "mae", "MAE", "mean error of the probability", _LOWER, gallery=True),
    ScoreSpec(
        "depth", "rmse", "RMSE", "root of the mean squared error", _LOWER, _TABLE, in_depth_unit=True, pooled=True, gallery=True
    ),
    ScoreSpec("depth", "mae", "MAE", "mean error", _LOWER, in_depth_unit=True),
    ScoreSpec("depth", "abs_rel", "AbsRel", "mean error divided by the true depth", _LOWER, _HEADLINE, pooled=True, gallery=True),
    ScoreSpec("depth", "log10", "log10", "mean error of the decimal logarithm", _LOWER),
    ScoreSpec(
        "depth", "delta1", "δ < 1.25", "fraction of pixels within a factor of 1.25", _HIGHER, _PRIMARY, pooled=True, gallery=True
    ),
    ScoreSpec("depth", "delta2", "δ < 1.25²", "fraction of pixels within a factor of 1.56", _HIGHER),
    ScoreSpec("depth", "delta3", "δ < 1.25³", "fraction of pixels within a factor of 1.95", _HIGHER),
    ScoreSpec("depth", "ssim", "SSIM", "structural similarity", _HIGHER),
    ScoreSpec("published", "mask_mse", "mask MSE", "system B: mean squared error of the probability", _LOWER),
    ScoreSpec("published", "depth_rmse_of_max", "depth RMSE, 0 to 1", "system B: as a fraction of the maximum depth", _LOWER),
    ScoreSpec("published", "depth_l1_of_max", "depth L1, 0 to 1", "system D: as a fraction of the maximum depth", _LOWER),
    ScoreSpec("published", "mask_iou", "mask IoU", "systems C and D: mask cut at 0.5", _HIGHER, pooled=True),
    ScoreSpec(
        *("published", "mask_iou_standardised", "mask IoU, standardised", "system D: mask cut at its mean + 0.5 std", _HIGHER),
        pooled=True,
    ),
    ScoreSpec("published", "mask_dice_loss", "mask Dice loss", "system D: soft, with squares", _LOWER, pooled=True),
    ScoreSpec("published", "depth_iou", "depth IoU", "system D: depth cut at half of the maximum", _HIGHER, pooled=True),
    ScoreSpec(
        *("published", "depth_iou_standardised", "depth IoU, standardised", "system D: depth cut at its mean + 0.5 std", _HIGHER),
        pooled=True,
    ),
    ScoreSpec("published", "depth_dice_loss", "depth Dice loss", "system D: soft, with squares", _LOWER, pooled=True),
)
SCORES: dict[tuple[str, str], ScoreSpec] = {(spec.family, spec.name): spec for spec in _SPECS}
FAMILIES = tuple(dict.fromkeys(spec.family for spec in _SPECS))


def list_scores(*families: str, at_least: Prominence = Prominence.DETAIL) -> list[ScoreSpec]:
    """The scores of these families (default: all) in display order: by family, most prominent first."""
    chosen = [spec for spec in _SPECS if spec.family in (families or FAMILIES) and spec.prominence >= at_least]
    return sorted(chosen, key=lambda spec: (FAMILIES.index(spec.family), -spec.prominence))
