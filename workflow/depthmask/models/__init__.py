"""The networks. A new one is one file with one class, and one line in NETWORKS (and its name in params.ModelParams).

A network is built from `ModelParams`, has a `stride` that its input's sides must be multiples of, takes a normalised image
and, if its settings say so, a normalised background, and returns a `Prediction`.
"""

from __future__ import annotations

from depthmask.models.compact import CompactNet
from depthmask.models.prediction import Prediction

NETWORKS = {
    "compact": CompactNet,
}

__all__ = ["NETWORKS", "Prediction"]
