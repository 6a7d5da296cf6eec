"""The schema of params.yaml, and its only reader.

Every section is a frozen pydantic model. An unknown key, a wrong type, a value out of range or an impossible combination is a
`ParamsError` that names section, key, value and what is allowed, before any data is touched.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import model_validator

from depthmask.params.augment import AugmentParams
from depthmask.params.data import ComposeParams, DepthParams, DownloadParams, MaskParams, PackParams, SeededParams, SplitParams
from depthmask.params.fields import Seed
from depthmask.params.loss import DepthLossWeights, LossParams, MaskLossWeights, find_fault_of_loss_size, find_fault_of_terms
from depthmask.params.mixture import SourcesParams, is_on_same_scale, list_sources, name_source
from depthmask.params.model import ModelParams, NetworkParams, find_fault_of_background, find_fault_of_batch, find_fault_of_size
from depthmask.params.other_sets import find_fault_of_other_sets, key_all_sources
from depthmask.params.output import EvaluateParams, ReportParams
from depthmask.params.reading import fit_schema, read_yaml
from depthmask.params.training import (
    ComputeParams,
    PhaseParams,
    TrainParams,
    find_fault_of_frozen_encoder,
    find_fault_of_tasks,
)
from depthmask.registry.networks import NETWORKS

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
    "MaskParams",
    "ModelParams",
    "NetworkParams",
    "PackParams",
    "Params",
    "PhaseParams",
    "ReportParams",
    "SeededParams",
    "SourcesParams",
    "SplitParams",
    "TrainParams",
    "find_fault_of_background",
    "load_params",
    "make_params",
]


class Params(SeededParams):
    """The validated params.yaml."""

    seed: Seed
    download: SourcesParams
    pack: PackParams
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
        for key, source in key_all_sources(self).items():
            unfit = find_fault_of_background(self.model, source, key)
            if unfit:
                raise ValueError(unfit)
        unfit = find_fault_of_other_sets(self.download, self.evaluate.more)
        if unfit:
            raise ValueError(unfit)
        for stage in ("pretrain", "finetune"):
            for key, phase in getattr(self, stage).name_phases(stage):
                unfit = self._find_fault_of_phase(key, phase)
                if unfit:
                    raise ValueError(unfit)
        unfit = find_fault_of_size(self.model.name, self.evaluate.image_size_px)
        if unfit:
            raise ValueError(f"evaluate.image_size_px: {unfit}")
        unfit = self.evaluate.find_fault_of_caps(self.download.depth)
        if unfit:
            raise ValueError(f"evaluate.{unfit}")
        unfit = self.augment.find_fault_of_size(self.evaluate.image_size_px)  # for the augmented samples on the page
        if unfit:
            raise ValueError(f"{unfit} (evaluate.image_size_px)")
        return self

    def _find_fault_of_phase(self, key: str, phase: PhaseParams) -> str | None:
        """Why the network cannot be trained as this phase asks, with the full key; None if it can."""
        network, loss = self.model.name, phase.loss or self.loss
        unfit = find_fault_of_size(network, phase.image_size_px)
        if unfit:
            return f"{key}.image_size_px: {unfit}"
        unfit = find_fault_of_batch(network, phase.image_size_px, phase.batch_size)
        if unfit:
            return f"{key}.batch_size: {unfit}"
        unfit = self.augment.find_fault_of_size(phase.image_size_px) if phase.augment else None
        if unfit:
            return f"{unfit} ({key}.image_size_px)"
        unfit = find_fault_of_frozen_encoder(key, phase, self.model)
        if unfit:
            return f"{key}.{unfit}"
        unfit = find_fault_of_tasks(phase, loss, network, NETWORKS[network].has_branches)
        if unfit:
            return f"{key}.{unfit}"
        too_small = find_fault_of_loss_size(loss, phase.image_size_px * phase.loss_upscale)
        unfit = f"{too_small}; {key}.image_size_px: {phase.image_size_px}" if too_small else None
        unfit = unfit or find_fault_of_terms(loss, network) or self._find_fault_of_relative(phase, loss)
        return f"{key}.{unfit}" if unfit and phase.loss is not None else unfit

    def _find_fault_of_relative(self, phase: PhaseParams, loss: LossParams) -> str | None:
        """Why the depth of a source on another scale than the first's would not be learnt; None if there is none, or it would."""
        first, *others = list_sources(self.download).items()
        others = [name for name, source in others if not is_on_same_scale(source.depth, first[1].depth)]
        if not others or phase.tasks == "mask" or not loss.has_terms("depth") or loss.depth.scale_shift_invariant:
            return None
        return (
            f"loss.depth.scale_shift_invariant: 0; the relative depth of {name_source(self.download, others[0])} has a scale of"
            " its own, so only this term can learn from it; allowed: above 0, such as 1.0"
        )


def load_params(path: Path | str = "params.yaml") -> Params:
    """Read and validate params.yaml.

    Raises:
        ParamsError: the file is missing, is not YAML, or does not fit the schema; only the first mistake is reported.
    """
    return make_params(read_yaml(path, Params), where=str(path))


def make_params(values: Mapping[str, Any], where: str = "params") -> Params:
    """Validate a nested mapping; raises ParamsError as `load_params` does."""
    return fit_schema(Params, values, where)
