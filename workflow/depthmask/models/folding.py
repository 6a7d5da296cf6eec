"""What a network computes anew for every picture though it never changes, computed once: for a model that only predicts."""

from __future__ import annotations

import itertools

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from depthmask.models.compact import Place

SIZES_MAX = 16  # whose places are remembered; photos of one camera have one or two


class RememberedPlace(nn.Module):
    """A `Place` whose maps are kept by size."""

    def __init__(self, place: Place):
        super().__init__()
        self.place, self._maps = place, {}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        key = (*x.shape[-2:], x.device)
        if key not in self._maps:
            if len(self._maps) == SIZES_MAX:
                self._maps.clear()
            self._maps[key] = self.place(torch.zeros_like(x[:1]))
        return x + self._maps[key]


def fold_constants(model: nn.Module) -> None:
    """Put batch norms that follow a convolution in a Sequential into its weights, and remember what places give.

    Equal but for rounding, and faster. The model is in eval mode, and can neither be trained nor saved any more.
    """
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, Place):
                setattr(module, name, RememberedPlace(child))
        if isinstance(module, nn.Sequential):
            for number, (first, second) in enumerate(itertools.pairwise(list(module))):
                if isinstance(first, nn.Conv2d) and isinstance(second, nn.BatchNorm2d):
                    module[number], module[number + 1] = fuse_conv_bn_eval(first, second), nn.Identity()
