"""Speeds up a network for prediction only, equal up to rounding: batch norms become part of the convolutions before them."""

from __future__ import annotations

import itertools

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


def fold_batch_norms(model: nn.Module) -> None:
    """Fold batch norms that follow a convolution in a Sequential, which must compute its modules in order, into its weights.

    The model must be in eval mode; afterwards it cannot be trained or saved.
    """
    for module in list(model.modules()):
        if isinstance(module, nn.Sequential):
            for number, (first, second) in enumerate(itertools.pairwise(list(module))):
                if isinstance(first, nn.Conv2d) and isinstance(second, nn.BatchNorm2d):
                    module[number], module[number + 1] = fuse_conv_bn_eval(first, second), nn.Identity()
