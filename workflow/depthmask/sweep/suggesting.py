"""Which values the trials of a round have, and when they are stopped early: a function of params and of earlier results alone.

Nothing is remembered between rounds, and nothing is drawn from a clock. So a sweep that was killed anywhere has, in the end,
the trials of one that was not.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from depthmask.keyed_random import SWEEP, draw_seed
from depthmask.params import PhaseParams
from depthmask.sweep.params import DimensionParams, PruneParams, SweepParams
from depthmask.sweep.planning import SweepPlan, count_trial_steps, fit_trial, spend
from depthmask.sweep.space import Values, draw_values, find_place, list_rounds, round_in_range
from depthmask.sweep.trial import DIVERGED, FINISHED, Result, Trial
from depthmask.training.stopping import StopCheck, StopRule

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial

NO_SCORE = 0.0  # of a trial that diverged: the worst that these scores can be
TPE_EPOCH = 1  # of the keyed seeds, apart from those of random points


def suggest_trials(plan: SweepPlan, number: int, results: Sequence[Result], num_available: int | None) -> list[Trial]:
    """The trials of round `number`; results: of all earlier rounds, in order. num_available: see `spend_budget`."""
    names, trials = list(plan.name_trials()), list_rounds(plan.params)[number]
    suggested = suggest_values(plan.params, number, results)
    return [_make_trial(plan, names[trial], values, results, num_available) for trial, values in zip(trials, suggested)]


def suggest_values(params: SweepParams, number: int, results: Sequence[Result]) -> list[Values]:
    """The values of each trial of a round. The first round of TPE, which has nothing to go by, is that of sobol."""
    trials = list_rounds(params)[number]
    if params.method != "tpe" or number == 0:
        return [draw_values(params, trial) for trial in trials]
    return _ask_tpe(params, number, results, len(trials))


def _ask_tpe(params: SweepParams, number: int, results: Sequence[Result], num_wanted: int) -> list[Values]:
    """Values of Optuna's TPE: each counts the ones before it in the round as bad, so that they lie apart."""
    import optuna  # late: takes a third of a second, and only this needs it

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        sampler = optuna.samplers.TPESampler(
            seed=draw_seed(params.seed, SWEEP, TPE_EPOCH, number), n_startup_trials=1, multivariate=True, constant_liar=True
        )
    study = optuna.create_study(direction="maximize", sampler=sampler)
    study.add_trials([make_optuna_trial(params, result) for result in results])
    distributions = {key: make_distribution(dimension) for key, dimension in params.space.items()}
    asked = [study.ask(distributions).params for _ in range(num_wanted)]
    return [{key: _read_choice(params.space[key], values[key]) for key in params.space} for values in asked]


def make_distribution(dimension: DimensionParams) -> BaseDistribution:
    """A dimension as Optuna has it; listed values, which may be lists or mappings, by their place in the list."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if dimension.values is not None:
        return CategoricalDistribution(tuple(range(len(dimension.values))))
    if dimension.integer:
        return IntDistribution(int(dimension.low), int(dimension.high), log=dimension.log)
    return FloatDistribution(float(dimension.low), float(dimension.high), log=dimension.log)


def _read_choice(dimension: DimensionParams, choice: Any) -> Any:
    if dimension.values is not None:
        return dimension.values[choice]
    return int(choice) if dimension.integer else round_in_range(choice, dimension.low, dimension.high)


def make_optuna_trial(params: SweepParams, result: Result) -> FrozenTrial:
    """A result as Optuna has it: a trial that was stopped early has its score at that point, one that diverged the worst."""
    from optuna.trial import TrialState, create_trial

    values = {
        key: find_place(result.values[key], dimension.values) if dimension.values is not None else result.values[key]
        for key, dimension in params.space.items()
    }
    distributions = {key: make_distribution(dimension) for key, dimension in params.space.items()}
    score = NO_SCORE if result.score is None or result.outcome == DIVERGED else result.score
    if result.outcome in (FINISHED, DIVERGED):
        return create_trial(params=values, distributions=distributions, value=score)
    return create_trial(
        params=values, distributions=distributions, state=TrialState.PRUNED, intermediate_values={result.steps: score}
    )


def _make_trial(plan: SweepPlan, name: str, values: Values, results: Sequence[Result], num_available: int | None) -> Trial:
    shown = ", ".join(f"{key}: {value}" for key, value in values.items())
    fitted = fit_trial(plan.base, plan.params, values, f"params.yaml: space, trial {name} ({shown})")
    phases = spend(fitted, plan.params, num_available, f"params.yaml: trial {name} ({shown})")
    steps = count_trial_steps(phases, num_available)
    return Trial(
        name=name,
        values=values,
        seed=plan.shared.seed,
        compose=fitted.compose,
        augment=fitted.augment,
        model=fitted.model,
        loss=fitted.loss,
        compute=fitted.compute,
        phases=phases,
        steps=steps,
        stop=make_stop_rule(plan.params, phases, steps, results),
    )


def make_stop_rule(params: SweepParams, phases: Sequence[PhaseParams], steps: int, results: Sequence[Result]) -> StopRule | None:
    """When a trial is stopped early: where its score is not among the best `keep` of what earlier trials had at that fraction.

    None if nothing is pruned, or if too few trials have come that far.
    """
    if params.prune is None:
        return None
    checks = []
    for fraction in params.prune.at:
        wanted = find_threshold(params.prune, fraction, results)
        if wanted is not None:
            checks.append(StopCheck(step=find_step(fraction, steps), at_least=wanted))
    return StopRule(scores=params.optimise, checks=checks) if checks else None


def find_threshold(prune: PruneParams, fraction: float, results: Sequence[Result]) -> float | None:
    """The score that the best `keep` of the earlier trials had at a fraction of their steps; None if there are too few."""
    reached = [_find_score_at(result, fraction) for result in results]
    known = sorted((score for score in reached if score is not None), reverse=True)
    if len(known) < prune.after:
        return None
    return known[math.ceil(prune.keep * len(known)) - 1]


def _find_score_at(result: Result, fraction: float) -> float | None:
    step = find_step(fraction, result.planned_steps)
    return next((score for done, score in result.curve if done >= step), None)


def find_step(fraction: float, steps: int) -> int:
    """The step of a training of `steps` that a fraction of it is."""
    return max(1, math.ceil(fraction * steps))
