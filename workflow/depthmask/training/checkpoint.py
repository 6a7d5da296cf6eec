"""Training state that survives a kill and whose damage is always detected; never a pickle.

A checkpoint is a safetensors file whose header holds the sha256 of the whole file, computed with zeros in its place. The last
two are kept, so that a damaged one costs only the steps since the previous one.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from depthmask.base.files import remove_any, replace_file
from depthmask.base.terminal import warn

ROOT = Path(".checkpoints")
HEADER_KEY, DIGEST_KEY = "state", "sha256"
LAST, PREVIOUS = "last.safetensors", "previous.safetensors"
ZEROS = "0" * 64
DIGEST = re.compile(rf'"{DIGEST_KEY}":"([0-9a-f]{{64}})"'.encode())
LENGTH_BYTES = 8  # of a safetensors header's length


class BadCheckpoint(Exception):
    """A checkpoint that cannot be used, and the reason."""

    def __init__(self, path: Path, reason: object):
        super().__init__(f"{path}: bad checkpoint ({' '.join(str(reason).split())[:160]})")
        self.path = path


class SavedState(NamedTuple):
    """What `save_state` was given."""

    tensors: dict[str, torch.Tensor]
    values: dict[str, Any]


def name_best(phase: int) -> str:
    """The file with the best weights of a phase; one per phase, since a run may resume in the previous phase."""
    return f"best-{phase + 1}.safetensors"


def save_state(path: Path, tensors: dict[str, torch.Tensor], values: dict[str, Any], previous: Path | None = None) -> None:
    """Write tensors and JSON values to one file, synced before it is renamed to `path`. previous: where an existing one goes."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    # save_file would report a full disk as an error of its own
    data = bytearray(save(tensors, metadata={HEADER_KEY: json.dumps(values), DIGEST_KEY: ZEROS}))
    place = _find_digest(data)
    data[place] = hashlib.sha256(data).hexdigest().encode()
    with replace_file(path) as temporary:
        with temporary.open("wb") as out:
            out.write(data)
            out.flush()
            os.fsync(out.fileno())
        if previous is not None and path.exists():
            if previous.is_dir():
                remove_any(previous)
            os.replace(path, previous)


def load_state(path: Path) -> SavedState:
    """What `save_state` wrote, if every byte is unchanged.

    Raises:
        BadCheckpoint: it cannot be read, or has changed.
    """
    try:
        data = path.read_bytes()
        place = _find_digest(data)
        view, digest = memoryview(data), hashlib.sha256()
        for piece in (view[: place.start], ZEROS.encode(), view[place.stop :]):
            digest.update(piece)
        if digest.hexdigest().encode() != data[place]:
            raise ValueError("its sha256 differs")
        header = json.loads(_cut_header(data))
        return SavedState(load(data), json.loads(header["__metadata__"][HEADER_KEY]))
    except (OSError, ValueError, KeyError, TypeError, SafetensorError, MemoryError, RecursionError) as error:
        raise BadCheckpoint(path, getattr(error, "strerror", None) or error) from error


def find_state(folder: Path, validate: Callable[[Path, SavedState], None], set_bad_aside: bool = False) -> SavedState | None:
    """The newest usable checkpoint of a folder; None if there is none.

    validate: raises BadCheckpoint for one that is intact but cannot be used. set_bad_aside: rename bad ones, and warn.
    """
    bad: dict[Path, str] = {}
    found = None
    for name in (LAST, PREVIOUS):
        path = folder / name
        if not os.path.lexists(path):
            continue
        try:
            found = load_state(path)
            validate(path, found)
            break
        except BadCheckpoint as error:
            found = None
            bad[error.path] = str(error)
            bad.setdefault(path, "")  # useless without the other
    if set_bad_aside:
        action = "starts from scratch" if found is None else f"resumes from step {found.values['total_steps']:,}"
        for path, reason in bad.items():
            _set_aside(path)
            if reason:
                warn(f"{reason}; ignoring it: training {action}")
    return found


def _set_aside(path: Path) -> None:
    """Rename it, so that it can be inspected until the training has succeeded."""
    aside = path.with_name(f"{path.name}.bad")
    remove_any(aside)
    with contextlib.suppress(OSError):
        os.replace(path, aside)


def _cut_header(data: bytes | bytearray) -> bytes | bytearray:
    return data[LENGTH_BYTES : LENGTH_BYTES + int.from_bytes(data[:LENGTH_BYTES], "little")]


def _find_digest(data: bytes | bytearray) -> slice:
    """The position of a file's sha256: inside any other string of the header, quotes would be escaped."""
    found = DIGEST.search(_cut_header(data))
    if found is None:
        raise ValueError("it has no sha256" if data else "it is empty")
    return slice(LENGTH_BYTES + found.start(1), LENGTH_BYTES + found.end(1))


def pack_optimizer(optimizer: torch.optim.Optimizer) -> tuple[dict[str, torch.Tensor], list[dict]]:
    """An optimiser's state as named tensors, and the settings of its parameter groups as JSON values."""
    state = optimizer.state_dict()
    tensors = {f"{i}.{name}": value for i, entry in state["state"].items() for name, value in entry.items() if value is not None}
    return tensors, [{k: v for k, v in group.items() if k != "params"} for group in state["param_groups"]]


def unpack_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, torch.Tensor], groups: list[dict]) -> None:
    """Restore what `pack_optimizer` returned.

    Each tensor gets its parameter's memory layout, since fused kernels walk both in memory order.
    """
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    state: dict[int, dict[str, torch.Tensor]] = {}
    for name, tensor in tensors.items():
        index, key = name.split(".", 1)
        like = parameters[int(index)]
        if tensor.shape not in (like.shape, torch.Size([])):
            raise ValueError(f"optimiser state {name} has shape {list(tensor.shape)}")
        if tensor.shape == like.shape:
            tensor = torch.empty_like(like, dtype=tensor.dtype).copy_(tensor)
        state.setdefault(int(index), {})[key] = tensor
    for group, saved in zip(optimizer.state_dict()["param_groups"], groups, strict=True):
        saved["params"] = group["params"]
        if "betas" in saved:
            saved["betas"] = tuple(saved["betas"])
    optimizer.load_state_dict({"state": state, "param_groups": groups})
