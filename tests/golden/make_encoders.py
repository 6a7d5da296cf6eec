"""Write encoders/NAME.npz: what the published code of EfficientNet-Lite gives with the published weights.

    pip install --target CODE --no-deps efficientnet_lite_pytorch==0.1.0
    PYTHONPATH=workflow:CODE python tests/golden/make_encoders.py

Its maps at 1/2 to 1/32 of the image and the last one's mean of each channel; of large maps a regular part.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import torch

FOLDER = Path(__file__).parent / "encoders"
SIZE_PX = {"efficientnet_lite0": 224, "efficientnet_lite1": 240, "efficientnet_lite2": 260}
MAPS = ("half", "quarter", "eighth", "sixteenth", "thirty_second")
CHANNEL_STEP, SIDE_MAX = 5, 8  # every so many channels are in the file, of each at most so many rows and columns


def make_image(name: str) -> torch.Tensor:
    """An image as the weights know them, (x - 127) / 128, of smooth noise."""
    side = SIZE_PX[name]
    coarse = torch.from_numpy(np.random.default_rng(7).uniform(-1, 1, (1, 3, 9, 9)).astype(np.float32))
    fine = torch.from_numpy(np.random.default_rng(8).uniform(-0.2, 0.2, (1, 3, side, side)).astype(np.float32))
    return torch.nn.functional.interpolate(coarse, (side, side), mode="bilinear", align_corners=True) + fine


def take_part(maps: list[torch.Tensor]) -> dict[str, np.ndarray]:
    """What of five maps the file has."""
    parts = {}
    for name, one in zip(MAPS, maps, strict=True):
        step = -(-one.shape[-1] // SIDE_MAX)
        parts[name] = one[0, ::CHANNEL_STEP, ::step, ::step].numpy()
    return parts | {"pooled": maps[-1].mean(dim=(0, 2, 3)).numpy()}


def compute_published(name: str) -> dict[str, np.ndarray]:
    """By the published code: its blocks' outputs, of each size the last."""
    from efficientnet_lite_pytorch import EfficientNet

    from depthmask.registry.encoders import ENCODERS

    package = Path(importlib.util.find_spec(ENCODERS[name].package).origin).parent
    weights = str(package / ENCODERS[name].file)
    network = EfficientNet.from_pretrained(name.replace("_lite", "-lite"), weights_path=weights).eval()
    by_size: dict[int, torch.Tensor] = {}
    for block in network._blocks:
        block.register_forward_hook(lambda _, __, out: by_size.update({out.shape[-1]: out}))
    with torch.inference_mode():
        network.extract_features(make_image(name))
    return take_part(list(by_size.values()))


if __name__ == "__main__":
    for encoder in SIZE_PX:
        np.savez_compressed(FOLDER / f"{encoder}.npz", **compute_published(encoder))
        print(FOLDER / f"{encoder}.npz")
