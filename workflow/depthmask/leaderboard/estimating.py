"""An estimate of what a leaderboard needs before anything is run: every recipe with every seed, one after another."""

from __future__ import annotations

from pathlib import Path

from depthmask.leaderboard.params import LeaderboardParams
from depthmask.leaderboard.planning import fit_recipe, list_phases, make_plan
from depthmask.preflight.estimate import (
    Estimate,
    PhaseEstimate,
    count_most_samples,
    estimate_disk,
    estimate_evaluation,
    estimate_phase,
    is_on_gpu,
)
from depthmask.preflight.network_costs import is_measured


def estimate_leaderboard(params: LeaderboardParams, folder: Path, num_cores: int) -> Estimate:
    """An estimate with one phase per recipe, named after it: peak memory, and the time of all seeds. folder: of recipes.

    Recipes whose network was not measured are skipped.

    Raises:
        UserError: a recipe is invalid, or does not fit.
    """
    compute, recipes, models = params.compute, [], []
    most = count_most_samples(params.download)
    for name in params.recipes:
        fitted = fit_recipe(name, params, folder)
        clock = [1.0] * len(list_phases(fitted))  # for a budget in seconds, the time is known
        plan = make_plan(name, fitted, params.budget, num_available=None, step_seconds=clock)
        if not is_measured(plan.model):
            continue
        trained = [
            estimate_phase(name, phase, plan.model, phase.loss or plan.loss, compute, num_cores, most) for phase in plan.phases
        ]
        scored = estimate_evaluation(params.evaluate, plan.model, compute, num_cores, most)
        seconds = None
        if not is_on_gpu(compute):
            in_training = params.budget.amount if params.budget.kind == "seconds" else sum(one.seconds for one in trained)
            seconds = len(params.seeds) * (in_training + scored.seconds)
        recipes.append(PhaseEstimate(name, max(one.memory_bytes for one in (*trained, scored)), seconds))
        models += [plan.model] * len(params.seeds)
    files, store = estimate_disk(models, params.download, params.pack.sizes_px)
    return Estimate(recipes, files, store, min(compute.threads, num_cores), is_on_gpu(compute))
