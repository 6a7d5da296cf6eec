"""Encoders: images to feature maps at several resolutions, with weights that somebody else trained.

An encoder is a module with `channels`, those of its four maps at 1/4, 1/8, 1/16 and 1/32 of the image's size (each side rounded
up), and `stages`, its modules from the image on, as many as can be frozen one after the other. Called with normalised images
B x 3 x H x W it returns the four maps.
"""

from __future__ import annotations

from torch import nn


def make_encoder(name: str) -> nn.Module:
    """Build an encoder; initial weights depend on torch's seed."""
    from depthmask.encoders.efficientnet_lite import EfficientNetLite

    return EfficientNetLite(name)
