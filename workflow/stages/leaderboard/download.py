"""Copy or unpack the leaderboard's source, as the pipeline's own stage does."""

from __future__ import annotations

import sys

from depthmask.leaderboard.params import load_leaderboard_params
from stages import download


def main(argv: list[str] | None = None) -> int:
    """The exit code of the same stage with the leaderboard's params."""
    return download.main(argv, load=load_leaderboard_params)


if __name__ == "__main__":
    sys.exit(main())
