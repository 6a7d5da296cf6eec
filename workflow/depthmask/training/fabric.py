"""Lightning's Fabric, which every module here takes from this one.

Fabric imports torchmetrics only to ask for its version, for a callback that nothing here uses; where the package is installed,
as it is for the tests, that was a quarter of the time until a training begins.
"""

from __future__ import annotations

import importlib
import sys

UNUSED = "torchmetrics"


def _import_without_unused() -> None:
    if UNUSED in sys.modules:
        return
    sys.modules[UNUSED] = None  # while it stands there, it cannot be imported
    try:
        importlib.import_module("lightning_fabric")
    finally:
        del sys.modules[UNUSED]


_import_without_unused()
from lightning_fabric import Fabric  # noqa: E402
from lightning_fabric.plugins.environments import LightningEnvironment, TorchElasticEnvironment  # noqa: E402
from lightning_fabric.strategies import DDPStrategy  # noqa: E402

__all__ = ["DDPStrategy", "Fabric", "LightningEnvironment", "TorchElasticEnvironment"]
