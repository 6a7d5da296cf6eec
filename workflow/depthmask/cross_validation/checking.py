"""The checks of a cross-validation before anything of it is run: both params files, and the project's data."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from depthmask.base.errors import UserError
from depthmask.cross_validation.params import PATH, CrossValidationParams, load_both, shorten
from depthmask.dvc_failures import report_dvc_errors
from depthmask.params import Params

NEEDED = ("pack", "weights")  # of the project's stages, with those above them: the data of all folds and the initial weights
MAKE_DATA = "run `dvc repro pack weights` in the project's folder, or `make cross-validate`"


def check_cross_validation(project: Path, own: Path) -> tuple[Params, CrossValidationParams]:
    """Load both params files and check that they fit each other, and that the project's data are up to date.

    project: the project's params file, in whose folder its pipeline is; own: the cross-validation's.

    Raises:
        UserError: the params are invalid or do not fit, or the data were made from other params, or not at all.
    """
    params, settings = load_both(project, own)
    shorten(params, settings)
    require_current_data(project.parent)
    return params, settings


def check_folder(root: Path, needs_data: bool = True) -> None:
    """The same from any folder. root: the project's, in which paths in params start. needs_data: whether data must be there."""
    with contextlib.chdir(root):
        if needs_data:
            check_cross_validation(Path("params.yaml"), PATH)
        else:
            shorten(*load_both("params.yaml", PATH))


def require_current_data(root: Path) -> None:
    """Raise UserError if the stages that make a project's data and initial weights would run again; DVC judges."""
    # late: takes half a second, and the checks of the params need none of it
    from dvc.lock import LockError
    from dvc.repo import Repo

    try:
        # DVC looks for the stages in the working folder
        with (
            report_dvc_errors(leave=(LockError,)),
            contextlib.chdir(root),
            Repo(".", config={"core": {"no_scm": True}}, _wait_for_lock=True) as repo,
        ):
            guards = {stage.addressing for stage in repo.index.stages if (stage.meta or {}).get("guard")}
            stale = repo.status(targets=list(NEEDED), with_deps=True)
    except LockError as error:
        raise UserError("another run is active in the project's folder; wait for it or stop it") from error
    named = {name: why for name, why in stale.items() if name not in guards}
    if named:
        raise UserError(f"the project's data are not up to date ({_describe(named)}); {MAKE_DATA}")


def _describe(stale: Mapping[str, Any]) -> str:
    """`download: changed deps; pack: changed outs`."""
    lines = []
    for name, reasons in sorted(stale.items()):
        kinds = [kind for reason in reasons for kind in (reason if isinstance(reason, Mapping) else [str(reason)])]
        lines.append(f"{name}: {', '.join(dict.fromkeys(kinds))}")
    return "; ".join(lines)
