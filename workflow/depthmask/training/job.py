"""The inputs of a training stage."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from depthmask.base.files import hash_file
from depthmask.loading.split_files import count_rows
from depthmask.params import AugmentParams, ComposeParams, ComputeParams, LossParams, ModelParams, PhaseParams
from depthmask.sources import RECORD
from depthmask.sources.folders import Data, MixedFolders
from depthmask.training.stopping import StopRule


@dataclass(frozen=True)
class Job:
    """Everything that determines a training stage's result; a checkpoint is keyed by it (`describe`).

    stop: when it ends early because of its scores; None: never.
    loss: for phases without losses of their own. model: of a new network, whose initial weights are in the folder `start`; None
    if training continues from the model file `init`.
    raw: the folder of assets, or the store packed from pre-composited samples; of several sources, one of each.
    """

    stage: str
    phases: list[PhaseParams]
    seed: int
    compose: ComposeParams
    augment: AugmentParams
    loss: LossParams
    compute: ComputeParams
    model: ModelParams | None
    raw: Data
    split: Path
    start: Path | None
    init: Path | None
    stop: StopRule | None = None

    def count_steps(self) -> int:
        """Optimiser steps of all phases, unless one stops early; a packed store may have fewer samples than a phase asks for."""
        packed = count_rows(self.split, "train")
        samples = [phase.samples_per_epoch if packed is None else min(packed, phase.samples_per_epoch) for phase in self.phases]
        return sum(phase.epochs * (count // phase.batch_size) for phase, count in zip(self.phases, samples, strict=True))

    def describe(self) -> dict[str, Any]:
        """Every field as plain JSON: params as their values, a file or folder as hashes of its content."""
        return {field.name: _describe(getattr(self, field.name)) for field in fields(self)}


def _describe(value: Any) -> Any:
    match value:
        case BaseModel():
            return value.model_dump(mode="json")
        case list():
            return [_describe(one) for one in value]
        case Path():
            return _describe_content(value)
        case MixedFolders():
            return {name: _describe_content(folder) for name, folder in value.folders.items()}
        case None | bool() | int() | float() | str():
            return value
    raise TypeError(f"a job's {type(value).__name__} cannot be part of its key")


def _describe_content(path: Path) -> str | dict[str, str]:
    """For a source or a store, the hash of its record, which holds the hash of all its data; hashing that may take long."""
    if path.is_file():
        return hash_file(path)
    if (path / RECORD).is_file():
        return hash_file(path / RECORD)
    return {file.relative_to(path).as_posix(): hash_file(file) for file in sorted(path.rglob("*")) if file.is_file()}
