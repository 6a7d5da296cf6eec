"""Small networks: their settings, cards and model files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from depthmask.models.model_file import DepthMaskModel, ModelCard, save_model
from depthmask.params import NetworkParams


def make_settings(name: str = "compact", **changes) -> NetworkParams:
    """Narrow, without dropout and for the image alone, unless `changes` say otherwise."""
    small = {"width": 4, "dropout": 0.0, "background_input": False, "encoder": "efficientnet_lite0"}
    return NetworkParams(name=name, **(small | changes))


def make_card(name: str = "compact", **changes) -> ModelCard:
    """Of a network for images of 32 px and metres up to 8."""
    return ModelCard(make_settings(name, **changes).model_dump(), (0.5,) * 3, (0.2,) * 3, "metre", 8.0, 3, 32)


def save_small_model(path: Path) -> Path:
    """A model file with the weights that `compact` starts with."""
    torch.manual_seed(0)
    save_model(DepthMaskModel(make_card()), path)
    return path


def save_by_background(folder: Path, make: Callable[[bool], ModelCard]) -> dict[bool, Path]:
    """Model files by whether they take a background, which `make` is called with."""
    paths = {takes: folder / f"{takes}.safetensors" for takes in (False, True)}
    for takes, path in paths.items():
        torch.manual_seed(0)
        save_model(DepthMaskModel(make(takes)), path)
    return paths
