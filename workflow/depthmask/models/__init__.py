"""The networks, listed in `registry.networks`.

A network is built from `NetworkParams`, takes a normalised image and, if its settings say so, a normalised background, both
with sides that are multiples of its stride, and returns a `Prediction`. If parts of it serve one task only, its property
`branches` lists them: {"mask": [modules], "depth": [modules]}.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from depthmask.params import NetworkParams
from depthmask.registry.networks import NETWORKS

if TYPE_CHECKING:
    from torch import nn


def make_network(settings: NetworkParams) -> nn.Module:
    """Build the network settings.name; initial weights depend on torch's seed.

    Raises:
        UserError: it belongs to an optional package that is not installed.
    """
    spec = NETWORKS[settings.name]
    return getattr(importlib.import_module(f"depthmask.models.{spec.module}"), spec.cls)(settings)
