"""How well a foreground mask was found.

Protocol: the prediction is a probability per pixel, the truth an alpha per pixel; both are cut at THRESHOLD, except for
`mae`. Every pixel counts. With TP, FP and FN the numbers of pixels that are rightly, falsely and not called foreground:

    iou        TP / (TP + FP + FN), Jaccard 1912             0..1, higher is better
    dice       2 TP / (2 TP + FP + FN), Dice 1945            0..1, higher is better
    precision  TP / (TP + FP)                                0..1, higher is better
    recall     TP / (TP + FN)                                0..1, higher is better
    mae        mean of |probability - alpha|, nothing cut    0..1, lower is better

Empty masks: where such a fraction is 0 / 0 it is 1 if prediction and truth are both empty, and 0 if only one is. So the
empty answer has precision 0 on a picture with foreground, and any false foreground costs everything on one without.
The first four do not change when the probability passes through a monotone function that keeps THRESHOLD in its place.

Shapes: B pictures of H x W.
"""

from __future__ import annotations

from torch import Tensor

from depthmask.metrics.reduce import Scores, Statistics, as_float64

THRESHOLD = 0.5


def gather_mask(mask_prob_B1HW: Tensor, mask_B1HW: Tensor) -> Statistics:
    """The sums, one number a picture (float64, B), from which `score_mask` makes scores of one picture or of many."""
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
    return sums


def score_mask(statistics: Statistics) -> Scores:
    """The five scores named above, in the shape of the statistics: per picture, or of sums over a whole set."""
    right = statistics["true_positives"]
    false, missed = statistics["false_positives"], statistics["false_negatives"]
    both_empty = (right + false + missed) == 0

    def divide(part: Tensor, whole: Tensor) -> Tensor:
        return both_empty.double().where(whole == 0, part / whole)

    return {
        "iou": divide(right, right + false + missed),
        "dice": divide(2 * right, 2 * right + false + missed),
        "precision": divide(right, right + false),
        "recall": divide(right, right + missed),
        "mae": statistics["abs_error"] / statistics["num_pixels"],
    }


def measure_mask(mask_prob_B1HW: Tensor, mask_B1HW: Tensor) -> Scores:
    """Scores of each picture (float64, B) from probabilities and alphas, both 0..1."""
    return score_mask(gather_mask(mask_prob_B1HW, mask_B1HW))
