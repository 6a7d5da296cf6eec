"""Settings of small networks."""

from __future__ import annotations

from depthmask.params import NetworkParams


def make_settings(name: str = "compact", **changes) -> NetworkParams:
    """Narrow, without dropout and for the image alone, unless `changes` say otherwise."""
    small = {"width": 4, "dropout": 0.0, "background_input": False, "encoder": "efficientnet_lite0"}
    return NetworkParams(name=name, **(small | changes))
