"""All checks of a project before anything runs: the work of the stage check and of `depthmask check`."""

from __future__ import annotations

from pathlib import Path

from depthmask.base.errors import ParamsError, UserError
from depthmask.base.terminal import warn
from depthmask.models.ensemble_folder import check_members
from depthmask.params import NetworkParams, Params, find_fault_of_background, load_params
from depthmask.params.mixture import key_sources
from depthmask.preflight.capacity import check_run
from depthmask.preflight.inputs import check_origin
from depthmask.preflight.paths import check_layout, check_other_layouts, check_paths
from depthmask.runs.commit import read_commit


def check_params(path: Path | str = "params.yaml") -> Params:
    """Load a project's params after the checks that need no numpy: schema, paths and the origin of the data.

    Raises:
        ParamsError: as `load_params`, `check_paths` and `check_origin`.
    """
    params = load_params(path)
    check_paths(params, str(path))
    check_origin(params, str(path))
    return params


def check_project(path: Path) -> str:
    """Check a project's params, its sources and the machine; returns one line with the estimate.

    Warns if the clone belongs to another user, which git does not read.

    Raises:
        ParamsError: as `check_params`, `check_layout`, `check_other_layouts`, `check_ensemble` and `check_run`.
    """
    params = check_params(path)
    check_layout(params.download, str(path), params.model)
    check_other_layouts(params, str(path))
    check_ensemble(params, str(path))
    commit = read_commit([path])
    if commit.is_foreign:
        warn(f"run records will lack the commit: {commit.reason}")
    return f"{path}: ok; {check_run(params, str(path))}"


def check_ensemble(params: Params, where: str) -> None:
    """Check the further models that are averaged with the trained one; raises ParamsError for the first that does not fit."""
    key = f"{where}: evaluate.ensemble"
    try:
        cards = check_members(Path(params.evaluate.ensemble), params.download.depth, params.evaluate.image_size_px)
    except UserError as error:
        raise ParamsError(f"{key}: {error}") from error
    taking = [(file, card) for file, card in cards.items() if card.settings["background_input"]]
    if not taking or params.model.background_input:
        return
    file, card = taking[0]
    settings = NetworkParams(**card.settings)
    lacks = any(
        find_fault_of_background(settings, source, name) is not None for name, source in key_sources(params.download).items()
    )
    try:
        check_layout(params.download, where, settings)  # passed with the model of params.yaml, which takes no background
    except ParamsError:
        lacks = True
    if lacks:
        raise ParamsError(
            f"{key}: {file} takes the clean background, which the data do not have; remove it, or add clean backgrounds"
        )
