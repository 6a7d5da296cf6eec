"""All checks of a project before anything runs: the work of the stage check and of `depthmask check`."""

from __future__ import annotations

from pathlib import Path

from depthmask.base.terminal import warn
from depthmask.params import Params, load_params
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
        ParamsError: as `check_params`, `check_layout`, `check_other_layouts` and `check_run`.
    """
    params = check_params(path)
    check_layout(params.download, str(path), params.model)
    check_other_layouts(params, str(path))
    commit = read_commit([path])
    if commit.is_foreign:
        warn(f"run records will lack the commit: {commit.reason}")
    return f"{path}: ok; {check_run(params, str(path))}"
