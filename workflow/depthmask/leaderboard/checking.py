"""What is checked of a leaderboard before any output is removed; apart from planning, which later stages depend on."""

from __future__ import annotations

from pathlib import Path

from depthmask.leaderboard.params import LeaderboardParams, load_leaderboard_params
from depthmask.leaderboard.planning import check_recipes
from depthmask.preflight.paths import check_overlaps, require_inputs


def check_leaderboard(path: Path, folder: Path) -> LeaderboardParams:
    """The params in a file, after they, their paths and the recipes in a folder have been checked.

    Raises:
        UserError: as `check_recipes`, `check_overlaps` and `require_inputs`.
    """
    check_overlaps(load_leaderboard_params(path), str(path))  # first: with / and the like, no file may be looked at
    params = check_recipes(path, folder)
    require_inputs(params, str(path))
    return params
