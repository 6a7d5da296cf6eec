"""Scores of the foreground mask.

Protocol: the prediction is a probability per pixel, the truth an alpha per pixel; both are cut at THRESHOLD, except for
`mae`. Every pixel counts; an image whose mask is unknown is ignored (its scores are NaN). With TP, FP and FN the numbers of
pixels that are rightly, falsely and not called foreground:

    iou        TP / (TP + FP + FN), Jaccard 1912             0..1, higher is better
    dice       2 TP / (2 TP + FP + FN), Dice 1945            0..1, higher is better
    precision  TP / (TP + FP)                                0..1, higher is better
    recall     TP / (TP + FN)                                0..1, higher is better
    mae        mean of |probability - alpha|, nothing cut    0..1, lower is better

Empty masks: if prediction and truth are both empty, the first four are undefined (NaN) and the image has no part in their
means, so that an image in which there is nothing to find is never a perfect score. If only one is empty they are 0: an empty
prediction has precision 0 on an image with foreground, and on one without, any false foreground scores 0. A set without any
foreground has no mask scores at all (`evaluation.not_scored`). In pooled scores, which sum over all known masks, two empty ones
add nothing.
The first four do not change when the probability passes through a monotone function that keeps THRESHOLD in its place.

Shapes: B images of H x W.
"""

from __future__ import annotations

import torch
from torch import Tensor

from depthmask.metrics.reduce import Statistics, as_float64

THRESHOLD = 0.5


def gather_mask(mask_prob_B1HW: Tensor, mask_B1HW: Tensor, known_B: Tensor | None = None) -> Statistics:
    """The sums, one number an image (float64, B), from which the functions below compute scores of one image or of many.

    known: bool, which masks are known; None: all. The sums of an unknown one are 0, `num_pixels` included.
    """
    mask_prob, mask = as_float64(mask_prob_B1HW), as_float64(mask_B1HW)
    predicted, true = mask_prob >= THRESHOLD, mask >= THRESHOLD
    counts = {
        "true_positives": predicted & true,
        "false_positives": predicted & ~true,
        "false_negatives": ~predicted & true,
    }
    sums = {name: pixels.sum(dim=(1, 2, 3)).double() for name, pixels in counts.items()}
    sums["abs_error"] = (mask_prob - mask).abs().sum(dim=(1, 2, 3))
    sums["num_pixels"] = sums["abs_error"].new_full((len(mask),), mask[0].numel() if len(mask) else 0)
    return sums if known_B is None else {name: values * known_B.to(values.device) for name, values in sums.items()}


def iou(sums: Statistics) -> Tensor:
    """TP / (TP + FP + FN)."""
    right = sums["true_positives"]
    return _divide(right, right + sums["false_positives"] + sums["false_negatives"], sums)


def dice(sums: Statistics) -> Tensor:
    """2 TP / (2 TP + FP + FN)."""
    right = sums["true_positives"]
    return _divide(2 * right, 2 * right + sums["false_positives"] + sums["false_negatives"], sums)


def precision(sums: Statistics) -> Tensor:
    """TP / (TP + FP)."""
    return _divide(sums["true_positives"], sums["true_positives"] + sums["false_positives"], sums)


def recall(sums: Statistics) -> Tensor:
    """TP / (TP + FN)."""
    return _divide(sums["true_positives"], sums["true_positives"] + sums["false_negatives"], sums)


def mae(sums: Statistics) -> Tensor:
    """Mean absolute error of the probability."""
    return sums["abs_error"] / sums["num_pixels"]


def _divide(part: Tensor, whole: Tensor, sums: Statistics) -> Tensor:
    any_foreground = sums["true_positives"] + sums["false_positives"] + sums["false_negatives"] > 0
    return torch.where(whole == 0, torch.where(any_foreground, 0.0, torch.nan), part / whole)
