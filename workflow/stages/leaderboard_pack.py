"""Pack the leaderboard's source at the sizes that its params name, as the pipeline's own stage does."""

from __future__ import annotations

import sys

from depthmask.leaderboard.params import LeaderboardParams, load_leaderboard_params
from stages import pack


def list_sizes(params: LeaderboardParams) -> set[int]:
    """Those of the recipes' phases, which the check stage compares with the recipes, and that of the test pictures."""
    return {*params.pack.sizes_px, params.evaluate.image_size_px}


def main(argv: list[str] | None = None) -> int:
    return pack.main(argv, load=load_leaderboard_params, sizes=list_sizes)


if __name__ == "__main__":
    sys.exit(main())
