"""The published systems' own scores, for comparison with the figures that their authors report.

Protocol: mask and depth are maps of 0..1 (the depth of the source's maximum), every pixel of a known mask counts and the known
ones of a depth. With p the prediction and t the truth, both soft where nothing is said of a threshold:

    mask_mse                mean (p - t)^2                                      B      0..1, lower is better
    mask_iou                both cut at 0.5: intersection / union               C, D   0..1, higher is better
    mask_iou_standardised   the same, cut at 0.5 of (map - mean) / std          D      0..1, higher is better
    mask_dice_loss          1 - (2 sum(p t) + 1) / (sum(p^2) + sum(t^2) + 1)    D      0..1, lower is better
    depth_rmse_of_max       sqrt(mean (p - t)^2), as a fraction of the max       B      0..1, lower is better
    depth_l1_of_max         mean |p - t|, as a fraction of the max               D      0..1, lower is better
    depth_iou, depth_iou_standardised, depth_dice_loss: as for the mask         D

D cuts "normalised values" at 0.5, and whether those are maps of 0..1 or standardised ones is not known: both are given. mean and
std are those of the training part (`find_thresholds`); without them there are no `..._standardised`. Intersection over union
of two maps without a pixel over the threshold is 1; a set in which no truth has one has no such score
(`evaluation.not_scored`).

System D takes one union over a batch, so that its figures depend on the batch size: batches of one image give the mean over
images, one batch of everything the pooled score. Here sums are gathered per image, and both of these are given.

Shapes: B images of H x W.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from depthmask.metrics.mask import THRESHOLD
from depthmask.metrics.reduce import Statistics, as_float64

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
    mask_known_B: Tensor | None = None,
) -> Statistics:
    """The sums, one number an image (float64, B), from which the functions below compute scores; NaN where no pixel counts.

    mask_known: bool, which masks are known; None: all.
    """
    mask_prob, depth = as_float64(mask_prob_B1HW), as_float64(depth_B1HW)
    valid = valid_B1HW.to(depth.device)
    mask_valid = torch.ones_like(valid)
    if mask_known_B is not None:
        mask_valid &= mask_known_B.to(valid.device)[:, None, None, None]
    maps = {
        "mask": (mask_prob, as_float64(mask_B1HW), mask_valid),
        "depth": (depth, as_float64(target_B1HW), valid),
    }
    sums = {}
    for task, (prediction, truth, counted) in maps.items():
        threshold = None if thresholds is None else getattr(thresholds, task)
        sums |= {f"{task}_{name}": values for name, values in _gather_map(prediction, truth, counted, threshold).items()}
    return sums


def mask_mse(sums: Statistics) -> Tensor:
    """Mean squared error of the probability."""
    return sums["mask_squared_error"] / sums["mask_num_pixels"]


def depth_rmse_of_max(sums: Statistics) -> Tensor:
    """Root of the mean squared error, as a fraction of the maximum depth."""
    return (sums["depth_squared_error"] / sums["depth_num_pixels"]).sqrt()


def depth_l1_of_max(sums: Statistics) -> Tensor:
    """Mean absolute error, as a fraction of the maximum depth."""
    return sums["depth_abs_error"] / sums["depth_num_pixels"]


def _score_iou(sums: Statistics, task: str, cut: str = "") -> Tensor | None:
    if f"{task}_union{cut}" not in sums:
        return None
    overlap, union = sums[f"{task}_intersection{cut}"], sums[f"{task}_union{cut}"]
    return torch.where(sums[f"{task}_num_pixels"] == 0, torch.nan, torch.where(union == 0, 1.0, overlap / union))


def _score_dice_loss(sums: Statistics, task: str) -> Tensor:
    loss = 1 - (2 * sums[f"{task}_products"] + 1) / (sums[f"{task}_predicted_squares"] + sums[f"{task}_true_squares"] + 1)
    return torch.where(sums[f"{task}_num_pixels"] == 0, torch.nan, loss)


mask_iou, depth_iou = partial(_score_iou, task="mask"), partial(_score_iou, task="depth")
mask_iou_standardised = partial(_score_iou, task="mask", cut=STANDARDISED)
depth_iou_standardised = partial(_score_iou, task="depth", cut=STANDARDISED)
mask_dice_loss, depth_dice_loss = partial(_score_dice_loss, task="mask"), partial(_score_dice_loss, task="depth")


def _gather_map(prediction: Tensor, truth: Tensor, counted: Tensor, threshold: float | None) -> Statistics:
    def sum_counted(values: Tensor) -> Tensor:
        return torch.where(counted, values.double(), 0.0).sum(dim=(1, 2, 3))

    error = prediction - truth
    sums = {
        "num_pixels": counted.sum(dim=(1, 2, 3)).double(),
        "squared_error": sum_counted(error**2),
        "abs_error": sum_counted(error.abs()),
        "products": sum_counted(prediction * truth),
        "predicted_squares": sum_counted(prediction**2),
        "true_squares": sum_counted(truth**2),
    }
    for suffix, cut in (("", THRESHOLD), (STANDARDISED, threshold)):
        if cut is not None:
            predicted, true = prediction >= cut, truth >= cut
            sums |= {f"intersection{suffix}": sum_counted(predicted & true), f"union{suffix}": sum_counted(predicted | true)}
            sums[f"true_pixels{suffix}"] = sum_counted(true)
    return sums
