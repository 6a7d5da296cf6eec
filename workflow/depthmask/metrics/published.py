"""The published systems' own scores, for comparison with the figures that their authors report.

Protocol: mask and depth are maps of 0..1 (the depth of the source's maximum), every pixel of a mask counts and the known ones
of a depth. With p the prediction and t the truth, both soft where nothing is said of a threshold:

    mask_mse                mean (p - t)^2                                      B      0..1, lower is better
    mask_iou                both cut at 0.5: intersection / union               C, D   0..1, higher is better
    mask_iou_standardised   the same, cut at 0.5 of (map - mean) / std          D      0..1, higher is better
    mask_dice_loss          1 - (2 sum(p t) + 1) / (sum(p^2) + sum(t^2) + 1)    D      0..1, lower is better
    depth_rmse_of_max       sqrt(mean (p - t)^2), in parts of the maximum       B      0..1, lower is better
    depth_l1_of_max         mean |p - t|, in parts of the maximum               D      0..1, lower is better
    depth_iou, depth_iou_standardised, depth_dice_loss: as for the mask         D

D cuts "normalised values" at 0.5, and whether those are maps of 0..1 or standardised ones is not known: both are given. mean and
std are those of the training part (`find_thresholds`); without them there are no `..._standardised`. Intersection over union
of two maps without a pixel over the threshold is 1.

System D takes one union over a batch, so that its figures depend on the batch size: batches of one picture give the mean over
pictures, one batch of everything the pooled score. Here sums are gathered per picture, and both of these are given.

Shapes: B pictures of H x W.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from depthmask.metrics.mask import THRESHOLD
from depthmask.metrics.reduce import Scores, Statistics, as_float64

STANDARDISED = "_standardised"


class Thresholds(NamedTuple):
    """Where maps of 0..1 are cut so that, standardised, they are cut at THRESHOLD."""

    mask: float
    depth: float


def find_thresholds(channels: Mapping[str, Mapping]) -> Thresholds:
    """Mean + THRESHOLD x standard deviation of `mask` and `depth`, from the channels of statistics.json.

    A kind that nothing is known of is cut at THRESHOLD.
    """

    def cut(kind: str) -> float:
        described = channels.get(kind) or {}
        mean, std = described.get("mean"), described.get("std")
        return THRESHOLD if not mean or not std else mean[0] + THRESHOLD * std[0]

    return Thresholds(cut("mask"), cut("depth"))


def gather_published(
    mask_prob_B1HW: Tensor,
    depth_B1HW: Tensor,
    mask_B1HW: Tensor,
    target_B1HW: Tensor,
    valid_B1HW: Tensor,
    thresholds: Thresholds | None = None,
) -> Statistics:
    """The sums, one number a picture (float64, B), from which `score_published` makes scores."""
    mask_prob, depth = as_float64(mask_prob_B1HW), as_float64(depth_B1HW)
    valid = valid_B1HW.to(depth.device)
    maps = {
        "mask": (mask_prob, as_float64(mask_B1HW), torch.ones_like(valid)),
        "depth": (depth, as_float64(target_B1HW), valid),
    }
    sums = {}
    for task, (prediction, truth, counted) in maps.items():
        threshold = None if thresholds is None else getattr(thresholds, task)
        sums |= {f"{task}_{name}": values for name, values in _gather_map(prediction, truth, counted, threshold).items()}
    return sums


def score_published(statistics: Statistics) -> Scores:
    """The scores named above, as far as their sums were gathered, in the shape of the statistics; NaN where no pixel counts."""
    scores = {"mask_mse": statistics["mask_squared_error"] / statistics["mask_num_pixels"]}
    num_known = statistics["depth_num_pixels"]
    scores["depth_rmse_of_max"] = (statistics["depth_squared_error"] / num_known).sqrt()
    scores["depth_l1_of_max"] = statistics["depth_abs_error"] / num_known
    for task in ("mask", "depth"):
        sums = {name.removeprefix(f"{task}_"): values for name, values in statistics.items() if name.startswith(f"{task}_")}
        undefined = sums["num_pixels"] == 0
        for suffix in ("", STANDARDISED):
            if f"union{suffix}" in sums:
                overlap, union = sums[f"intersection{suffix}"], sums[f"union{suffix}"]
                iou = torch.where(union == 0, 1.0, overlap / union)
                scores[f"{task}_iou{suffix}"] = torch.where(undefined, torch.nan, iou)
        dice = 1 - (2 * sums["products"] + 1) / (sums["predicted_squares"] + sums["true_squares"] + 1)
        scores[f"{task}_dice_loss"] = torch.where(undefined, torch.nan, dice)
    return scores


def _gather_map(prediction: Tensor, truth: Tensor, counted: Tensor, threshold: float | None) -> Statistics:
    def add_up(values: Tensor) -> Tensor:
        return torch.where(counted, values.double(), 0.0).sum(dim=(1, 2, 3))

    error = prediction - truth
    sums = {
        "num_pixels": counted.sum(dim=(1, 2, 3)).double(),
        "squared_error": add_up(error**2),
        "abs_error": add_up(error.abs()),
        "products": add_up(prediction * truth),
        "predicted_squares": add_up(prediction**2),
        "true_squares": add_up(truth**2),
    }
    for suffix, cut in (("", THRESHOLD), (STANDARDISED, threshold)):
        if cut is not None:
            predicted, true = prediction >= cut, truth >= cut
            sums |= {f"intersection{suffix}": add_up(predicted & true), f"union{suffix}": add_up(predicted | true)}
    return sums
