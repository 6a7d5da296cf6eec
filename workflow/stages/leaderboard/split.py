"""Split the leaderboard's source once for all recipes, as the pipeline's own stage does."""

from __future__ import annotations

import sys

from depthmask.leaderboard.params import load_leaderboard_params
from stages import split


def main(argv: list[str] | None = None) -> int:
    """The exit code of the same stage with the leaderboard's params."""
    return split.main(argv, load=load_leaderboard_params)


if __name__ == "__main__":
    sys.exit(main())
