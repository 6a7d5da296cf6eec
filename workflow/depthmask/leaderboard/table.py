"""The rows of the leaderboard: means and spreads over seeds, ranks, and the cost of each recipe.

A row is a mapping of COLUMNS, ready to be written; unknown, undefined or unmeasured values are None.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from depthmask.base.errors import UserError
from depthmask.intervals.bootstrap import Interval
from depthmask.leaderboard.ranking import Ranking
from depthmask.leaderboard.results import Results
from depthmask.params import ModelParams
from depthmask.scores import HIGH, LOW, Prominence, list_scores
from depthmask.scores.labels import BASELINES
from depthmask.scores.rounding import round_score

RANKED = {spec.column: spec for spec in list_scores(at_least=Prominence.TABLE)}
MEASURED = ("seconds", "images_per_second", "inference_ms", "peak_memory_mib")  # measured by a clock, so different in each run
COLUMNS = (
    "rank",
    "name",
    "kind",  # recipe | baseline
    "network",
    "weights",  # what training starts from: random | imagenet | file
    "note",
    "num_seeds",
    *(f"{score}{part}" for score in RANKED for part in ("", LOW, HIGH, "_min", "_max")),  # 95 % interval; lowest, highest seed
    "num_parameters",
    "sizes_px",  # of the phases in order, like the batch sizes
    "batch_sizes",
    "steps",
    "samples",
    *MEASURED,
)

Row = dict[str, Any]


def make_rows(results: Results, sort_by: str, seed: int = 0) -> list[Row]:
    """Rows of COLUMNS, best first; sort_by: one of RANKED. seed: of the intervals."""
    ranking = Ranking(results, RANKED, seed)
    intervals = ranking.find_intervals()
    rows = [_make_recipe_row(name, results) | _list_ends(intervals.get(name, {})) for name in results.plans]
    rows += [_make_baseline_row(name, values) for name, values in results.baselines.items()]
    return rank_rows(rows, sort_by, ranking.rank(sort_by))


def make_metrics(rows: Sequence[Row]) -> dict[str, dict[str, float | None]]:
    """Mean scores of the recipes by name, sorted by name, for DVC's tables."""
    recipes = sorted((row for row in rows if row["kind"] == "recipe"), key=lambda row: row["name"])
    return {row["name"]: {score: row[score] for score in RANKED} for row in recipes}


def rank_rows(rows: Sequence[Row], sort_by: str, ranks: Mapping[str, int]) -> list[Row]:
    """Sort by the mean of a score, rows without it last; recipes get their ranks, which those that tie share."""
    better_when_higher = RANKED[sort_by].higher_is_better

    def place(row: Row) -> tuple:
        value = row[sort_by]
        return (
            value is None,
            0 if value is None else -value if better_when_higher else value,
            row["kind"] != "recipe",
            row["name"],
        )

    ordered = sorted(rows, key=place)
    return [
        row | {"rank": ranks[row["name"]] if row["kind"] == "recipe" and row[sort_by] is not None else None} for row in ordered
    ]


def summarise(values: Sequence[float | None]) -> tuple[float | None, float | None, float | None]:
    """Mean, lowest and highest score over seeds; None if it is undefined for any of them."""
    if not values or any(value is None for value in values):
        return None, None, None
    return float(f"{sum(values) / len(values):.6g}"), min(values), max(values)


def _make_recipe_row(name: str, results: Results) -> Row:
    plan, runs, scores = results.plans[name], results.runs[name], results.scores[name]
    model = ModelParams(**plan["model"])
    row = dict.fromkeys(COLUMNS) | {"name": name, "kind": "recipe", "network": model.name, "weights": model.initial_weights}
    row |= {"num_seeds": len(scores)}
    if plan["missing"]:
        return row | {"note": "not installed"}
    for column, spec in RANKED.items():
        row |= _spread(column, [score["test"][spec.family][spec.name] for score in scores])
    extra = [run["extra"] for run in runs]
    if {values["steps"] for values in extra} != {plan["steps"]}:
        raise UserError(f"recipe {name}: its trainings did not take the {plan['steps']} steps of its plan; train it again")
    speed = sum(values["images_per_second"] for values in extra) / len(extra)
    return row | {
        "num_parameters": extra[0]["num_parameters"],
        "sizes_px": " ".join(str(phase["image_size_px"]) for phase in plan["phases"]),
        "batch_sizes": " ".join(str(phase["batch_size"]) for phase in plan["phases"]),
        "steps": plan["steps"],
        "samples": plan["samples"],
        # not the sum of clock times: after a kill and resume, the clock knows only the last run
        "seconds": round(plan["samples"] / speed, 1) if speed else None,
        "images_per_second": float(f"{speed:.4g}"),
        "inference_ms": results.times["inference_ms"][name],
        "peak_memory_mib": max(values["peak_memory_mib"] for values in extra),
    }


def _make_baseline_row(name: str, values: Mapping[str, Any]) -> Row:
    row = dict.fromkeys(COLUMNS) | {"name": BASELINES.get(name, name), "kind": "baseline", "note": "no network"}
    for column, spec in RANKED.items():
        if name.startswith(f"{spec.family}_"):
            row |= _spread(column, [values[spec.name]])
            row |= {f"{column}{end}": values.get(f"{spec.name}{end}") for end in (LOW, HIGH)}
    return row


def _list_ends(intervals: Mapping[str, Interval | None]) -> Row:
    """The ends of each score's interval, None if it has none."""
    ends: Row = {}
    for column, interval in intervals.items():
        for place, end in enumerate((LOW, HIGH)):
            ends[f"{column}{end}"] = None if interval is None else round_score(interval[place])
    return ends


def _spread(column: str, values: Sequence[float | None]) -> Row:
    return dict(zip((column, f"{column}_min", f"{column}_max"), summarise(values)))
