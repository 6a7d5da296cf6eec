"""Checks a file of weights on this machine, by its sha256 alone: torch is not imported."""

from __future__ import annotations

from pathlib import Path

from depthmask.base.errors import UserError
from depthmask.base.files import hash_file
from depthmask.base.paths import find_fault_of_file
from depthmask.params import ModelParams
from depthmask.params.weights_files import WeightsFile


def list_weights_files(model: ModelParams) -> dict[str, WeightsFile]:
    """The files that a network's weights start from, by their keys."""
    files = {"model.init": model.init_file, "model.encoder_weights": model.encoder_file}
    return {key: file for key, file in files.items() if file is not None}


def require_local_file(key: str, file: WeightsFile) -> Path:
    """The path of a file on this machine, whose sha256 was compared.

    Raises:
        UserError: it is missing or unreadable; its sha256 is another one; or no sha256 was given: the error has it.
    """
    path = file.path
    try:
        fault = find_fault_of_file(path)
        found = hash_file(path) if fault is None else None
    except OSError as error:
        raise UserError(f"{key}: {path} cannot be read ({error.strerror}); correct the path") from error
    if fault is not None:
        raise UserError(f"{key}: {path}: {fault}; correct the path (it is relative to the project folder)")
    require_sha256(key, file, found)
    return path


def require_sha256(key: str, file: WeightsFile, found: str) -> None:
    """Raise UserError unless the file's sha256 was given and is the one found."""
    if file.sha256 is None:
        raise UserError(f"{key}: {file.address} needs its sha256, so that another file is noticed; add #sha256={found} to {key}")
    if found != file.sha256:
        raise UserError(f"{key}: {file.address}: sha256 is {found}, expected {file.sha256}; correct the file or the sha256")
