"""The networks, listed in `registry.networks`.

A network is built from `NetworkParams`, takes a normalised image and, if its settings say so, a normalised background, both
with sides that are multiples of its stride, and returns a `Prediction`. If parts of it serve one task only, its property
`branches` lists them: {"mask": [modules], "depth": [modules]}.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from depthmask.params import NetworkParams
from depthmask.registry.networks import NETWORKS

if TYPE_CHECKING:
    from torch import nn


def make_network(settings: NetworkParams, encoder_config: Mapping[str, Any] | None = None) -> nn.Module:
    """Build the network settings.name; initial weights depend on torch's seed.

    encoder_config: what its encoder is built from, if that is of another library.

    Raises:
        UserError: it belongs to an optional package that is not installed.
        ValueError: its encoder cannot be built from that configuration.
    """
    spec = NETWORKS[settings.name]
    cls = getattr(importlib.import_module(f"depthmask.models.{spec.module}"), spec.cls)
    return cls(settings, encoder_config) if spec.has_encoder else cls(settings)
