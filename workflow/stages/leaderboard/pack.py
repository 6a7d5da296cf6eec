"""Pack the leaderboard's source at the sizes of all its recipes, as the pipeline's own stage does."""

from __future__ import annotations

import sys

from depthmask.leaderboard.params import load_leaderboard_params
from stages import pack


def main(argv: list[str] | None = None) -> int:
    """The exit code of the same stage with the leaderboard's params."""
    return pack.main(argv, load=load_leaderboard_params, sizes=lambda params: set(params.pack.sizes_px))


if __name__ == "__main__":
    sys.exit(main())
