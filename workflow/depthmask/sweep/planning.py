"""What a sweep will do: the params that all trials share, the stages of its graph, and what one trial trains.

The plan is a file, written from a sweep's params before its graph is read: DVC's templates need the rounds and trials as a
mapping, and every stage the shared params. It is a function of these files alone: sweep/params.yaml, params.yaml, and the
recipe that the sweep starts from.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from depthmask.base.errors import ParamsError, UserError
from depthmask.leaderboard.budget import count_steps, spend_budget
from depthmask.params import Params, PhaseParams, make_params
from depthmask.params.mixture import list_sources
from depthmask.params.reading import read_text, read_yaml
from depthmask.recipes import BASE, FOLDER, lay_over, read_recipe, resolve_recipe
from depthmask.sweep.params import TRIALS_MAX, SweepParams, load_sweep_params
from depthmask.sweep.space import Values, count_trials, draw_values, list_extremes, list_rounds, set_values, spread_values

PLAN = "plan.yaml"
TRAINING_SECTIONS = ("pretrain", "finetune")
# what data, split and validation images are made with: the same for all trials, or their scores could not be compared
SHARED = ("seed", "download", "pack", "split", "evaluate", "report", "compute")
NO_RESULTS = "data/check.txt"  # a file, where the first round would read the folders of the round before it
HEADER = """\
# Written by `depthmask sweep`, and by snakemake when it starts, from params.yaml, ../params.yaml and the recipe: edit those.
# graph: the rounds and trials for dvc.yaml. base: the params that all trials share.
"""


@dataclass(frozen=True)
class SweepPlan:
    """A checked sweep. base: the shared params as nested values; shared: the same, validated. home: the project's folder."""

    params: SweepParams
    base: dict[str, Any]
    shared: Params
    home: Path

    @property
    def num_trials(self) -> int:
        return count_trials(self.params)

    def name_trials(self) -> dict[str, int]:
        """{name: number} of all trials; the same name however many there are, so that more trials leave the first ones alone."""
        return {f"t{number:03d}": number for number in range(self.num_trials)}

    def name_rounds(self) -> dict[str, list[str]]:
        """{name: its trials' names} of all rounds, in order."""
        names = list(self.name_trials())
        return {f"r{number}": [names[trial] for trial in trials] for number, trials in enumerate(list_rounds(self.params))}


def make_plan(params: SweepParams, where: Path, recipes: Path = FOLDER) -> SweepPlan:
    """Lay recipe and fixed values over the project's params, and check that these and every value of the space fit.

    where: the sweep's params file, in a folder of the project.

    Raises:
        ParamsError: names the file and the key.
    """
    home = where.absolute().parents[1]
    project = home / "params.yaml"
    base = read_yaml(project, Params)
    make_params(base, "../params.yaml")
    if params.recipe is not None:
        try:
            base = resolve_recipe(params.recipe, base, recipes)
        except UserError as error:
            raise ParamsError(f"{where}: recipe: {error}") from error
    _check_known(params.fixed, base, f"{where}: fixed")
    base = lay_over(base, params.fixed)
    shared = make_params(base, f"{where}: fixed" if params.fixed else str(where))
    depth = shared.download.depth
    if "depth_delta1" in params.optimise and depth.unit == "relative" and depth.polarity == "near_is_large":
        raise ParamsError(
            f"{where}: optimise: depth_delta1 is of ratios, which such relative depth does not have; allowed: mask_iou"
        )
    _check_space(params, base, where, recipes)
    return SweepPlan(params, base, shared, home)


def _check_known(changes: Mapping[str, Any], base: Mapping[str, Any], where: str) -> None:
    for key in changes:
        if "." in key:
            shown = ": {".join(key.split(".")) + ": ..." + "}" * key.count(".")
            raise ParamsError(f"{where}.{key}: a key of several parts; write it nested: {shown}")
        if key not in base:
            raise ParamsError(f"{where}.{key}: unknown key; allowed keys: {', '.join(base)}")


def _check_space(params: SweepParams, base: dict[str, Any], where: Path, recipes: Path) -> None:
    """Every value must be valid with the shared params, and be one that a recipe can set, since a sweep ends in a recipe."""
    settable = read_recipe(BASE, recipes).values
    training_only = settable["compose"]
    for name, dimension in params.space.items():
        for key in (name, *dimension.also):
            section, _, rest = key.partition(".")
            if section in SHARED or (section == "compose" and rest.partition(".")[0] not in training_only):
                why = "it is the same for all trials, or their scores could not be compared"
                raise ParamsError(f"{where}: space.{key}: cannot be searched, {why}; set it under fixed")
            if section not in settable or not rest:
                allowed = ", ".join(name for name in settable if name not in SHARED)
                raise ParamsError(f"{where}: space.{key}: unknown key; allowed: keys of {allowed}")
        if dimension.values is None and any(key.endswith("image_size_px") for key in (name, *dimension.also)):
            raise ParamsError(f"{where}: space.{name}: sizes are packed before the trials are known; allowed: values: [...]")
    num_trials = count_trials(params)
    if num_trials > TRIALS_MAX:
        raise ParamsError(f"{where}: space: a grid of {num_trials:,} trials; allowed: at most {TRIALS_MAX:,}; list fewer values")
    for name, values in list_extremes(params.space):
        fit_trial(base, params, values, f"{where}: space.{name}: {values[name]}")
    for number in range(num_trials) if params.method != "tpe" else ():
        values = draw_values(params, number)
        shown = ", ".join(f"{key}: {value}" for key, value in values.items())
        spend(fit_trial(base, params, values, f"{where}: space, trial {number} ({shown})"), params, None, str(where))


