"""Tiny encoders of other libraries with random weights, saved as published ones are; needs those libraries."""

from __future__ import annotations

import json
from pathlib import Path

TINY_VIT = {"hidden_size": 16, "num_hidden_layers": 4, "num_attention_heads": 2, "image_size": 56}
STEPS = {"hidden_sizes": [8, 12, 16, 20], "depths": [1, 1, 1, 1]}
# model type: settings of a network of a few thousand weights
TINY = {
    "dinov2": {**TINY_VIT, "mlp_ratio": 2, "patch_size": 14},
    "dinov3_vit": {**TINY_VIT, "intermediate_size": 32, "patch_size": 16},
    "convnextv2": STEPS,
    "swin": {"embed_dim": 8, "depths": [1, 1, 1, 1], "num_heads": [1, 1, 2, 2], "window_size": 4, "image_size": 32},
    "segformer": {**STEPS, "num_attention_heads": [1, 1, 2, 2]},
}
NORMALISED = {"image_mean": [0.4, 0.45, 0.5], "image_std": [0.2, 0.25, 0.3]}
LICENCE = "cc0-1.0"
README = f"---\nlibrary_name: any\nlicense: {LICENCE}\n---\nA tiny encoder.\n"


def make_transformers_folder(folder: Path, kind: str, seed: int = 0) -> Path:
    """A whole model of that type, from which the encoder's weights are to be taken."""
    import torch
    import transformers

    torch.manual_seed(seed)
    config = transformers.CONFIG_MAPPING[kind](**TINY[kind])
    transformers.AutoModel.from_config(config).save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(NORMALISED))
    (folder / "README.md").write_text(README)
    return folder


def make_timm_folder(folder: Path, architecture: str, seed: int = 0) -> Path:
    """The weights of a whole classifier, as timm saves it for the Hub."""
    import timm
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(seed)
    folder.mkdir(parents=True)
    save_file(timm.create_model(architecture).state_dict(), folder / "model.safetensors")
    stated = {"mean": NORMALISED["image_mean"], "std": NORMALISED["image_std"], "license": LICENCE}
    (folder / "config.json").write_text(json.dumps({"architecture": architecture, "pretrained_cfg": stated}))
    return folder
