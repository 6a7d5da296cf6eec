"""Losses of the mask: pure functions (logits_B1HW, target_B1HW 0..1, valid_B1HW bool) -> scalar."""

from __future__ import annotations

import torch
from torch.nn import functional as F


def bce(logits: torch.Tensor, target: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
    """Binary cross entropy of logits, mean over valid pixels; 0 without any."""
    each = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    return (each * valid).sum() / valid.sum().clamp(min=1)


def dice(logits: torch.Tensor, target: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
    """1 - (2 sum(p t) + 1) / (sum(p) + sum(t) + 1) per image, mean over images.

    The 1 in both keeps an image without foreground in: it is 0 there for an empty prediction, and rises with every
    pixel that is wrongly called foreground (Milletari et al. 2016, with the smoothing of the published systems).
    """
    prob = torch.sigmoid(logits) * valid
    truth = target * valid
    overlap = (prob * truth).sum(dim=(1, 2, 3))
    total = prob.sum(dim=(1, 2, 3)) + truth.sum(dim=(1, 2, 3))
    return (1 - (2 * overlap + 1) / (total + 1)).mean()
