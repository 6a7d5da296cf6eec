"""The folder of further models that the stage evaluate averages with the trained one; checked without torch."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from depthmask.base.errors import UserError
from depthmask.base.files import hash_file
from depthmask.base.paths import show_path
from depthmask.models.file_header import read_sealed_card
from depthmask.models.model_card import ModelCard
from depthmask.params import DepthParams, SplitParams
from depthmask.params.model import find_fault_of_size

MODEL, BESIDE = ".safetensors", ".md"  # model files, and their cards


def list_members(folder: Path) -> list[Path]:
    """The model files in a folder, by name. Model cards and hidden files are left out.

    Raises:
        UserError: it has anything else, which would be left out silently.
    """
    members = []
    for path in sorted(folder.iterdir()):
        if path.name[0] == "." or (path.suffix == BESIDE and path.is_file()):
            continue
        if path.suffix != MODEL:
            what = "a folder" if path.is_dir() else "not a model file"
            raise UserError(f"{show_path(path)}: is {what}; only {MODEL} files and their cards ({BESIDE}) may be in {folder}")
        members.append(path)
    return members


def check_members(folder: Path, depth: DepthParams, size_px: int) -> dict[Path, ModelCard]:
    """The model files in a folder with their cards, whole and fit to be averaged with a model of this depth at this size.

    Raises:
        UserError: names the first that is not.
    """
    cards = {path: read_sealed_card(path) for path in list_members(folder)}
    for path, card in cards.items():
        fault = find_fault_of_member(card, depth, size_px)
        if fault is not None:
            raise UserError(f"{show_path(path)}: {fault}")
    return cards


def find_fault_of_member(card: ModelCard, depth: DepthParams, size_px: int) -> str | None:
    """Why a model cannot be averaged and scored where depth is as declared; None if it can.

    Metres are converted from a larger maximum; a smaller one would leave what is beyond it unknown. A relative scale has to be
    the same.
    """
    is_covered = card.depth_max == depth.max or (depth.unit == "metre" and card.depth_max > depth.max)
    if card.depth_unit != depth.unit or not is_covered:
        wanted = f"up to {depth.max:g} {'or more ' if depth.unit == 'metre' else ''}({depth.unit})"
        return f"predicts depth up to {card.depth_max:g} ({card.depth_unit}), but the test set needs it {wanted}; remove it"
    return find_fault_of_size(card.settings["name"], size_px)


def find_doubt(card: ModelCard, split: SplitParams, seed: int) -> str | None:
    """Why a model may have been trained on test images of this split; None if its card says that it has the same one.

    seed: of the split. Only exported models say how their data were split.
    """
    said = (card.release or {}).get("params") or {}
    theirs, own = said.get("split"), split.model_dump(exclude={"seed"})
    if not isinstance(theirs, dict):
        return "does not say how its data were split"
    their_seed = said.get("seed") if theirs.get("seed") is None else theirs["seed"]
    if their_seed != seed or any(theirs[key] != own[key] for key in theirs.keys() & own.keys()):
        return f"was trained on another split (seed {their_seed})"
    return None


def drop_copies(members: Iterable[Path], trained: Path) -> tuple[list[Path], list[str]]:
    """Without those of the same bytes as the trained model or an earlier one, and a line about each that was dropped."""
    seen, kept, lines = {hash_file(trained): trained}, [], []
    for path in members:
        other = seen.setdefault(hash_file(path), path)
        if other is path:
            kept.append(path)
        else:
            lines.append(f"{show_path(path)}: is the same model as {show_path(other)}, and counts once")
    return kept, lines
