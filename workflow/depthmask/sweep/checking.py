"""The checks of a sweep before anything is run, and the file that its graph is made from."""

from __future__ import annotations

import contextlib
from pathlib import Path

from depthmask.base.errors import ParamsError
from depthmask.base.files import write_text
from depthmask.params import Params
from depthmask.params.mixture import key_sources
from depthmask.preflight.inputs import check_origin, require_encoder, require_weights
from depthmask.preflight.paths import check_paths
from depthmask.preflight.place import Place
from depthmask.recipes import FOLDER
from depthmask.sweep.params import load_sweep_params
from depthmask.sweep.planning import PLAN, SweepPlan, fit_trial, format_plan, make_plan
from depthmask.sweep.space import list_extremes


def check_sweep(where: Path, recipes: Path = FOLDER) -> SweepPlan:
    """Load and check a sweep's params, the project's params below them, their paths, and every value of the space.

    where: the sweep's params.yaml; its folder is in the project's.

    Raises:
        UserError: names file and key.
    """
    plan = make_plan(load_sweep_params(where), where, recipes)
    folder, shown = where.absolute().parent, _show(where)
    with contextlib.chdir(plan.home):  # paths are relative to the project
        check_paths(plan.shared, "params.yaml")
        check_origin(plan.shared, shown)
        _check_outside(plan.shared, folder)
        for key, values in list_extremes(plan.params.space):
            if key.startswith("model."):
                fitted = fit_trial(plan.base, plan.params, values, shown)
                require_encoder(fitted.model, f"{shown}: space")
                require_weights(fitted.model, f"{shown}: space")
    return plan


def _show(where: Path) -> str:
    """A sweep's params file, told apart from the project's."""
    return f"{where.absolute().parent.name}/{where.name}"


def _check_outside(shared: Params, folder: Path) -> None:
    """Raise ParamsError if a source lies in the folder of the sweep, whose stages remove their outputs."""
    place = Place.find(folder)
    for key, source in key_sources(shared.download).items():
        if Place.find(source.path).relate(place) in ("is", "lies in"):
            raise ParamsError(f"params.yaml: {key}.path: {source.path} lies in {folder.name}, the folder of the sweep; move it")


def write_plan(where: Path, recipes: Path = FOLDER) -> SweepPlan:
    """Check a sweep and write its plan beside its params, unless the same is there already; raises as `check_sweep`."""
    plan = check_sweep(where, recipes)
    path, text = where.parent / PLAN, format_plan(plan)
    (where.parent / "data/raw_more").mkdir(parents=True, exist_ok=True)  # a dep, even if there is no further source
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        write_text(path, text)
    return plan
