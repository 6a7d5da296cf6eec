"""An estimate of what a sweep needs before anything is run: its trials, one after another."""

from __future__ import annotations

from depthmask.params import Params
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
from depthmask.sweep.planning import SweepPlan, fit_trial, list_sizes, spend
from depthmask.sweep.space import draw_values, list_extremes


def estimate_sweep(plan: SweepPlan, num_cores: int) -> Estimate:
    """Peak memory of any trial, and the time of all, if none is stopped early.

    Trials whose values depend on results are counted like those with the shared params. Networks that were not measured are
    skipped.
    """
    params, compute = plan.params, plan.shared.compute
    on_gpu = is_on_gpu(compute)
    known = [] if params.method == "tpe" else [draw_values(params, number) for number in range(plan.num_trials)]
    trials = [fit_trial(plan.base, params, values, "") for values in known] or [plan.shared] * plan.num_trials
    extremes = [fit_trial(plan.base, params, values, "") for _, values in list_extremes(params.space)]
    costs = {}  # by identity: a shared trial is estimated once
    for fitted in [*trials, *extremes]:
        if id(fitted) not in costs and is_measured(fitted.model):
            costs[id(fitted)] = _estimate_trial(plan, fitted, num_cores)
    measured = [fitted for fitted in trials if id(fitted) in costs]
    files, store = estimate_disk([fitted.model for fitted in measured], plan.shared.download, list_sizes(plan))
    phases = []
    if costs:
        seconds = None if on_gpu else sum(costs[id(fitted)].seconds for fitted in measured)
        phases.append(PhaseEstimate("trials", max(cost.memory_bytes for cost in costs.values()), seconds))
    return Estimate(phases, files, store, min(compute.threads, num_cores), on_gpu)


def _estimate_trial(plan: SweepPlan, fitted: Params, num_cores: int) -> PhaseEstimate:
    most = count_most_samples(plan.shared.download)
    scoring = plan.shared.evaluate.model_copy(update={"num_samples": plan.params.score_images, "baseline_samples": 1})
    parts = [
        estimate_phase("trials", phase, fitted.model, phase.loss or fitted.loss, fitted.compute, num_cores, most)
        for phase in spend(fitted, plan.params, None, "")
    ]
    parts.append(estimate_evaluation(scoring, fitted.model, fitted.compute, num_cores, most))
    seconds = [part.seconds for part in parts]
    return PhaseEstimate("trials", max(part.memory_bytes for part in parts), None if None in seconds else sum(seconds))
