"""Writes the best trial's params as a recipe, for `depthmask recipe FILE --write`.

A recipe is what differs from the recipe `default`. The lengths of the phases are those of the params that the sweep started
from, not those of its budget: a sweep tries settings briefly, so that they need not be tried at full length.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from depthmask.base.errors import UserError
from depthmask.recipes import ALL_TERMS, BASE, FOLDER, read_recipe
from depthmask.sweep.planning import SweepPlan
from depthmask.sweep.space import set_values, spread_values
from depthmask.sweep.table import find_best, show_value
from depthmask.sweep.trial import Result

WIDTH = 118
TITLE = "The best trial of a sweep."


def format_recipe(plan: SweepPlan, results: Sequence[Result], path: Path, recipes: Path = FOLDER) -> str:
    """The recipe's text; path: where it will be, for its header.

    Raises:
        UserError: no trial has a score.
    """
    best = find_best(results)
    if best is None:
        raise UserError(
            "no trial was finished and scored, so none is the best; if all diverged, search lower rates, else the validation part"
            f" has no truth for optimise: {', '.join(plan.params.optimise)}"
        )
    chosen = spread_values(plan.params.space, best.values)
    default = read_recipe(BASE, recipes).values
    values = find_differences(default, set_values(plan.base, chosen))
    header = [TITLE, ""]
    for field, text in _describe(plan, best, results, path).items():
        header += textwrap.wrap(f"{field}: {text}", WIDTH, subsequent_indent="  ")
    comment = "".join(f"# {line}".rstrip() + "\n" for line in header)
    body = yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=1000)
    return f"{comment}\n{body}"


def find_differences(default: Mapping[str, Any], wanted: Mapping[str, Any], path: tuple[str, ...] = ()) -> dict[str, Any]:
    """What a recipe has to say for `default` to become `wanted`; keys that no recipe sets are left out."""
    differences = {}
    for key, value in default.items():
        here, other = (*path, key), wanted[key]
        if isinstance(value, dict) and isinstance(other, dict) and here[-2:] not in ALL_TERMS:
            inner = find_differences(value, other, here)
            if inner:
                differences[key] = inner
        elif value != other or type(value) is not type(other):
            differences[key] = other
    return differences


def _describe(plan: SweepPlan, best: Result, results: Sequence[Result], path: Path) -> dict[str, str]:
    params = plan.params
    values = ", ".join(f"{key}: {show_value(value)}" for key, value in spread_values(params.space, best.values).items())
    start = "params.yaml" if params.recipe is None else f"the recipe {params.recipe}"
    length = f"{params.budget.amount:,} {params.budget.kind}" if params.budget is not None else "its full length"
    return {
        "Command": f"depthmask recipe {path} --write",
        "Reproduces": f"nothing published. {start} with {values}, as in trial {best.name} of {len(results)}, with the lengths of"
        f" {start}; the trials were trained for {length}.",
        "Time": f"not measured; depthmask recipe {path} --time estimates it here.",
        "Score": f"{' and '.join(params.optimise)} {best.score:.3f} on {best.num_images} validation images after {length}, chosen"
        " as the best, so a little too good; the test part says how good it is.",
    }
