"""The checks of a leaderboard before any output is removed; not in planning.py, because later stages depend on that."""

from __future__ import annotations

from pathlib import Path

from depthmask.leaderboard.params import LeaderboardParams, load_leaderboard_params
from depthmask.leaderboard.planning import check_recipes
from depthmask.preflight.paths import check_overlaps, require_inputs


def check_leaderboard(path: Path, folder: Path) -> LeaderboardParams:
    """Load and check the params in a file, their paths and the recipes in a folder.

    Raises:
        UserError: as `check_recipes`, `check_overlaps` and `require_inputs`.
    """
    check_overlaps(load_leaderboard_params(path), str(path))  # first: with a path such as /, no file must be looked at
    params = check_recipes(path, folder)
    require_inputs(params, str(path))
    return params
