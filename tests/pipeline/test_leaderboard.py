"""The leaderboard's own graph on a tiny budget: DVC and Snakemake make the same table, rerun the same, refuse the same."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import pytest
from running_tools import find_different, is_dvc_clean, is_snakemake_done, run, run_side_by_side
from tiny_project import TINY_LEADERBOARD, change_keys, copy_clone, make_leaderboard_clone

from depthmask.leaderboard.table import MEASURED

pytestmark = pytest.mark.slow

COMMANDS = {"dvc": ["dvc", "repro"], "snakemake": ["snakemake", "--cores", "2"]}
RECIPES, SEEDS = TINY_LEADERBOARD["recipes"], (0, 1)
KEYS = [f"{name}-{seed}" for name in RECIPES for seed in SEEDS]
# what holds no clock's and no machine's word
SAME = [
    *(f"reports/plan/{name}.json" for name in RECIPES),
    *(f"data/models/{key}.safetensors" for key in KEYS),
    *(f"reports/train/{key}/history.csv" for key in KEYS),
    *(f"reports/score/{key}.json" for key in KEYS),
    "reports/baselines.json",
    "reports/leaderboard.json",
]
PATIENCE_S = 600


@pytest.fixture(scope="module")
def untouched(tmp_path_factory) -> Path:
    """A clone whose leaderboard has two recipes, two seeds and two steps."""
    return make_leaderboard_clone(tmp_path_factory.mktemp("leaderboard") / "clone", SEEDS)


@pytest.fixture(scope="module")
def made(untouched, tmp_path_factory) -> dict[str, Path]:
    """The leaderboard's folder by tool, each made from nothing; both tools run at once, in clones of their own."""
    roots = {tool: copy_clone(untouched, tmp_path_factory.mktemp(tool) / "clone") / "leaderboard" for tool in COMMANDS}
    run_side_by_side(COMMANDS, roots, PATIENCE_S)
    return roots


def read_table(root: Path) -> list[dict[str, str]]:
    with (root / "reports/leaderboard.csv").open() as text:
        return list(csv.DictReader(text))


def test_both_tools_make_the_same_bytes(made):
    assert find_different(made["dvc"], made["snakemake"], SAME) == []
    tables = [
        [{column: value for column, value in row.items() if column not in MEASURED} for row in read_table(root)]
        for root in made.values()
    ]
    assert tables[0] == tables[1]


def test_the_table_has_every_recipe_and_every_baseline(made):
    rows = read_table(made["snakemake"])
    recipes = [row for row in rows if row["kind"] == "recipe"]
    assert {row["name"] for row in recipes} == set(RECIPES)
    assert sorted(row["rank"] for row in recipes) == ["1", "2"]
    assert len(rows) == len(RECIPES) + 5
    for row in recipes:
        assert (row["num_seeds"], row["steps"], row["samples"]) == ("2", "2", "4")
        assert (row["sizes_px"], row["batch_sizes"]) == ("32 32", "2 2")
        assert all(float(row[column]) > 0 for column in MEASURED)
        assert float(row["depth_abs_rel_min"]) <= float(row["depth_abs_rel"]) <= float(row["depth_abs_rel_max"])
    seeds = [(made["dvc"] / f"data/models/default-{seed}.safetensors").read_bytes() for seed in SEEDS]
    assert seeds[0] != seeds[1]
    for name in ("leaderboard.md", "leaderboard.html"):
        text = (made["snakemake"] / "reports" / name).read_text()
        assert all(recipe in text for recipe in RECIPES)
        assert "2 steps" in text


def test_after_either_tool_nothing_is_left_to_do_for_both(made):
    for root in made.values():
        assert is_dvc_clean(root)
        assert is_snakemake_done(root)


def test_the_main_graph_knows_nothing_of_it(made):
    listed = run(made["dvc"].parent, "dvc", "stage", "list", "--all", "--name-only").stdout
    assert "pretrain" in listed
    assert "leaderboard" not in listed


def test_a_changed_recipe_is_trained_again_alone(made, tmp_path):
    root = copy_clone(made["dvc"].parent, tmp_path / "clone") / "leaderboard"
    recipe = root.parent / "workflow/recipes/dilated_small.yaml"
    changed = re.sub(r"learning_rate: \S+", "learning_rate: 0.00123", recipe.read_text(), count=1)
    assert changed != recipe.read_text()
    recipe.write_text(changed)
    planned = set(re.findall(r"^Job \d+: (\S+): ", run(root, "snakemake", "-n", "--cores", "2").stdout, re.MULTILINE))
    own = {f"{stage}@dilated_small-{seed}" for stage in ("train", "score") for seed in SEEDS}
    assert planned == {"check", "plan@dilated_small", *own, "time", "table"}


def test_bad_params_are_one_line_and_change_nothing(made, tmp_path):
    root = copy_clone(made["dvc"].parent, tmp_path / "clone") / "leaderboard"
    change_keys(root / "params.yaml", {"budget": {"kind": "steps", "amount": 1}})
    for tool, exit_code in {"snakemake": 2, "dvc": 255}.items():
        done = run(root, *COMMANDS[tool], check=False)
        assert done.returncode == exit_code
        lines = [line for line in done.stdout.splitlines() if line.startswith("error: ")]
        assert lines == [
            "error: params.yaml with recipe default: budget.amount: 1; allowed: at least 2, one for each of its phases"
        ]
        assert "Traceback" not in done.stdout
    for name in SAME:
        assert (root / name).read_bytes() == (made["dvc"] / name).read_bytes()
