"""Tiny depth networks with random weights, saved as published ones are, and what they are to label; needs transformers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from making_layouts import make_download, save
from PIL import Image

PATCH_PX = 14
SIZE_PX = 4 * PATCH_PX
RELATIVE = {"unit": "relative", "polarity": "near_is_large", "max": 1.0, "raw_max": 65535, "raw_unknown": None}
METRES = {"unit": "metre", "polarity": "near_is_small", "max": 10.0, "raw_max": 65535, "raw_unknown": None}


def write_photos(folder: Path, demo: Path) -> Path:
    """Backgrounds and cut-outs of the demo pack without its depth, small, in two sizes."""
    for kind in ("bg", "fg"):
        for number, file in enumerate(sorted((demo / kind).iterdir())):
            picture = Image.open(file)
            picture.thumbnail((64, 48) if number % 3 else (48, 48))
            save(folder / kind / file.with_suffix(".png").name, np.array(picture))
    return folder


def make_section(model: Path | str, **changes) -> dict:
    """The section `download.pseudo_labels`."""
    return {
        "model": str(model), "revision": None, "image_size_px": SIZE_PX, "batch_size": 4, "device": "cpu", "threads": 1,
    } | changes  # fmt: skip


def make_labelled(params, layout: str, folder: Path, model: Path | str, *, revision: str | None = None, **changes):
    """DownloadParams for a folder of that layout, labelled by a model."""
    section = make_section(model, revision=revision)
    return make_download(params, layout, folder, {"depth": RELATIVE, "pseudo_labels": section} | changes)


def read_folder(folder: Path) -> dict[str, bytes]:
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def make_depth_anything(folder: Path, *, max_depth_m: int | None = None, seed: int = 0) -> Path:
    """A Depth Anything network on a DINOv2 of two layers; with max_depth_m one that gives metres."""
    from transformers import DepthAnythingConfig, DepthAnythingForDepthEstimation, Dinov2Config

    backbone = Dinov2Config(
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        mlp_ratio=2,
        patch_size=PATCH_PX,
        image_size=2 * PATCH_PX,
        out_features=["stage1", "stage2"],
        reshape_hidden_states=False,
    )
    sizes = {"reassemble_hidden_size": 16, "neck_hidden_sizes": [8, 8], "reassemble_factors": [2, 1], "fusion_hidden_size": 8}
    kind = {} if max_depth_m is None else {"depth_estimation_type": "metric", "max_depth": max_depth_m}
    config = DepthAnythingConfig(backbone_config=backbone, head_hidden_size=8, patch_size=PATCH_PX, **sizes, **kind)
    return _save(DepthAnythingForDepthEstimation(config), folder, seed)


def make_dpt_model(folder: Path, backbone: str = "vit", seed: int = 0) -> Path:
    """A DPT network, on the plain vision transformer of its own or on DINOv2."""
    from transformers import Dinov2Config, DPTConfig, DPTForDepthEstimation

    sizes = {"hidden_size": 16, "num_hidden_layers": 4, "num_attention_heads": 2, "intermediate_size": 32, "image_size": 32}
    heads = {"neck_hidden_sizes": [8, 8, 8, 8], "fusion_hidden_size": 8, "backbone_out_indices": [0, 1, 2, 3]}
    if backbone == "dinov2":
        own = Dinov2Config(**{**sizes, "mlp_ratio": 2}, out_indices=[1, 2, 3, 4], reshape_hidden_states=False)
        config = DPTConfig(backbone_config=own, neck_hidden_sizes=[8, 8, 8, 8], fusion_hidden_size=8)
    else:
        config = DPTConfig(**sizes, **heads, patch_size=16, is_hybrid=False)
    return _save(DPTForDepthEstimation(config), folder, seed)


def _save(network: torch.nn.Module, folder: Path, seed: int) -> Path:
    """With weights large enough that the prediction is neither flat nor stopped by the last rectifier."""
    from transformers import DPTImageProcessor

    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in network.named_parameters():
            spread = 0.02 if "embeddings" in name else 1.5 / max(1, weight[0].numel()) ** 0.5 if weight.ndim > 1 else None
            if spread is not None:
                weight.copy_(torch.randn(weight.shape, generator=generator) * spread)
        last = [module for module in network.modules() if isinstance(module, torch.nn.Conv2d)][-1]
        last.weight.abs_()
        last.bias.fill_(0.1)
    network.save_pretrained(folder)
    side = 37 * PATCH_PX
    DPTImageProcessor(
        size={"height": side, "width": side}, keep_aspect_ratio=True, ensure_multiple_of=PATCH_PX, resample=3, do_pad=False
    ).save_pretrained(folder)
    return folder
