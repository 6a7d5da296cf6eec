"""The networks. A new one is one file with one class, one line in NETWORKS, and one of facts in params.model (docs/extending.md).

A network is built from `ModelParams`, takes a normalised image and, if its settings say so, a normalised background, both
with sides that are multiples of its stride, and returns a `Prediction`. Where parts of it serve one task alone, its property
`branches` names them: {"mask": [modules], "depth": [modules]}.
"""

from __future__ import annotations

from depthmask.models.branched_unet import BranchedUnet
from depthmask.models.compact import CompactNet
from depthmask.models.dense_concat import DenseConcat
from depthmask.models.dilated import DilatedNet
from depthmask.models.multi_dilation_unet import MultiDilationUnet
from depthmask.models.prediction import Prediction, Standards
from depthmask.models.resnet18_shuffle import ResNet18Shuffle
from depthmask.models.smp_unet import SmpUnet
from depthmask.models.two_stream_separable import TwoStreamSeparable

NETWORKS = {
    "compact": CompactNet,
    "dilated_small": DilatedNet,
    "dilated_plain": DilatedNet,
    "dilated_residual": DilatedNet,
    "dilated_depth_classes": DilatedNet,
    "resnet18_shuffle": ResNet18Shuffle,
    "multi_dilation_unet": MultiDilationUnet,
    "dense_concat": DenseConcat,
    "branched_unet": BranchedUnet,
    "two_stream_separable": TwoStreamSeparable,
    "smp_unet": SmpUnet,
}

__all__ = ["NETWORKS", "Prediction", "Standards"]
