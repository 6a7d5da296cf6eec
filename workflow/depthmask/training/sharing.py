"""Layers that look beyond the samples before them: batch norm and dropout, when a batch is computed in parts.

`share_layers` turns a network's own layers into these; names and state stay the same. Computed whole, they do what torch's do.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from depthmask.base.errors import UserError
from depthmask.models.prediction import promote_to_float32
from depthmask.training.distributed import ALONE, Processes


class Share:
    """Which samples of the whole batch the network is given at this moment.

    part: their indices in the batch; number, num_parts: which of the parts it is that this process computes one by one.
    """

    def __init__(self, processes: Processes = ALONE):
        self.processes = processes
        self.batch_size, self.part, self.number, self.num_parts = 0, slice(0), 0, 1

    def __deepcopy__(self, memo: dict) -> Share:
        return self  # a copy of a network, such as its moving average, asks the same

    def spread_momentum(self, momentum: float) -> float:
        """How far a part moves a running mean, so that all parts together move it by `momentum`, each by as much."""
        each = momentum / self.num_parts
        return each / (1 - (self.num_parts - 1 - self.number) * each)


def share_layers(network: nn.Module, share: Share) -> None:
    """Have the network's batch norms and dropouts follow `share`.

    Raises:
        UserError: it has one of a kind that cannot.
    """
    for name, module in network.named_modules():
        if type(module) in SHARED:
            module.__class__ = SHARED[type(module)]
        if isinstance(module, SharedBatchNorm2d | SharedDropout2d):
            module.share = share
        elif isinstance(module, _BatchNorm) or (isinstance(module, _DropoutNd) and module.p > 0):
            raise UserError(
                f"model: {name} is a {type(module).__name__}, which cannot be computed in parts;"
                " train with one process and without DEPTHMASK_MICRO_BATCH, if need be with a smaller batch_size"
            )


class SharedBatchNorm2d(nn.BatchNorm2d):
    """Normalises by the statistics of the samples of all processes; parts that come one after another have their own.

    The running statistics move once a step in all, by the mean over the parts.
    """

    share: Share

    def forward(self, x: Tensor) -> Tensor:
        share = self.share
        if not self.training or (share.processes.count == 1 and share.num_parts == 1):
            return super().forward(x)
        momentum = share.spread_momentum(self.momentum)
        if share.number == share.num_parts - 1:
            self.num_batches_tracked.add_(1)
        if share.processes.count == 1:
            return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, True, momentum, self.eps)
        normalised, mean, var, num = _NormaliseTogether.apply(x, self.weight, self.bias, self.eps, share.processes)
        with torch.no_grad():
            self.running_mean.lerp_(mean, momentum)
            self.running_var.lerp_(var * (num / (num - 1)), momentum)
        return normalised


class _NormaliseTogether(torch.autograd.Function):
    """Batch norm over all processes: one exchange forward, one backward. It also returns mean, variance and their count."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float, processes: Processes) -> tuple[Tensor, ...]:
        exact = promote_to_float32(x)
        own_var, own_mean = torch.var_mean(exact, dim=(0, 2, 3), correction=0)
        each = own_mean.new_zeros((processes.count, 3, len(own_mean)))
        each[processes.rank] = torch.stack([torch.full_like(own_mean, x.numel() / x.shape[1]), own_mean, own_var])
        processes.add_up(each)
        nums, means, variances = each.unbind(1)
        num = nums.sum(0)
        mean = (nums * means).sum(0) / num
        var = (nums * (variances + (means - mean) ** 2)).sum(0) / num
        inverse = (var + eps).rsqrt()
        ctx.save_for_backward(x, weight, mean, inverse, num)
        ctx.processes = processes
        ctx.mark_non_differentiable(mean, var, num)
        normalised = (exact - _as_1C11(mean)) * _as_1C11(inverse)
        return (normalised * _as_1C11(weight) + _as_1C11(bias)).to(x.dtype), mean, var, num

    @staticmethod
    def backward(ctx: Any, slope: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, inverse, num = ctx.saved_tensors
        slope = promote_to_float32(slope)
        normalised = (promote_to_float32(x) - _as_1C11(mean)) * _as_1C11(inverse)
        sums = torch.stack([slope.sum((0, 2, 3)), (slope * normalised).sum((0, 2, 3))])
        slope_bias, slope_weight = sums.clone()  # of own samples, as all gradients are before they are summed
        ctx.processes.add_up(sums)
        mean_slope, mean_product = sums / num
        centred = slope - _as_1C11(mean_slope) - normalised * _as_1C11(mean_product)
        return (centred * _as_1C11(inverse * weight)).to(x.dtype), slope_weight, slope_bias, None, None


class SharedDropout2d(nn.Dropout2d):
    """Draws for the whole batch, as it would if it had it, and takes the draws of its samples."""

    share: Share

    def forward(self, x: Tensor) -> Tensor:
        share = self.share
        if not self.training or not self.p or (share.processes.count == 1 and share.num_parts == 1):
            return super().forward(x)
        return x * F.dropout2d(x.new_ones(share.batch_size, x.shape[1], 1, 1), self.p)[share.part]


SHARED = {nn.BatchNorm2d: SharedBatchNorm2d, nn.Dropout2d: SharedDropout2d}


def _as_1C11(values: Tensor) -> Tensor:  # noqa: N802 (shapes as suffixes)
    return values.view(1, -1, 1, 1)
