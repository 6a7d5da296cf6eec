"""Pack the leaderboard's source at the sizes of all its recipes, as the pipeline's own stage does."""

from __future__ import annotations

import sys
from pathlib import Path

from depthmask.leaderboard.params import LeaderboardParams, load_leaderboard_params
from depthmask.leaderboard.planning import fit_recipe, list_phases
from depthmask.recipes import FOLDER
from stages import pack


def list_sizes(params: LeaderboardParams, recipes: Path = FOLDER) -> set[int]:
    """The size of every phase of every recipe, and of the test pictures."""
    phases = [phase for name in params.recipes for phase in list_phases(fit_recipe(name, params, recipes))]
    return {phase.image_size_px for phase in phases} | {params.evaluate.image_size_px}


def main(argv: list[str] | None = None) -> int:
    return pack.main(argv, load=load_leaderboard_params, sizes=list_sizes)


if __name__ == "__main__":
    sys.exit(main())
