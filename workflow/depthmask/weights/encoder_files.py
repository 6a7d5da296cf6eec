"""An encoder's weights as a file: by themselves, or as a part of a model file of ours."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from depthmask.base.errors import UserError
from depthmask.encoders import make_encoder
from depthmask.models.file_header import HEADER_KEY, check_header, make_error
from depthmask.models.model_card import ModelCard
from depthmask.models.model_file import check_tensors, read_model_file
from depthmask.weights.start_folder import PREFIX


@dataclass(frozen=True)
class EncoderFile:
    """tensors: by the encoder's own names. card: of the model that they are a part of; None for a file of an encoder alone."""

    tensors: dict[str, torch.Tensor]
    card: ModelCard | None


def read_encoder_file(path: Path, encoder: str, config: dict[str, Any] | None) -> EncoderFile:
    """Read the weights of an encoder, complete and of its shapes; config: what one of another library is built from.

    Raises:
        UserError: the file is missing, damaged or a pickle, or has the weights of something else.
    """
    tensors, is_model = _read_tensors(path)
    card = None
    if is_model:
        card, tensors = read_model_file(path)
        tensors = {name.removeprefix(PREFIX): tensor for name, tensor in tensors.items() if name.startswith(PREFIX)}
        if not tensors:
            raise UserError(f"{path}: its network {card.settings['name']} has no encoder; choose another file")
        if card.settings["encoder"] != encoder:
            raise UserError(f"{path}: has the encoder {card.settings['encoder']}; set model.encoder: {card.settings['encoder']}")
    try:
        with torch.device("meta"):  # shapes without memory
            expected = make_encoder(encoder, config).state_dict()
        check_tensors(tensors, expected)
    except ValueError as error:
        raise UserError(f"{path}: does not fit model.encoder: {encoder} ({error}); choose another file or encoder") from error
    return EncoderFile(tensors, card)


def _read_tensors(path: Path) -> tuple[dict[str, torch.Tensor], bool]:
    """The tensors of a file, and whether it is a model file of ours, whose tensors are to be read with its card."""
    try:
        check_header(path)
        with safe_open(path, framework="pt") as file:
            if HEADER_KEY in (file.metadata() or {}):
                return {}, True
            return {name: file.get_tensor(name) for name in file.keys()}, False  # noqa: SIM118 (not a mapping)
    except (SafetensorError, KeyError, TypeError, ValueError, RecursionError, RuntimeError) as error:
        raise make_error(path, error) from error
