"""An estimate of what a cross-validation needs before anything is run: every fold from every seed, one after another."""

from __future__ import annotations

from dataclasses import replace

from depthmask.cross_validation.params import CrossValidationParams, shorten
from depthmask.params import Params
from depthmask.preflight.estimate import Estimate, estimate_run
from depthmask.preflight.network_costs import find_costs

WEIGHT_BYTES = 4


def estimate_cross_validation(params: Params, settings: CrossValidationParams, num_cores: int) -> Estimate:
    """The phases of one run, each with the time of all runs. params, settings: from `load_both`.

    What is packed is the project's. Each run leaves a model file, and another in DVC's cache.
    """
    num_runs = len(settings.folds) * len(settings.seeds)
    one = estimate_run(shorten(params, settings), num_cores)
    phases = [replace(phase, seconds=phase.seconds and phase.seconds * num_runs) for phase in one.phases]
    models = 2 * WEIGHT_BYTES * find_costs(params.model).parameters * num_runs
    return replace(one, phases=phases, disk_bytes=models, store_bytes_each=0.0)
