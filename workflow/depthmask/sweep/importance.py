"""How much each key of a sweep matters.

PED-ANOVA compares where the best trials lie with where all lie, key by key. It is chosen over Optuna's default, fANOVA, because
that fits a random forest of scikit-learn, a package that nothing else here needs, with a random state; PED-ANOVA is a sum over
densities, the same in every run. With few trials either is a hint, no more.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from depthmask.sweep.params import SweepParams
from depthmask.sweep.suggesting import make_optuna_trial
from depthmask.sweep.trial import Result

BEST_FRACTION = 0.25  # of the trials count as good
TRIALS_MIN = 4  # finished ones, below which nothing is said
TRIALS_SOUND = 20  # five good ones, which its authors ask for
IMPORTANCE_COLUMNS = ("key", "importance")


def measure_importance(params: SweepParams, results: Sequence[Result]) -> list[dict[str, Any]]:
    """Rows of IMPORTANCE_COLUMNS, the most important key first; they sum to 1, and are None if too little is known.

    Only finished trials count: what a trial had when it was stopped early cannot be compared.
    """
    finished = [result for result in results if result.has_rank]
    if len(finished) < TRIALS_MIN or len({result.score for result in finished}) < 2:
        return [{"key": key, "importance": None} for key in params.space]
    found = _ask_optuna(params, finished)
    total = math.fsum(found.values())
    rows = [{"key": key, "importance": round(found[key] / total, 4) if total else None} for key in params.space]
    return sorted(rows, key=lambda row: -(row["importance"] or 0))


def _ask_optuna(params: SweepParams, finished: Sequence[Result]) -> Mapping[str, float]:
    import optuna  # late: takes a third of a second

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize")
    study.add_trials([make_optuna_trial(params, result) for result in finished])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that there are few trials, which the page says
        evaluator = optuna.importance.PedAnovaImportanceEvaluator(target_quantile=BEST_FRACTION)
        found = evaluator.evaluate(study, params=list(params.space))
    return {key: value if math.isfinite(value) else 0.0 for key, value in found.items()}
