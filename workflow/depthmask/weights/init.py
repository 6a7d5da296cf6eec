"""A model file to start from: what of it goes into the network of params.yaml, and what differs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from depthmask.base.errors import UserError
from depthmask.models.model_card import ModelCard
from depthmask.models.model_file import DepthMaskModel, load_model
from depthmask.params import NetworkParams
from depthmask.registry.networks import NETWORKS

NO_SHAPES = ("dropout",)  # may differ: the weights are the same without it
RESHAPES = ("background_input",)  # may differ: layers whose shape depends on it start from random weights
UNIT_SIGNS = {"metre": " m", "relative": " (relative)"}
SHOWN_MAX = 2  # names in a note


@dataclass(frozen=True)
class Init:
    """tensors: of the file, those that fit. notes: a line for each thing that differs and may."""

    card: ModelCard
    tensors: dict[str, Tensor]
    notes: list[str]


def read_init(path: Path, shown: str, settings: NetworkParams, depth: Mapping[str, Any]) -> Init:
    """Read a model file for the network of `settings`; shown: its name in messages, depth: the source's declaration.

    Raises:
        UserError: it is no model file, or of another network; says what to set.
    """
    model = load_model(path)
    ours, theirs, has_encoder = settings.model_dump(), model.card.settings, NETWORKS[settings.name].has_encoder
    wrong = [key for key in ours if ours[key] != theirs[key] and key not in (*NO_SHAPES, *RESHAPES)]
    if ours["name"] == theirs["name"] and not has_encoder:
        wrong = [key for key in wrong if not key.startswith("encoder")]  # of no meaning to this network
    if wrong:
        wanted = ", ".join(f"model.{key}: {theirs[key]}" for key in wrong)
        found = ", ".join(str(ours[key]) for key in wrong)
        raise UserError(f"model.init: {shown} has another network than params.yaml; set {wanted} (now: {found})")
    tensors, fresh = model.state_dict(), []
    reshapes = [key for key in RESHAPES if ours[key] != theirs[key]]
    if reshapes:
        tensors, fresh = _keep_fitting(tensors, replace(model.card, settings=ours))
    return Init(model.card, tensors, [*_note_fresh(shown, reshapes, fresh, theirs), *_note_depth(shown, model.card, depth)])


def _keep_fitting(tensors: Mapping[str, Tensor], card: ModelCard) -> tuple[dict[str, Tensor], list[str]]:
    """The tensors that the network of `card` has with the same shape, and the names of its others."""
    with torch.device("meta"):  # shapes without memory
        expected = DepthMaskModel(card).state_dict()
    fresh = [name for name, tensor in expected.items() if name not in tensors or tensors[name].shape != tensor.shape]
    return {name: tensors[name] for name in expected if name not in fresh}, fresh


def _note_fresh(shown: str, keys: list[str], fresh: list[str], theirs: Mapping[str, Any]) -> list[str]:
    if not keys:
        return []
    said = ", ".join(f"model.{key}: {str(theirs[key]).lower()}" for key in keys)
    names = ", ".join(fresh[:SHOWN_MAX]) + (", ..." if len(fresh) > SHOWN_MAX else "")
    return [f"model.init: {shown} has {said}; tensors that start from random weights because of that: {len(fresh)} ({names})"]


def _note_depth(shown: str, card: ModelCard, depth: Mapping[str, Any]) -> list[str]:
    before, now = (card.depth_unit, card.depth_max), (depth["unit"], depth["max"])
    if before == now:
        return []
    said, wanted = (f"{largest:g}{UNIT_SIGNS[unit]}" for unit, largest in (before, now))
    return [f"model.init: depth head: {shown} was trained for up to {said}, now {wanted}; its weights are kept"]
