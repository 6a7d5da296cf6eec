"""The schema of leaderboard/params.yaml, and its only reader."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from depthmask.params import ComposeParams, ComputeParams, DownloadParams, PackParams, SeededParams, SplitParams
from depthmask.params.fields import BatchSize, Count, ScoredCount, Section, Seed, SizePx
from depthmask.params.reading import fit_schema, read_yaml
from depthmask.scores import Prominence, list_scores

RecipeName = Annotated[str, Field(pattern="^[a-z0-9][a-z0-9_]*$")]


class BudgetParams(Section):
    kind: Literal["steps", "samples", "seconds"]
    amount: Count


class ScoringParams(Section):
    """The section `evaluate`, without the keys for displayed samples."""

    image_size_px: SizePx
    batch_size: BatchSize
    num_samples: ScoredCount
    baseline_samples: ScoredCount


class BoardPackParams(PackParams):
    """sizes_px: explicit, so that a changed recipe does not make the store stale; `planning` reports missing sizes."""

    sizes_px: Annotated[list[SizePx], Field(min_length=1)]


class LeaderboardParams(SeededParams):
    recipes: Annotated[list[RecipeName], Field(min_length=1)]
    seeds: Annotated[list[Seed], Field(min_length=1)]
    budget: BudgetParams
    batch_size_max: BatchSize | None
    image_size_max_px: SizePx | None
    sort_by: Literal[*(spec.column for spec in list_scores(at_least=Prominence.TABLE))]
    seed: Seed
    download: DownloadParams
    pack: BoardPackParams
    split: SplitParams
    compose: ComposeParams
    evaluate: ScoringParams
    compute: ComputeParams

    @model_validator(mode="after")
    def _check(self):
        for key in ("recipes", "seeds"):
            listed = getattr(self, key)
            twice = sorted({value for value in listed if listed.count(value) > 1})
            if twice:
                raise ValueError(f"{key}: {twice[0]} is listed twice; allowed: each once")
        return self


def load_leaderboard_params(path: Path | str = "params.yaml") -> LeaderboardParams:
    """Read and validate a leaderboard's params.yaml; the recipes are checked when they are planned.

    Raises:
        ParamsError: the file is missing, is not YAML, or does not fit the schema; only the first mistake is reported.
    """
    return fit_schema(LeaderboardParams, read_yaml(path, LeaderboardParams), where=str(path))
