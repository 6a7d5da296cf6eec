"""Training state that survives a kill: outside every declared output, whole or absent, and never a pickle.

The folder's name holds a hash of all that decides the result, so that a run can only ever find its own state.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from depthmask.errors import UserError
from depthmask.files import hash_file, hash_json, replace_file
from depthmask.sources import RECORD

ROOT = Path(".checkpoints")
HEADER_KEY = "state"
LAST, BEST = "last.safetensors", "best.safetensors"


def find_folder(stage: str, decides: dict[str, Any], inputs: list[Path], root: Path = ROOT) -> Path:
    """The folder of one training: keyed by params and versions, the content of its inputs, and the library's code."""
    code = Path(__file__).parents[2]
    files = sorted(f for f in code.rglob("*") if f.suffix in (".py",) and "__pycache__" not in f.parts)
    key = hash_json(
        {
            "decides": decides,
            "inputs": [hash_file(path) for path in inputs],
            "code": {f.relative_to(code).as_posix(): hash_file(f) for f in files},
        }
    )
    return root / f"{stage}-{key[:12]}"


def list_inputs(raw: Path, split: Path, init: Path | None) -> list[Path]:
    """The files whose content decides a training; the source's record holds the hash of all its data."""
    lists = sorted(split.iterdir())
    return [raw / RECORD, *lists, *([init] if init else [])]


@contextlib.contextmanager
def hold_folder(folder: Path) -> Iterator[Path]:
    """Own the folder while training; it is removed if the block ends well and stays if not.

    Raises:
        UserError: another process is training the same at this moment.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder.parent / f"{folder.name}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise UserError(f"{folder}: the same training is still running; wait for it to end, or stop that process") from error
        try:
            yield folder
        except BaseException:
            with contextlib.suppress(OSError):
                folder.rmdir()  # only if empty: nothing was saved yet
            raise
        shutil.rmtree(folder, ignore_errors=True)
        Path(lock.name).unlink(missing_ok=True)


def save_state(path: Path, tensors: dict[str, torch.Tensor], values: dict[str, Any]) -> None:
    """Write tensors and JSON values in one file, synced before it gets its name."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with replace_file(path) as temporary:
        save_file(tensors, temporary, metadata={HEADER_KEY: json.dumps(values)})


def load_state(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]] | None:
    """What `save_state` wrote; None if there is no such file."""
    if not path.is_file():
        return None
    with safe_open(path, framework="pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, json.loads(file.metadata()[HEADER_KEY])  # noqa: SIM118


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
