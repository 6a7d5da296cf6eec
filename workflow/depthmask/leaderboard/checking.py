"""The checks of a leaderboard before any output is removed; not in planning.py, because later stages depend on that."""

from __future__ import annotations

from pathlib import Path

from depthmask.base.errors import ParamsError
from depthmask.leaderboard.params import LeaderboardParams, load_leaderboard_params
from depthmask.leaderboard.planning import fit_recipe, list_phases, make_plan
from depthmask.preflight.inputs import require_background, require_files, require_pseudo_label_model
from depthmask.preflight.paths import check_overlaps, require_inputs
from depthmask.recipes import list_names


def check_leaderboard(path: Path, folder: Path) -> LeaderboardParams:
    """Load and check the params in a file, their paths and the recipes in a folder.

    Raises:
        UserError: as `check_recipes`, `check_overlaps` and `require_inputs`.
    """
    check_overlaps(load_leaderboard_params(path), str(path))  # first: with a path such as /, no file must be looked at
    params = check_recipes(path, folder)
    require_inputs(params, str(path))
    return params


def check_recipes(path: Path, folder: Path) -> LeaderboardParams:
    """Load a leaderboard's params and check that all its recipes, files in `folder`, fit them.

    Raises:
        UserError: the params or a recipe are invalid, or the budget is too small for a recipe.
    """
    params, known = load_leaderboard_params(path), list_names(folder)
    require_files(params, str(path))
    require_pseudo_label_model(params.download, str(path))
    needed = {params.evaluate.image_size_px}
    for name in params.recipes:
        if name not in known:
            raise ParamsError(f"{path}: recipes: {name}; allowed: {', '.join(known)}")
        fitted = fit_recipe(name, params, folder)
        require_background(params.download, fitted.model, f"{path} with recipe {name}")
        clock = [1.0] * len(list_phases(fitted))  # the real speed does not matter here
        make_plan(name, fitted, params.budget, num_available=None, step_seconds=clock)
        needed |= {phase.image_size_px for phase in list_phases(fitted)}
    lacking = sorted(needed - set(params.pack.sizes_px))
    if lacking:
        raise ParamsError(f"{path}: pack.sizes_px: lacks {lacking[0]}, at which a recipe is trained or scored; add it")
    return params
