"""Encoders of `timm` (PyTorch Image Models), every one that can give its feature maps; an optional package.

A configuration is {"architecture": NAME}, without the tag of any weights.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from functools import partial
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from depthmask.base.errors import UserError
from depthmask.encoders.adapter import Adapter, Layout, probe
from depthmask.registry.encoders import EXTRA

# arguments with which vision transformers, and those with windows, take other sizes than their own; others take neither
SIZE_ARGUMENTS = ({"dynamic_img_size": True}, {"strict_img_size": False}, {})


def import_timm() -> ModuleType:
    """The package; raises UserError if it, or torchvision, which it needs, cannot be imported."""
    try:
        import timm
    except (ImportError, RuntimeError) as error:  # torchvision raises either if built for another torch
        reason = " ".join(str(error).split())[:160]
        raise UserError(
            f"model.encoder: timm:... needs the package timm, which cannot be imported ({reason})",
            hint=f"{EXTRA}, with a torchvision made for the torch in use; or choose another encoder",
        ) from error
    return timm


def check_architecture(name: Any) -> str:
    """The name; raises ValueError where timm has no such model."""
    known = import_timm().list_models()
    if not isinstance(name, str) or name not in known:
        near = difflib.get_close_matches(str(name)[:100], known, n=3)
        raise ValueError(f"timm has no encoder {str(name)[:100]}{'; similar: ' + ', '.join(near) if near else ''}")
    return name


class TimmEncoder(Adapter):
    """An encoder of timm with random weights; raises ValueError where timm has none of that name, or it gives no maps."""

    def __init__(self, config: Mapping[str, Any]):
        if config.keys() != {"architecture"}:
            raise ValueError("the configuration of an encoder of timm is its architecture alone")
        name = check_architecture(config["architecture"])
        arguments, layout = find_arguments(name)
        super().__init__(partial(create, name, **arguments), run_backbone, layout)


def create(name: str, **arguments: Any) -> nn.Module:
    """The backbone; name: with the tag of its weights, if those are to be loaded."""
    backbone = import_timm().create_model(name, features_only=True, **arguments)
    for module in backbone.modules():
        if hasattr(module, "fused_attn"):
            module.fused_attn = False  # the gradient of the fused one is not deterministic on every GPU
    return backbone


def find_arguments(name: str) -> tuple[dict[str, Any], Layout]:
    """The arguments with which an encoder gives all of its maps at any size, if there are such, and what its maps are like.

    Raises:
        ValueError: it gives no maps.
    """
    native_px = import_timm().get_pretrained_cfg(name).input_size[1:]
    found = None
    for size_arguments in SIZE_ARGUMENTS:
        try:
            arguments = {**size_arguments, "out_indices": _list_maps(name, size_arguments)}
            layout = probe(partial(create, name, **arguments), run_backbone, native_px)
        except (AssertionError, AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError):
            continue  # an argument that it does not know; or no feature maps at all
        if layout.fixed_px is None:
            return arguments, layout
        found = found or (arguments, layout)
    if found is None:
        raise ValueError(f"the encoder {name} of timm gives no feature maps; choose another")
    return found


def _list_maps(name: str, arguments: Mapping[str, Any]) -> tuple[int, ...]:

    with torch.device("meta"):
        return tuple(range(len(create(name, **arguments).feature_info.info)))


def run_backbone(backbone: nn.Module, x: Tensor) -> Sequence[Tensor]:
    """All of its maps, B x C x h x w."""
    maps = backbone(x)
    if "NHWC" in str(getattr(backbone, "output_fmt", "")):
        maps = [one.permute(0, 3, 1, 2) for one in maps]
    return maps
