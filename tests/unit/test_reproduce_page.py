"""docs/reproduce.md names every recipe of a published system, with the time of its header."""

from __future__ import annotations

import re
from pathlib import Path

from depthmask.recipes import BASE, lay_over, list_names, read_recipe
from depthmask.registry.networks import NETWORKS

PAGE = Path(__file__).resolve().parents[2] / "docs/reproduce.md"


def test_the_table_has_every_published_recipe_with_its_system_and_time():
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in PAGE.read_text().splitlines()]
    printed = {row[1].strip("`"): (row[0], row[3]) for row in rows if len(row) == 4 and re.fullmatch("[A-D]", row[0])}
    base, wanted = read_recipe(BASE).values, {}
    for name in list_names():
        recipe = read_recipe(name)
        system = NETWORKS[lay_over(base, recipe.values)["model"]["name"]].system
        if system in ("A", "B", "C", "D"):
            wanted[name] = (system, recipe.header["Time"].split(" on 2 CPU cores")[0])
    assert printed == wanted
