"""Reads and checks the results of the leaderboard's stages; a missing file is one line that names it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from depthmask.base.errors import UserError
from depthmask.base.files import JsonError, read_csv, read_json

Values = dict[str, Any]


@dataclass(frozen=True)
class Results:
    """plans, times: by recipe. runs, scores, images: by recipe, one per seed in order, none if the network is missing.

    images: the scores of each test image, as in per_image.csv.

    baselines: scores of the baselines by name, with the number of test images.
    """

    plans: dict[str, Values]
    runs: dict[str, list[Values]]
    scores: dict[str, list[Values]]
    images: dict[str, list[list[dict[str, str]]]]
    times: dict[str, Values]
    baselines: dict[str, Values]
    source: Values

    @property
    def missing(self) -> dict[str, str]:
        """Recipes that could not be trained here, and why."""
        return {name: plan["missing"] for name, plan in self.plans.items() if plan["missing"]}


def read_results(reports: Path, recipes: Sequence[str], seeds: Sequence[int]) -> Results:
    """Read the results of these recipes and seeds; other files in the folder are ignored.

    Raises:
        UserError: a file is missing or cannot be read.
    """
    plans = {name: read_result(reports / "plan" / f"{name}.json") for name in recipes}
    keys = {name: [] if plan["missing"] else [f"{name}-{seed}" for seed in seeds] for name, plan in plans.items()}
    beside = read_result(reports / "baselines.json")
    return Results(
        plans=plans,
        runs={name: [read_result(reports / "train" / key / "run.json") for key in keys[name]] for name in recipes},
        scores={name: [read_result(reports / "score" / f"{key}.json") for key in keys[name]] for name in recipes},
        images={name: [_read_images(reports / "score" / f"{key}.csv") for key in keys[name]] for name in recipes},
        times=read_result(reports / "time.json"),
        baselines=beside["test"],
        source=beside["source"],
    )


def _read_images(path: Path) -> list[dict[str, str]]:
    if not path.is_file():
        raise UserError(f"{path}: no such file; run the stage that makes it")
    return read_csv(path)


def read_result(path: Path) -> Values:
    """A JSON file of a stage; raises UserError as `read_results` does."""
    try:
        return read_json(path)
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file; run the stage that makes it") from error
    except JsonError as error:
        raise UserError(f"{path}: is not JSON ({error.reason}); run the stage that makes it again") from error
