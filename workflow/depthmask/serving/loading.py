"""Loads model files to predict photos.

import depthmask

model = depthmask.load("data/models/finetune.safetensors")
prediction = model.predict("dog.jpg", background="dog_background.jpg")
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from depthmask.base.errors import UserError
from depthmask.base.paths import resolve_path, show_path
from depthmask.compute.device import choose_device
from depthmask.compute.openmp import require_whole_teams
from depthmask.models.inference import make_predict
from depthmask.models.model_file import load_model
from depthmask.serving.ensemble import Ensemble
from depthmask.serving.folding import fold_batch_norms
from depthmask.serving.limits import COUNT_MAX, ENGINES
from depthmask.serving.memory import fit_batch
from depthmask.serving.openvino_engine import try_openvino
from depthmask.serving.predictor import Predictor

DEVICES = ("auto", "cpu", "cuda", "mps")


def load(
    path: str | Path | Sequence[str | Path],
    device: str = "auto",
    size_px: int | None = None,
    mask_size_px: int | None = None,
    flip: bool = False,
    engine: str = "auto",
) -> Predictor | Ensemble:
    """Load a model file to predict photos. The process is not changed: it computes with torch's current threads.

    path: of a file, or of several whose predictions are averaged: see `Ensemble`. device: auto (cuda, else mps, else cpu), cpu,
    cuda or mps. size_px, mask_size_px: see `Predictor`; for all models. flip: average with the prediction of the mirror image.
    engine: what computes on a CPU: torch, openvino (faster; needs the extra openvino), or auto: openvino where it is
    installed and can convert the network. They agree but for rounding: see `openvino_engine`.

    Raises:
        UserError: a file is missing, damaged, changed or a pickle; the device, the engine or torch's threads are not available; a
            number is out of range; a network needs more memory at that size than is free; or the models cannot be averaged.
    """
    paths = [path] if isinstance(path, (str, Path)) else list(path)
    names = [Path(one) for one in paths]
    return join(load_members(names, device, size_px, mask_size_px, flip, engine), names, flip)


def load_members(
    paths: Sequence[Path],
    device: str = "auto",
    size_px: int | None = None,
    mask_size_px: int | None = None,
    flip: bool = False,
    engine: str = "auto",
) -> list[Predictor]:
    """Load the models that `join` makes one of; arguments and errors as in `load`."""
    _check_options(device, size_px, mask_size_px, engine)
    require_distinct(paths)
    require_whole_teams()
    device = choose_device(device, where="device")
    if engine == "openvino" and device != "cpu":
        raise UserError(f"engine: openvino computes on the CPU, but the device is {device}; set device to cpu, or engine to auto")
    members = [_load(path, device, size_px, mask_size_px, engine) for path in paths]
    if device == "cpu":
        for member in members:  # once all of them are in memory
            side_px = max(member.size_px, member.mask_size_px)
            member.batch_max = fit_batch(member.card, side_px, len(members) * (2 if flip else 1))
    return members


def join(members: Sequence[Predictor], paths: Sequence[Path], flip: bool) -> Predictor | Ensemble:
    """One model as it is; several, or with flip, as an ensemble. paths: of the models' files, for errors."""
    if len(members) == 1 and not flip:
        return members[0]
    return Ensemble(members, flip, [show_path(path) for path in paths])


def require_distinct(paths: Sequence[Path]) -> None:
    """Raise UserError if a model file is among the paths twice: it would count twice in the mean."""
    seen: dict[Path, Path] = {}
    for path in paths:
        other = seen.setdefault(resolve_path(path), path)
        if other is not path:
            names = show_path(path) if other == path else f"{show_path(other)} and {show_path(path)}"
            raise UserError(f"{names}: one model file, named twice; name each once")


def _load(path: Path, device: str, size_px: int | None, mask_size_px: int | None, engine: str) -> Predictor:
    with torch.random.fork_rng(devices=[]):  # new layers draw initial weights, although the file's replace them
        model = load_model(path)
    if engine != "torch" and device == "cpu":
        fast = try_openvino(model, path, required=engine == "openvino")
        if fast is not None:
            predictor = Predictor(make_predict(fast, device), model.card, size_px, mask_size_px)
            predictor.engine, predictor.fallbacks = fast.engine, fast.refused
            return predictor
    fold_batch_norms(model)
    return Predictor(make_predict(model, device, channels_last=True), model.card, size_px, mask_size_px)


def _check_options(device: str, size_px: int | None, mask_size_px: int | None, engine: str) -> None:
    if device not in DEVICES:
        raise UserError(f"device: {device}; allowed: {', '.join(DEVICES)}")
    if engine not in ENGINES:
        raise UserError(f"engine: {engine}; allowed: {', '.join(ENGINES)}")
    numbers = {"size_px": (size_px, COUNT_MAX), "mask_size_px": (mask_size_px, COUNT_MAX)}
    for name, (value, most) in numbers.items():
        if value is not None and not (type(value) is int and 1 <= value <= most):
            raise UserError(f"{name}: {str(value)[:40]}; allowed: a whole number from 1 to {most}")
