"""The networks; which there are, `registry.networks` says.

A network is built from `ModelParams`, takes a normalised image and, if its settings say so, a normalised background, both
with sides that are multiples of its stride, and returns a `Prediction`. Where parts of it serve one task alone, its property
`branches` names them: {"mask": [modules], "depth": [modules]}.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from depthmask.params import ModelParams
from depthmask.registry.networks import NETWORKS

if TYPE_CHECKING:
    from torch import nn


def make_network(settings: ModelParams) -> nn.Module:
    """The network that settings.name names; its weights follow torch's seed.

    Raises:
        UserError: it belongs to an optional package that is not installed.
    """
    spec = NETWORKS[settings.name]
    return getattr(importlib.import_module(f"depthmask.models.{spec.module}"), spec.cls)(settings)
