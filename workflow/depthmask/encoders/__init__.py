"""Encoders: images to feature maps at several resolutions, with weights that somebody else trained.

An encoder is a module with `channels`, those of its four maps at 1/4, 1/8, 1/16 and 1/32 of the image's size (each side rounded
up), and `stages`, its modules from the image on, as many as can be frozen one after the other. Called with normalised images
B x 3 x H x W it returns the four maps.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from depthmask.registry.encoders import parse_encoder


def make_encoder(name: str, config: Mapping[str, Any] | None = None) -> nn.Module:
    """Build an encoder; initial weights depend on torch's seed.

    name: as `model.encoder`. config: what an encoder of another library is built from, see `depthmask.weights.libraries`; None
    for this project's own.

    Raises:
        UserError: it belongs to an optional package that is not installed.
        ValueError: the config is missing, or describes no encoder of that library.
    """
    library = parse_encoder(name).library
    if library is None:
        from depthmask.encoders.efficientnet_lite import EfficientNetLite

        return EfficientNetLite(name)
    if config is None:
        raise ValueError(f"the encoder {name} cannot be built without its configuration")
    if library == "timm":
        from depthmask.encoders.timm_backbone import TimmEncoder

        return TimmEncoder(config)
    from depthmask.encoders.transformers_backbone import TransformersEncoder

    return TransformersEncoder(config)
