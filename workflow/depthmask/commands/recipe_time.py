"""`depthmask recipe NAME --time`: how long a recipe would train on this machine, from a few seconds of each of its phases."""

from __future__ import annotations

from pathlib import Path

from depthmask.base.durations import format_seconds
from depthmask.base.errors import UserError
from depthmask.leaderboard.budget import cap_phases, count_samples, count_steps
from depthmask.leaderboard.speed import measure_step_seconds
from depthmask.params import Params
from depthmask.sources import choose_folder


def tell_time(params: Params, raw: Path, store: Path, split: Path, batch_size_max: int | None) -> None:
    """Print each phase's images a second and time, and the time of all; validation, evaluation and report are not counted.

    batch_size_max: where the recipe's batches do not fit into memory, the largest that are tried; images are what is counted.

    Raises:
        UserError: there are no data yet, or batch_size_max is under 1.
    """
    if not (split / "statistics.json").is_file():
        raise UserError(f"{split}: the data are not there yet; run dvc repro split first")
    if batch_size_max is not None and batch_size_max < 1:
        raise UserError(f"--batch-size-max {batch_size_max}; allowed: from 1")
    sections = [(stage, phase) for stage in ("pretrain", "finetune") for phase in getattr(params, stage).phases()]
    capped = cap_phases([phase for _, phase in sections], batch_size_max, None)
    data = choose_folder(raw, store)
    speeds = [phase.batch_size / seconds for phase, seconds in zip(capped, measure_step_seconds(params, capped, data, split))]
    whole = 0.0
    for (stage, phase), tried, images_per_second in zip(sections, capped, speeds):
        seconds = count_samples(phase) / images_per_second
        whole += seconds
        tried_with = "" if tried.batch_size == phase.batch_size else f" (with batches of {tried.batch_size})"
        print(
            f"{stage}: {count_steps(phase):,} steps of {phase.batch_size} at {phase.image_size_px} px,"
            f" {images_per_second:.3g} images/s{tried_with}: {format_seconds(seconds)}"
        )
    print(f"together: {format_seconds(whole)}")
