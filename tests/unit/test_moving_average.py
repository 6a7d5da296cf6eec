"""The moving average is torch's own, bit for bit."""

from __future__ import annotations

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from depthmask.training.moving_average import MovingAverage


def test_every_update_gives_the_bits_of_torchs_class():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5), nn.Conv2d(5, 2, 1).double())
    decays = iter((0.1, 0.6, 0.9, 0.99))
    ours = MovingAverage(model, lambda: decay)
    theirs = AveragedModel(model, multi_avg_fn=lambda *lists: get_ema_multi_avg_fn(decay)(*lists), use_buffers=True)
    for decay in decays:  # noqa: B007 (read by both averages)
        with torch.no_grad():
            for tensor in (*model.parameters(), *model.buffers()):
                tensor.add_(torch.randn(tensor.shape) if tensor.is_floating_point() else 7)
        ours.update_parameters(model)
        theirs.update_parameters(model)
        mine, other = ours.state_dict(), theirs.state_dict()
        assert mine.keys() == other.keys() and int(mine["n_averaged"]) == int(other["n_averaged"])
        assert [name for name in mine if not torch.equal(mine[name], other[name])] == []
    assert not torch.equal(mine["module.0.weight"], model[0].weight)
