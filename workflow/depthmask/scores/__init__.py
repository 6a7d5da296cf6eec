"""The scores: how each is computed, its label, which direction is better, and where it is shown.

Imports neither torch nor NumPy.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

# POOLED: of the set as if it were one image
POOLED = "_pooled"
# variants of the depth scores: what the prediction is fitted to the truth by, in each image, ...
MEDIAN_SCALED, ALIGNED, ALIGNED_DISPARITY = "_median_scaled", "_aligned", "_aligned_disparity"
# ... and which pixels count: the foreground; those within `evaluate.depth_min` and `depth_max`, in `depth_crop`, or in both
FOREGROUND, CAPPED, EIGEN, CAPPED_EIGEN = "fg_", "capped_", "eigen_", "capped_eigen_"
# keys of metrics.json, by `family.name`: why a score is null; how many images a mean is over, if not all
NOT_SCORED, NUM_SCORED = "not_scored", "num_scored"
# key of metrics.json, and column of per_image.csv, if there are several sources
BY_SOURCE, SOURCE = "by_source", "source"
# columns of per_image.csv: the group of a background or cut-out in the split, background_group and cutout_group
GROUP = "_group"
# key of metrics.json beside `test`: the scores of an average of several predictions of the same images; how many it is of
AVERAGED, NUM_MODELS, NUM_VIEWS = "averaged", "num_models", "num_views"
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
    own_sums: its module has a function `gather_NAME` for sums that the family does not gather. of_ratios: it compares depths by
    their ratios, which a relative depth may not have (`metrics.protocol`).
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
    of_ratios: bool = False

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
    ScoreSpec("depth", "silog", "SILog", "100 x standard deviation of the logarithmic error", _LOWER, of_ratios=True),
    ScoreSpec("depth", "boundary_f1", "boundary F1", "how well edges of the depth map are found", _HIGHER, of_ratios=True),
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


@dataclass(frozen=True)
class Variant:
    """A way of computing a family's scores; their keys begin with `prefix` and end with `suffix`."""

    prefix: str = ""
    suffix: str = ""

    @property
    def of_ratios(self) -> bool:
        """Whether the fit compares depths by their ratios, so that any score after it does (see `ScoreSpec`)."""
        return self.suffix in (MEDIAN_SCALED, ALIGNED_DISPARITY)


PREFIXES = {  # what they add to a score's label
    "": "",
    FOREGROUND: "in the foreground",
    CAPPED: "within the caps",
    EIGEN: "in the Eigen crop",
    CAPPED_EIGEN: "within the caps, in the Eigen crop",
}
SUFFIXES = {"": "", MEDIAN_SCALED: "median-scaled", ALIGNED: "aligned", ALIGNED_DISPARITY: "aligned in disparity"}
# in the column order of per_image.csv; of a family that is not here: only the scores themselves
VARIANTS = {
    "depth": (
        *(Variant(), Variant(suffix=ALIGNED), Variant(FOREGROUND)),
        *(Variant(suffix=MEDIAN_SCALED), Variant(suffix=ALIGNED_DISPARITY)),
        *(
            Variant(prefix, suffix)
            for prefix in (CAPPED, EIGEN, CAPPED_EIGEN)
            for suffix in ("", ALIGNED, MEDIAN_SCALED, ALIGNED_DISPARITY)
        ),
    )
}
PLAIN = (Variant(),)


def split_key(family: str, key: str) -> tuple[ScoreSpec, Variant] | None:
    """The score that a key of a family is of, and in which variant; None if it is none (`..._pooled` keys are not)."""
    for prefix in PREFIXES:
        for suffix in SUFFIXES:
            if key.startswith(prefix) and key.endswith(suffix) and len(key) > len(prefix) + len(suffix):
                spec = SCORES.get((family, key[len(prefix) : len(key) - len(suffix)]))
                if spec is not None:
                    return spec, Variant(prefix, suffix)
    return None


def list_scores(*families: str, at_least: Prominence = Prominence.DETAIL) -> list[ScoreSpec]:
    """The scores of these families (default: all) in display order: by family, most prominent first."""
    chosen = [spec for spec in _SPECS if spec.family in (families or FAMILIES) and spec.prominence >= at_least]
    return sorted(chosen, key=lambda spec: (FAMILIES.index(spec.family), -spec.prominence))
