"""The weights that a training starts from, as a folder: written by the weights stage, read by pretrain.

start.json             what the files are: a `StartRecord`
encoder.safetensors    the encoder's weights, if they are not random
init.safetensors       the model file to start from, if there is one; it has the encoder's weights, too
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from depthmask.base.errors import UserError
from depthmask.base.files import read_regular_file, write_json
from depthmask.models.model_card import EncoderCard, InitCard, Mean, Std

RECORD, ENCODER, INIT = "start.json", "encoder.safetensors", "init.safetensors"
PREFIX = "network.encoder."  # of the encoder's tensors in a model


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class StartRecord:
    """encoder, init: where the weights are from; both None: random.

    encoder_config: what an encoder of another library is built from. image_mean, image_std: of RGB 0..1, what the encoder's
    weights know images by; None without such weights.
    """

    encoder: EncoderCard | None = None
    init: InitCard | None = None
    encoder_config: dict[str, Any] | None = None
    image_mean: tuple[Mean, Mean, Mean] | None = None
    image_std: tuple[Std, Std, Std] | None = None


def write_record(record: StartRecord, folder: Path) -> None:
    """Write start.json, after the files that it is about."""
    write_json(folder / RECORD, asdict(record))


def read_record(folder: Path) -> StartRecord:
    """Read what `write_record` wrote, and check that its files are there.

    Raises:
        UserError: something is missing or damaged.
    """
    try:
        record = TypeAdapter(StartRecord).validate_json(read_regular_file(folder / RECORD))
    except FileNotFoundError as error:
        raise UserError(f"{folder / RECORD}: no such file; run the weights stage first") from error
    except ValidationError as error:
        raise UserError(f"{folder / RECORD}: damaged; run the weights stage again") from error
    needed = INIT if record.init else ENCODER if record.encoder else RECORD
    if not (folder / needed).is_file():
        raise UserError(f"{folder / needed}: no such file; run the weights stage again")
    return record
