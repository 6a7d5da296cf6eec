"""Lightning's Fabric; every module here imports it from this one.

Fabric imports torchmetrics only to check its version, for a callback that nothing here uses. Where the package is installed, as
it is for the tests, that took a quarter of the time until training starts.
"""

from __future__ import annotations

import importlib
import sys

UNUSED = "torchmetrics"


def _import_without_unused() -> None:
    if UNUSED in sys.modules:
        return
    sys.modules[UNUSED] = None  # which makes importing it fail
    try:
        importlib.import_module("lightning_fabric")
    finally:
        del sys.modules[UNUSED]


_import_without_unused()
from lightning_fabric import Fabric  # noqa: E402
from lightning_fabric.plugins.environments import LightningEnvironment, TorchElasticEnvironment  # noqa: E402
from lightning_fabric.strategies import DDPStrategy  # noqa: E402

__all__ = ["DDPStrategy", "Fabric", "LightningEnvironment", "TorchElasticEnvironment"]
