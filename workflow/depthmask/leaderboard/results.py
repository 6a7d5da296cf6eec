"""Reads and checks the results of the leaderboard's stages; a missing file is one line that names it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from depthmask.base.files import read_stage_csv, read_stage_json

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
    plans = {name: read_stage_json(reports / "plan" / f"{name}.json") for name in recipes}
    keys = {name: [] if plan["missing"] else [f"{name}-{seed}" for seed in seeds] for name, plan in plans.items()}
    beside = read_stage_json(reports / "baselines.json")
    return Results(
        plans=plans,
        runs={name: [read_stage_json(reports / "train" / key / "run.json") for key in keys[name]] for name in recipes},
        scores={name: [read_stage_json(reports / "score" / f"{key}.json") for key in keys[name]] for name in recipes},
        images={name: [read_stage_csv(reports / "score" / f"{key}.csv") for key in keys[name]] for name in recipes},
        times=read_stage_json(reports / "time.json"),
        baselines=beside["test"],
        source=beside["source"],
    )
