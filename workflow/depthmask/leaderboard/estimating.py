"""What a leaderboard asks of a machine, before anything is done: every recipe with every seed, one after the other."""

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
    """A phase for each recipe, named as it: the highest memory, and the time of all its seeds. folder: of recipes.

    Recipes whose network was not measured are skipped.

    Raises:
        UserError: a recipe is wrong, or does not fit.
    """
    compute, recipes, disk_bytes, store = params.compute, [], 0.0, 0.0
    most = count_most_samples(params.download)
    for name in params.recipes:
        fitted = fit_recipe(name, params, folder)
        clock = [1.0] * len(list_phases(fitted))  # of a budget in seconds, the seconds are known
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
        files, store = estimate_disk(plan.model, params.download, params.pack.sizes_px)
        disk_bytes += files * len(params.seeds)
    return Estimate(recipes, disk_bytes, store, min(compute.threads, num_cores), is_on_gpu(compute))
