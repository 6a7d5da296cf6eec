"""What the evaluated data are, for the record of the evaluation."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from depthmask.base.errors import UserError
from depthmask.loading.split_files import read_weights
from depthmask.models.model_card import ModelCard
from depthmask.params import DepthParams
from depthmask.sources import read_record
from depthmask.sources.folders import Data, MixedFolders, list_folders, read_first_record


def read_depth_scale(data: Data) -> DepthParams:
    """The declaration of the depth whose scale is the model's: that of the only or the first source."""
    return DepthParams(**read_first_record(data)["download"]["depth"])


def require_same_depth(card: ModelCard, depth: DepthParams, weights: Path, raw: Path) -> None:
    """Raise UserError unless a model was trained for the depth of the data that it is said to be trained on."""
    if (card.depth_unit, card.depth_max) != (depth.unit, depth.max):
        raise UserError(
            f"{weights}: trained for depth up to {card.depth_max:g} ({card.depth_unit}), but {raw} has depth up to"
            f" {depth.max:g} ({depth.unit}); train again"
        )


def describe_data(data: Data, split: Path) -> dict[str, Any]:
    """name, depth_unit, depth_max, skipped and warnings; of several sources also each one's origin, licence and weight.

    A line or a key of one of several sources begins with its name.
    """
    records = {name: read_record(folder, "download") for name, folder in list_folders(data).items()}
    first = next(iter(records.values()))["download"]
    depth = {"depth_unit": first["depth"]["unit"], "depth_max": first["depth"]["max"]}
    if not isinstance(data, MixedFolders):
        (record,) = records.values()
        return {"name": first["source"], **depth, "skipped": record["skipped"], "warnings": record["warnings"]}
    weights = read_weights(split)
    return {
        "name": " + ".join(records),
        **depth,
        "skipped": [one | {"key": f"{name}/{one['key']}"} for name, record in records.items() for one in record["skipped"]],
        "warnings": [f"{name}: {line}" for name, record in records.items() for line in record["warnings"]],
        "sources": {name: {"weight": weights[name], **describe_source(record)} for name, record in records.items()},
    }


def describe_source(record: Mapping[str, Any]) -> dict[str, Any]:
    """Origin, licence and declared depth of a source; record: of its download."""
    download, named = record["download"], record.get("set")
    return {
        "source": download["source"],
        "path": ", ".join(download["urls"]) or download["path"],
        "depth": download["depth"],
        "licence": named["licence"] if named else None,
        "citation": named["citation"] if named else None,
        "num_files": record.get("num_files"),
        "sha256": record["sha256"],
    }
