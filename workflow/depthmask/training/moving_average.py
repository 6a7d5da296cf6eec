"""The moving average of a network's weights, without waiting for the GPU at every step."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn


class MovingAverage(AveragedModel):
    """An exponential moving average of weights and buffers; the first update copies them.

    It computes what torch's class does. But that copies its counter from the CPU to the GPU at each update, for functions that
    read it, and waits until it is there.

    find_decay: the decay of the next update.
    """

    def __init__(self, model: nn.Module, find_decay: Callable[[], float]):
        super().__init__(model, use_buffers=True)
        self.find_decay = find_decay

    @torch.no_grad()
    def update_parameters(self, model: nn.Module) -> None:
        """Move the average towards the model's weights."""
        means, values = _list_tensors(self.module), _list_tensors(model)
        if self.n_averaged == 0:  # the counter stays on the CPU
            torch._foreach_copy_(means, values)
        else:
            update = get_ema_multi_avg_fn(self.find_decay())
            for dtype in dict.fromkeys(mean.dtype for mean in means):
                pairs = [pair for pair in zip(means, values, strict=True) if pair[0].dtype == dtype]
                update(*map(list, zip(*pairs, strict=True)), None)
        self.n_averaged += 1


def _list_tensors(model: nn.Module) -> list[Tensor]:
    return [tensor.detach() for tensor in (*model.parameters(), *model.buffers())]
