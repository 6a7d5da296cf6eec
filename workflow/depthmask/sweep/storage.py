"""Writes the trials as Optuna keeps them, for its dashboard and its plots.

The file is written from the results and never read. So it decides nothing, and a kill cannot leave it ahead of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from depthmask.base.files import replace_file
from depthmask.sweep.params import SweepParams
from depthmask.sweep.suggesting import make_optuna_trial
from depthmask.sweep.trial import Result

STUDY = "sweep"


def write_study(path: Path, params: SweepParams, results: Sequence[Result]) -> None:
    """Write an SQLite file with one study, STUDY; listed values are numbers in it, and as they are among a trial's attributes."""
    import optuna  # late: takes a second, with the database

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with replace_file(path) as temporary:
        storage = optuna.storages.RDBStorage(f"sqlite:///{temporary.absolute()}")
        study = optuna.create_study(study_name=STUDY, direction="maximize", storage=storage)
        trials = [make_optuna_trial(params, result) for result in results]
        for trial, result in zip(trials, results, strict=True):
            trial.set_user_attr("trial", result.name)
            trial.set_user_attr("outcome", result.outcome)
            trial.set_user_attr("values", result.values)
        study.add_trials(trials)
        storage.remove_session()
        storage.engine.dispose()
