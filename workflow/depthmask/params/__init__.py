"""The schema of params.yaml, and its only reader.

Every section is a frozen dataclass-like model; an unknown key, a wrong type, a value out of range or a combination
that cannot work is a `ParamsError` that names section, key, value and what is allowed, before any data is touched.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import Field, ValidationError, model_validator

from depthmask.errors import ParamsError
from depthmask.params.augment import AugmentParams
from depthmask.params.data import ComposeParams, DepthParams, DownloadParams, SplitParams
from depthmask.params.fields import Section
from depthmask.params.loss import DepthLossWeights, LossParams, MaskLossWeights
from depthmask.params.messages import describe, list_keys
from depthmask.params.model import ModelParams
from depthmask.params.output import EvaluateParams, ReportParams
from depthmask.params.training import ComputeParams, PhaseParams, TrainParams

__all__ = [
    "AugmentParams",
    "ComposeParams",
    "ComputeParams",
    "DepthLossWeights",
    "DepthParams",
    "DownloadParams",
    "EvaluateParams",
    "LossParams",
    "MaskLossWeights",
    "ModelParams",
    "Params",
    "PhaseParams",
    "ReportParams",
    "SplitParams",
    "TrainParams",
    "load_params",
    "make_params",
]


class Params(Section):
    seed: Annotated[int, Field(ge=0, lt=2**32)]
    download: DownloadParams
    split: SplitParams
    compose: ComposeParams
    augment: AugmentParams
    model: ModelParams
    loss: LossParams
    pretrain: TrainParams
    finetune: TrainParams
    evaluate: EvaluateParams
    report: ReportParams
    compute: ComputeParams

    @model_validator(mode="after")
    def _check(self):
        if self.model.background_input and self.download.source == "flat_numbered":
            raise ValueError(
                "model.background_input: true needs the bare background, which download.source: flat_numbered does not have;"
                " allowed: false"
            )
        if self.loss.depth.ms_ssim:
            for stage in ("pretrain", "finetune"):
                for phase in getattr(self, stage).phases():
                    if phase.image_size_px < 33:
                        raise ValueError(
                            f"loss.depth.ms_ssim needs pictures of at least 33 px; {stage}.image_size_px: {phase.image_size_px}"
                        )
        return self


class _Loader(yaml.SafeLoader):
    """YAML 1.2 numbers, as DVC reads them: 1e-3 is a number, which PyYAML's 1.1 takes for text."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)


def load_params(path: Path | str = "params.yaml") -> Params:
    """Read and check params.yaml.

    Raises:
        ParamsError: the file is missing, is not YAML, or does not fit the schema; only the first mistake is told.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise ParamsError(f"{path}: cannot be read ({error.strerror}); run from the project's folder") from error
    try:
        values = yaml.load(text, _Loader)
    except yaml.YAMLError as error:
        raise ParamsError(f"{path}: is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(values, dict):
        raise ParamsError(f"{path}: has no sections; allowed: {list_keys(Params)}")
    return make_params(values, where=str(path))


def make_params(values: Mapping[str, Any], where: str = "params") -> Params:
    """Check a nested mapping against the schema; raises ParamsError as `load_params` does."""
    try:
        return Params(**values)
    except ValidationError as error:
        first = min(error.errors(), key=lambda problem: problem["type"] != "extra_forbidden")
        raise ParamsError(f"{where}: {describe(first, Params)}") from error
