"""Losses of the mask alone: pure functions (logits or mask_prob_B1HW, target_B1HW 0..1, valid_B1HW) -> scalar.

valid: bool, or how much each pixel counts. Those of `maps.py` serve the mask as well.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from depthmask.losses.maps import average, find_known_images


def bce_with_logits(logits_B1HW: Tensor, target_B1HW: Tensor, valid_B1HW: Tensor) -> Tensor:
    """Binary cross entropy of logits, mean over valid pixels; 0 without any."""
    return average(F.binary_cross_entropy_with_logits(logits_B1HW, target_B1HW, reduction="none"), valid_B1HW)


def dice(mask_prob_B1HW: Tensor, target_B1HW: Tensor, valid_B1HW: Tensor) -> Tensor:
    """1 - (2 sum(p t) + 1) / (sum(p) + sum(t) + 1) per image, mean over images of which anything is known; 0 without any.

    The 1 in both keeps an image without foreground in: it is 0 there for an empty prediction, and rises with every
    pixel that is wrongly called foreground (Milletari et al. 2016, with the smoothing of the published systems).
    """
    prob, truth = mask_prob_B1HW * valid_B1HW, target_B1HW * valid_B1HW
    return _charge(prob * truth, prob, truth, valid_B1HW)


def dice_squared(mask_prob_B1HW: Tensor, target_B1HW: Tensor, valid_B1HW: Tensor) -> Tensor:
    """1 - (2 sum(p t) + 1) / (sum(p^2) + sum(t^2) + 1) per image, mean as in `dice`: system D's.

    Unlike `dice` it is 0 where a soft mask is met exactly.
    """
    prob, truth = mask_prob_B1HW * valid_B1HW, target_B1HW * valid_B1HW
    return _charge(prob * truth, prob**2, truth**2, valid_B1HW)


def _charge(overlap_B1HW: Tensor, predicted_B1HW: Tensor, true_B1HW: Tensor, valid_B1HW: Tensor) -> Tensor:
    overlap, predicted, true = (part.sum(dim=(1, 2, 3)) for part in (overlap_B1HW, predicted_B1HW, true_B1HW))
    return average(1 - (2 * overlap + 1) / (predicted + true + 1), find_known_images(valid_B1HW))
