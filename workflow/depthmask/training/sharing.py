"""Layers that depend on the whole batch, batch norm and dropout, for batches that are split into micro-batches or over processes.

`share_layers` replaces a network's layers by these; names and state stay the same. For an unsplit batch they equal torch's.
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
from depthmask.training.distributed import SINGLE_PROCESS, Processes


class Share:
    """Which samples of the whole batch the network is currently given.

    micro_batch: their indices in the batch; number: of this micro-batch, out of the process's num_micro_batches.
    """

    def __init__(self, processes: Processes = SINGLE_PROCESS):
        self.processes = processes
        self.batch_size, self.micro_batch, self.number, self.num_micro_batches = 0, slice(0), 0, 1

    def __deepcopy__(self, memo: dict) -> Share:
        return self  # copies of a network, such as its moving average, share it

    def spread_momentum(self, momentum: float) -> float:
        """The momentum of this micro-batch, so that all of them together, equally weighted, move a running mean by `momentum`."""
        each = momentum / self.num_micro_batches
        return each / (1 - (self.num_micro_batches - 1 - self.number) * each)


def share_layers(network: nn.Module, share: Share) -> None:
    """Make the network's batch norms and dropouts follow `share`.

    Raises:
        UserError: it has one of an unsupported kind.
    """
    for name, module in network.named_modules():
        if type(module) in SHARED:
            module.__class__ = SHARED[type(module)]
        if isinstance(module, SharedBatchNorm2d | SharedDropout2d):
            module.share = share
        elif isinstance(module, _BatchNorm) or (isinstance(module, _DropoutNd) and module.p > 0):
            raise UserError(
                f"model: {name} is a {type(module).__name__}, which cannot be split into micro-batches;"
                " train with one process and without DEPTHMASK_MICRO_BATCH, if necessary with a smaller batch_size"
            )


class SharedBatchNorm2d(nn.BatchNorm2d):
    """Normalises by statistics over all processes; successive micro-batches each have their own.

    The running statistics are updated once a step in total, by the mean over the micro-batches.
    """

    share: Share

    def forward(self, x: Tensor) -> Tensor:
        share = self.share
        if not self.training or (share.processes.count == 1 and share.num_micro_batches == 1):
            return super().forward(x)
        momentum = share.spread_momentum(self.momentum)
        if share.number == share.num_micro_batches - 1:
            self.num_batches_tracked.add_(1)
        if share.processes.count == 1:
            return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, True, momentum, self.eps)
        normalised, mean, var, num = _SyncBatchNorm.apply(x, self.weight, self.bias, self.eps, share.processes)
        with torch.no_grad():
            self.running_mean.lerp_(mean, momentum)
            self.running_var.lerp_(var * (num / (num - 1)), momentum)
        return normalised


class _SyncBatchNorm(torch.autograd.Function):
    """Batch norm over all processes: one all-reduce forward, one backward. Also returns mean, variance and number of values."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float, processes: Processes) -> tuple[Tensor, ...]:
        exact = promote_to_float32(x)
        own_var, own_mean = torch.var_mean(exact, dim=(0, 2, 3), correction=0)
        each = own_mean.new_zeros((processes.count, 3, len(own_mean)))
        each[processes.rank] = torch.stack([torch.full_like(own_mean, x.numel() / x.shape[1]), own_mean, own_var])
        processes.all_reduce_sum(each)
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
    def backward(ctx: Any, gradient: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, inverse, num = ctx.saved_tensors
        gradient = promote_to_float32(gradient)
        normalised = (promote_to_float32(x) - _as_1C11(mean)) * _as_1C11(inverse)
        sums = torch.stack([gradient.sum((0, 2, 3)), (gradient * normalised).sum((0, 2, 3))])
        bias_gradient, weight_gradient = sums.clone()  # of this process's samples; `sum_gradients` sums them
        ctx.processes.all_reduce_sum(sums)
        mean_gradient, mean_product = sums / num
        centred = gradient - _as_1C11(mean_gradient) - normalised * _as_1C11(mean_product)
        return (centred * _as_1C11(inverse * weight)).to(x.dtype), weight_gradient, bias_gradient, None, None


class SharedDropout2d(nn.Dropout2d):
    """Draws for the whole batch and uses the draws of the current samples, so that splitting changes nothing."""

    share: Share

    def forward(self, x: Tensor) -> Tensor:
        share = self.share
        if not self.training or not self.p or (share.processes.count == 1 and share.num_micro_batches == 1):
            return super().forward(x)
        return x * F.dropout2d(x.new_ones(share.batch_size, x.shape[1], 1, 1), self.p)[share.micro_batch]


SHARED = {nn.BatchNorm2d: SharedBatchNorm2d, nn.Dropout2d: SharedDropout2d}


def _as_1C11(values: Tensor) -> Tensor:  # noqa: N802 (shapes as suffixes)
    return values.view(1, -1, 1, 1)
