"""Training state that survives a kill: whole or absent, and never a pickle."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from depthmask.files import replace_file
from depthmask.sources import RECORD

ROOT = Path(".checkpoints")
HEADER_KEY = "state"
LAST, BEST = "last.safetensors", "best.safetensors"


def list_inputs(raw: Path, split: Path, init: Path | None) -> list[Path]:
    """The files whose content decides a training; the record of a source, or of a store, holds the hash of all its data."""
    lists = sorted(split.iterdir())
    return [raw / RECORD, *lists, *([init] if init else [])]


def save_state(path: Path, tensors: dict[str, torch.Tensor], values: dict[str, Any]) -> None:
    """Write tensors and JSON values in one file, synced before it gets its name."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with replace_file(path) as temporary:
        save_file(tensors, temporary, metadata={HEADER_KEY: json.dumps(values)})


def load_state(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]] | None:
    """What `save_state` wrote; None if there is no such file."""
    values = read_values(path)
    if values is None:
        return None
    with safe_open(path, framework="pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, values  # noqa: SIM118


def read_values(path: Path) -> dict[str, Any] | None:
    """The values alone of what `save_state` wrote; no tensor is read."""
    if not path.is_file():
        return None
    with safe_open(path, framework="pt") as file:
        return json.loads(file.metadata()[HEADER_KEY])


def pack_optimizer(optimizer: torch.optim.Optimizer) -> tuple[dict[str, torch.Tensor], list[dict]]:
    """An optimiser's state as named tensors, and the settings of its parameter groups as JSON values."""
    state = optimizer.state_dict()
    tensors = {f"{i}.{name}": value for i, entry in state["state"].items() for name, value in entry.items() if value is not None}
    return tensors, [{k: v for k, v in group.items() if k != "params"} for group in state["param_groups"]]


def unpack_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, torch.Tensor], groups: list[dict]) -> None:
    """Put back what `pack_optimizer` took out.

    Each tensor gets its parameter's memory layout: fused kernels walk both in the order of memory.
    """
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    state: dict[int, dict[str, torch.Tensor]] = {}
    for name, tensor in tensors.items():
        index, key = name.split(".", 1)
        like = parameters[int(index)]
        if tensor.shape == like.shape:
            tensor = torch.empty_like(like, dtype=tensor.dtype).copy_(tensor)
        state.setdefault(int(index), {})[key] = tensor
    for group, saved in zip(optimizer.state_dict()["param_groups"], groups, strict=True):
        saved["params"] = group["params"]
        if "betas" in saved:
            saved["betas"] = tuple(saved["betas"])
    optimizer.load_state_dict({"state": state, "param_groups": groups})
