"""The model files among which the page lets choose: those named, those in data/models, and those that come with depthmask."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from depthmask.base.errors import UserError
from depthmask.base.paths import is_folder, resolve_path, show_path
from depthmask.base.terminal import clean, note
from depthmask.hub.fetching import FoundModel
from depthmask.models.file_header import read_sealed_card
from depthmask.serving.loading import require_distinct
from depthmask.serving.shipped import SHIPPED

SHIPPED_LABEL = "comes with depthmask"
SUFFIX = ".safetensors"


@dataclass(frozen=True)
class Choice:
    """An entry of the list of models: its files, and whether one of them takes, or all of them need, the clean background."""

    label: str
    paths: tuple[Path, ...]
    takes_background: bool
    needs_background: bool


def list_choices(named: Sequence[FoundModel], folder: Path) -> list[Choice]:
    """The models of the page, the first of which is chosen: as with `depthmask predict`, those named, else the one trained here.

    folder: with the models of the pipeline; may be missing. A file in it that is no model is left out with a note.

    Raises:
        UserError: a named file is missing, damaged, no model, or named twice.
    """
    require_distinct([one.path for one in named])
    choices = [_describe(one.path, one.address) for one in named]
    seen = {resolve_path(one.path) for one in named}
    for path in _find_models(folder):
        if resolve_path(path) not in seen:
            try:
                choices.append(_describe(path))
            except UserError as error:
                note(f"{show_path(error)}; it is not offered")
    choices.append(Choice(SHIPPED_LABEL, (SHIPPED[True], SHIPPED[False]), takes_background=True, needs_background=False))
    return choices


def _find_models(folder: Path) -> list[Path]:
    """The model files of a folder: that of the last phase first."""
    if not is_folder(folder):
        return []
    paths = [path for path in folder.iterdir() if path.suffix == SUFFIX and path.name[0] != "."]
    return sorted(paths, key=lambda path: (path.stem != "finetune", path.name))


def _describe(path: Path, address: str | None = None) -> Choice:
    takes = bool(read_sealed_card(path).settings["background_input"])
    return Choice(address or clean(show_path(path)), (path,), takes, takes)
