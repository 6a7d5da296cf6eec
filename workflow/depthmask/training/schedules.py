"""Learning-rate schedules: torch's own, by name. All advance once per step; plateau once per epoch."""

from __future__ import annotations

import torch
from torch.optim import lr_scheduler

from depthmask.params import PhaseParams

ENCODER = "network.encoder."  # start of its parameters' names
START_DIVISOR = 25  # one_cycle and triangular2 start at the maximum rate divided by this


def make_optimizer(model: torch.nn.Module, phase: PhaseParams, fused: bool) -> torch.optim.Optimizer:
    """AdamW or SGD over all parameters; weight decay only on those with two or more dimensions (not norms, not biases).

    The encoder, where there is one, has groups of its own after the others, with its own learning rate.
    """
    encoder = {id(p) for name, p in model.named_parameters() if name.startswith(ENCODER)}
    groups = []
    for of_encoder, factor in ((False, 1.0), (True, phase.encoder_lr_factor)):
        members = [p for p in model.parameters() if p.requires_grad and (id(p) in encoder) == of_encoder]
        common = {"lr": phase.learning_rate * factor}
        groups += [
            {"params": [p for p in members if p.ndim > 1], "weight_decay": phase.weight_decay, **common},
            {"params": [p for p in members if p.ndim <= 1], "weight_decay": 0.0, **common},
        ]
    groups = [group for group in groups if group["params"]]
    if phase.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=phase.learning_rate, betas=(phase.momentum, 0.999), fused=fused)
    return torch.optim.SGD(groups, lr=phase.learning_rate, momentum=phase.momentum, fused=fused)


def make_scheduler(optimizer: torch.optim.Optimizer, phase: PhaseParams, steps_per_epoch: int) -> lr_scheduler.LRScheduler:
    """The phase's schedule over its whole length."""
    num_steps = steps_per_epoch * phase.epochs
    rates = [group["lr"] for group in optimizer.param_groups]
    match phase.schedule:
        case "one_cycle":
            total, warmup = max(2, num_steps), phase.warmup_fraction
            if warmup * total == 1:
                warmup *= 1 - 1e-9  # a warm-up of zero steps, by which torch would divide
            return lr_scheduler.OneCycleLR(
                optimizer,
                rates,
                total_steps=total,
                pct_start=warmup,
                div_factor=START_DIVISOR,
                cycle_momentum=False,
            )
        case "cosine":
            return lr_scheduler.CosineAnnealingLR(optimizer, T_max=num_steps)
        case "step":
            milestones = [epoch * steps_per_epoch for epoch in phase.milestones]
            return lr_scheduler.MultiStepLR(optimizer, milestones, gamma=phase.gamma)
        case "plateau":
            return lr_scheduler.ReduceLROnPlateau(optimizer, factor=phase.gamma, patience=phase.patience_epochs)
        case "triangular2":
            return lr_scheduler.CyclicLR(
                optimizer,
                base_lr=[rate / START_DIVISOR for rate in rates],
                max_lr=rates,
                step_size_up=max(1, phase.cycle_epochs * steps_per_epoch // 2),
                mode="triangular2",
                cycle_momentum=False,
            )
    return lr_scheduler.ConstantLR(optimizer, factor=1.0, total_iters=0)


def steps_each_epoch(scheduler: lr_scheduler.LRScheduler) -> bool:
    """Whether the scheduler takes the validation loss once per epoch, instead of a call per step."""
    return isinstance(scheduler, lr_scheduler.ReduceLROnPlateau)
