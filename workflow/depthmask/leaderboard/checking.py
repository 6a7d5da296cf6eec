"""What is checked of a leaderboard before any output is removed; apart from planning, which later stages depend on."""

from __future__ import annotations

from pathlib import Path

from depthmask.leaderboard.params import LeaderboardParams, load_leaderboard_params
from depthmask.leaderboard.planning import check_recipes
from depthmask.preflight.paths import refuse_overlaps, require_inputs


def check_leaderboard(path: Path, folder: Path) -> LeaderboardParams:
    """The params in a file, once nothing is left to say against them, their paths and the recipes in a folder.

    Raises:
        UserError: as `check_recipes`, `refuse_overlaps` and `require_inputs`.
    """
    refuse_overlaps(load_leaderboard_params(path), str(path))  # first: of / and the like, no file is looked at
    params = check_recipes(path, folder)
    require_inputs(params, str(path))
    return params