def fit_trial(base: Mapping[str, Any], params: SweepParams, values: Values, where: str) -> Params:
    """The validated params of a trial, at the full lengths of its phases."""
    return make_params(set_values(base, spread_values(params.space, values)), where)


def spend(fitted: Params, params: SweepParams, num_available: int | None, where: str) -> list[PhaseParams]:
    """All phases of a trial in training order, with the lengths that the budget allows; num_available: see `spend_budget`.

    Raises:
        ParamsError: the budget is less than a step for each phase.
    """
    phases = [phase for section in TRAINING_SECTIONS for phase in getattr(fitted, section).phases()]
    if params.budget is None:
        return phases
    try:
        return spend_budget(phases, params.budget, num_available=num_available)
    except ParamsError as error:
        raise ParamsError(f"{where}: {error}") from error


def count_trial_steps(phases: list[PhaseParams], num_available: int | None) -> int:
    """Optimiser steps of a trial that is not stopped early."""
    if num_available is None:
        return sum(map(count_steps, phases))
    return sum(phase.epochs * (min(phase.samples_per_epoch, num_available) // phase.batch_size) for phase in phases)


def list_sizes(plan: SweepPlan) -> set[int]:
    """Every size at which a trial trains, and that of the validation images."""
    sizes = {plan.shared.evaluate.image_size_px}
    for _, values in [("", {}), *list_extremes(plan.params.space)]:
        fitted = fit_trial(plan.base, plan.params, values, "")
        sizes |= {phase.image_size_px for section in TRAINING_SECTIONS for phase in getattr(fitted, section).phases()}
    return sizes


def format_plan(plan: SweepPlan) -> str:
    """The plan file: YAML that dvc.yaml takes its stages from, and `read_base` the shared params."""
    trials, rounds, before = {}, {}, (NO_RESULTS, NO_RESULTS)
    for name, listed in plan.name_rounds().items():
        rounds[name] = {"before": before[0], "scores": before[1]}
        before = (f"reports/trials/{name}", f"reports/score/{name}")
        trials |= {trial: {"round": name} for trial in listed}
    sources = list_sources(plan.shared.download)
    first, *others = sources
    graph = {
        "source": _seen_from_sweep(sources[first].path),
        "more_sources": {name: {"path": _seen_from_sweep(sources[name].path)} for name in others},
        "layout": plan.shared.download.source,
        "shards": plan.shared.pack.shards,
        "sizes_px": sorted(list_sizes(plan)),
        "threads": plan.shared.compute.threads,
        "rounds": rounds,
        "trials": trials,
    }
    return HEADER + yaml.safe_dump({"graph": graph, "base": plan.base}, sort_keys=False, allow_unicode=True, width=1000)


def _seen_from_sweep(path: str) -> str:
    """A path of ../params.yaml, which is relative to the project, as seen from the sweep's folder."""
    return path if Path(path).is_absolute() else f"../{path}"


def read_plan(folder: Path) -> SweepPlan:
    """The plan of a sweep as its stages see it: of its params, and of the plan file, which dvc.yaml has among their params.

    Raises:
        ParamsError: a file is missing, or does not fit.
    """
    base = _read_file(folder / PLAN)["base"]
    params = load_sweep_params(folder / "params.yaml")
    return SweepPlan(params, base, make_params(base, str(folder / PLAN)), folder.absolute().parent)


def read_base(path: Path) -> Params:
    """The shared params of a plan file, for the stages that prepare the data; raises ParamsError as `read_plan`."""
    return make_params(_read_file(path)["base"], str(path))


def read_sizes(path: Path) -> set[int]:
    """Every size of image that the trials need, from a plan file; raises ParamsError as `read_plan`."""
    return set(_read_file(path)["graph"]["sizes_px"])


def _read_file(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise ParamsError(f"{path}: no such file; run depthmask sweep first")
    values = yaml.safe_load(read_text(path))
    if not isinstance(values, dict) or not values.keys() >= {"graph", "base"}:
        raise ParamsError(f"{path}: is not the plan of a sweep; run depthmask sweep to write it again")
    return values


def require_current(path: Path, plan: SweepPlan) -> None:
    """Raise ParamsError if the plan file is not that of the params, as when they were edited and DVC is run alone."""
    if not path.is_file() or path.read_text(encoding="utf-8") != format_plan(plan):
        raise ParamsError(
            f"{path}: is not that of params.yaml and ../params.yaml; run depthmask sweep, then the same command again"
        )
