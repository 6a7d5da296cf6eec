"""Losses and their weighting. A new one is one function, one line here and one key in params.(Mask|Depth)LossWeights."""

from __future__ import annotations

import torch

from depthmask.losses import depth, mask
from depthmask.params import LossParams

MASK_LOSSES = {"bce": mask.bce, "dice": mask.dice}
DEPTH_LOSSES = {
    "l1": depth.l1,
    "log_l1": depth.log_l1,
    "ssim": depth.ssim,
    "ms_ssim": depth.ms_ssim,
    "gradient": depth.gradient,
    "log_gradient": depth.log_gradient,
}


def name_terms(weights: LossParams) -> list[str]:
    """The terms that `weigh_losses` returns, in order: `mask_<name>`, then `depth_<name>`, those with a weight."""
    tasks = (("mask", MASK_LOSSES, weights.mask), ("depth", DEPTH_LOSSES, weights.depth))
    return [f"{task}_{name}" for task, losses, given in tasks for name in losses if getattr(given, name)]


def weigh_losses(prediction, batch, weights: LossParams) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """The weighted sum, and each unweighted term by name, as scalars on the device, computed in float32."""
    logits, depth_map = prediction.mask_logits_B1HW.float(), prediction.depth_B1HW.float()
    everywhere = torch.ones_like(batch.valid_B1HW)
    known = batch.valid_B1HW * (1 + (weights.foreground - 1) * batch.mask_B1HW)
    terms, total = {}, logits.new_zeros(())
    for term in name_terms(weights):
        task, name = term.split("_", 1)
        if task == "mask":
            value = MASK_LOSSES[name](logits, batch.mask_B1HW, everywhere)
        else:
            value = DEPTH_LOSSES[name](depth_map, batch.depth_B1HW, known)
        terms[term] = value
        total = total + getattr(getattr(weights, task), name) * value
    return total, terms
