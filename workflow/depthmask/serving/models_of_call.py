"""Loads the models that a call of `depthmask predict` needs, and says what is used of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from depthmask.base.errors import UserError
from depthmask.base.files import hash_file
from depthmask.base.paths import find_fault_of_file, show_path
from depthmask.base.terminal import count, note
from depthmask.data.images import read_photo
from depthmask.params import NetworkParams
from depthmask.preflight.capacity import format_roughly
from depthmask.preflight.estimate import estimate_pass_seconds
from depthmask.preflight.network_costs import find_costs, is_measured
from depthmask.runs.hardware import find_gpu
from depthmask.serving import shipped
from depthmask.serving.each_photo import Models
from depthmask.serving.loading import join, load_members
from depthmask.serving.predictor import Predictor
from depthmask.serving.selection import Selected

SECONDS_WITHOUT_NOTE = 10.0  # per photo: a note is printed if it takes longer


def load_models(
    named: Sequence[Path] | None, trained: Path, ensemble: bool, backgrounds: Sequence[Path | None], options: Mapping[str, Any]
) -> Models:
    """The models that the photos need: those named, else the one trained here, else those that come with the package.

    ensemble: all that are named predict every photo together; otherwise those that take the clean background predict the photos
    that have one, and the rest predict the others. backgrounds: of each photo. options: of `load`.

    Raises:
        UserError: as `load` does; `ensemble`, but fewer than two are named; or models of the two kinds differ in depth.
    """
    if ensemble and len(named or ()) < 2:
        raise UserError("--ensemble: averages several models; name two or more, each with --model FILE")
    if named is None and not trained.exists():
        note(f"no {trained} here; predicting with the models that come with depthmask")
    paths = named or ([trained] if trained.exists() else [shipped.SHIPPED[kind] for kind in sorted({*map(bool, backgrounds)})])
    members = load_members(paths, **options)
    groups: dict[bool, list[int]] = {}
    for number, member in enumerate(members):
        groups.setdefault(member.background_input, []).append(number)
    if ensemble:
        groups = {True in groups: list(range(len(members)))}
    files = {kind: tuple(paths[number] for number in numbers) for kind, numbers in groups.items()}
    predictors = {
        kind: join([members[number] for number in numbers], files[kind], options["flip"]) for kind, numbers in groups.items()
    }
    scales = {(predictor.depth_unit, predictor.depth_max) for predictor in predictors.values()}
    if len(scales) > 1:
        raise UserError(f"--model: {', '.join(map(show_path, paths))} predict depth on different scales; predict with one each")
    models = Models(predictors, files)
    if models.engines != ["torch"]:
        note(f"predicting with {', '.join(models.engines)}, which rounds unlike torch; --engine torch for torch alone")
    return models


def describe_models(models: Models) -> list[dict[str, Any]]:
    """The entries of predictions.json, in the order of the files that each kind of photo is predicted by."""
    return [
        {
            "file": show_path(path),
            "sha256": hash_file(path),
            "network": member.card.settings["name"],
            "background_input": member.background_input,
            "size_px": member.size_px,
            "mask_size_px": member.mask_size_px,
            "engine": member.engine,
            **({"fallbacks": list(member.fallbacks)} if member.fallbacks else {}),
        }
        for kind, predictor in models.predictors.items()
        for path, member in zip(models.paths[kind], predictor.members, strict=True)
    ]


def note_time(models: Models, device: str, flip: bool) -> None:
    """A size that fits into memory may still take minutes per photo on a CPU: print a note in advance."""
    if device in ("cuda", "mps") or (device == "auto" and find_gpu()):
        return
    for predictor in models.predictors.values():
        seconds = sum(map(_estimate_seconds, predictor.members)) * (2 if flip else 1)
        if seconds > SECONDS_WITHOUT_NOTE:
            side_px = max(max(member.size_px, member.mask_size_px) for member in predictor.members)
            smaller = "a smaller --size-px or --mask-size-px is faster"
            note(f"at {side_px} px a photo takes about {format_roughly(seconds)}; {smaller}")


def _estimate_seconds(member: Predictor) -> float:
    """Of a pass over one photo; 0 where nobody has measured the network."""
    settings = NetworkParams(**member.card.settings)
    if not is_measured(settings):
        return 0.0
    return estimate_pass_seconds(find_costs(settings), max(member.size_px, member.mask_size_px) ** 2, torch.get_num_threads())


def check_backgrounds(models: Models, shared: Path | None, photos: Sequence[Selected]) -> None:
    """A background that no model can use is an error if given explicitly, and a note if found beside a photo."""
    wanted, files = True in models.predictors, [show_path(path) for paths in models.paths.values() for path in paths]
    take = f"{', '.join(files)} {'takes' if len(files) == 1 else 'take'} the image only"
    if wanted and shared is not None:
        fault = find_fault_of_file(shared)
        if fault is not None:
            raise UserError(f"--background {show_path(shared)}: {fault}")
        read_photo(shared)  # else every photo would fail
    if not wanted and shared is not None:
        raise UserError(f"--background {show_path(shared)}: {take}; remove --background")
    unused = [photo for photo in photos if photo.background is not None and (not wanted or shared is not None)]
    if unused:
        why = f"--background {show_path(shared)} is used for all" if wanted else take
        are = "is" if len(unused) == 1 else "are"
        note(f"{count(len(unused), 'background')} beside photos {are} not used: {why}")
