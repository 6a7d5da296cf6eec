"""docs/extending.md, followed in a copy of the project: its examples pass the contract tests and train."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from reading_pages import change_files, list_blocks, write_files
from running_tools import make_environment
from tiny_project import TINY, change_params

from depthmask.base.files import read_csv

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs/extending.md"
FOLDERS = ("workflow", "tests", "docs", "data/demo", "data/photos", "data/ensemble", "leaderboard", "cross_validation", "sweep")
FILES = (".dvcignore", "params.yaml", "dvc.yaml", "pyproject.toml", "README.md", "Makefile", "data/sources.csv")
LEFT_OUT = ("__pycache__", Path(__file__).name)
MADE = ("data", "reports", ".dvc", ".snakemake")  # what runs leave in a graph of its own
NEW = ("two_sizes", "tversky", "by_name", "soft_iou", "worst")
# what the project asks besides the contracts: registries and schema agree, pages and words are complete
ASKED = (
    *("schema_names_the_networks", "schema_has_a_weight", "every_transform_of_the_schema", "a_sample_does_not_depend"),
    *("page_about_the_networks", "every_loss_has_a_row", "comments_of_params_yaml", "every_other_score_is_named"),
    *("every_score_is_in_the_registry", "default_recipe_is_params_yaml"),
)
TESTED = ("tests/contract", *(f"tests/unit/test_{name}.py" for name in (
    "samples", "sources_pre_composited", "models_command", "losses_and_metrics_page", "evaluation", "recipes", "cli"
)))  # fmt: skip
MAKE_SET = """
from pathlib import Path
from making_layouts import WRITERS, make_composites
WRITERS["by_name"](Path("../set"), make_composites(8, 8, 1))
"""
SHOW_NETWORK = """
from pathlib import Path
from depthmask.models.model_file import read_model_file
print(read_model_file(Path("data/models/pretrain.safetensors"))[0].settings["name"])
"""
STAGES = ("check", "download", "pack", "split", "weights", "pretrain")


def run(root: Path, *command: str) -> str:
    """Run in the copy, on the copy's own library and tests."""
    environ = make_environment(root) | {"PYTHONPATH": f"{root / 'workflow'}:{root / 'tests'}", "DEPTHMASK_WORKERS": "1"}
    done = subprocess.run(command, cwd=root, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 0, f"{command}\n{done.stdout[-6000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def extended(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("extended") / "project"
    for folder in FOLDERS:
        ignored = shutil.ignore_patterns(*LEFT_OUT, *(MADE if folder in ("leaderboard", "cross_validation", "sweep") else ()))
        shutil.copytree(ROOT / folder, root / folder, symlinks=True, ignore=ignored)
    for file in FILES:
        shutil.copyfile(ROOT / file, root / file)
    assert len(write_files(PAGE, root)) == 5
    change_files(list_blocks(PAGE, "diff")[:-1], root)  # the last one puts to use what the others add
    return root


def test_make_deps_finds_the_new_files(extended):
    run(extended, sys.executable, "-m", "tools.stage_deps", "--write")
    assert run(extended, sys.executable, "-m", "tools.stage_deps") == ""
    stages = yaml.safe_load((extended / "dvc.yaml").read_text())["stages"]
    folders = {name: f"workflow/depthmask/{name}" for name in ("models", "losses", "sources", "metrics")}
    assert {folders["models"], folders["losses"]} <= set(stages["pretrain"]["deps"]), "a folder stands for all of its files"
    assert folders["metrics"] in stages["evaluate"]["deps"]
    assert folders["sources"] in stages["download"]["deps"]
    assert folders["models"] not in stages["download"]["deps"]
    stages = yaml.safe_load((extended / "leaderboard/dvc.yaml").read_text())["stages"]
    new = {folders["models"], folders["losses"], folders["sources"]}
    assert new <= set(stages["train"].get("do", stages["train"])["deps"])
    assert new & set(stages["download"]["deps"]) == {folders["sources"]}


def test_the_contract_tests_pass(extended):
    printed = run(
        extended, sys.executable, "-m", "pytest", "-v", "-p", "no:cacheprovider", *TESTED, "-k", " or ".join(NEW + ASKED)
    )
    passed = [line for line in printed.splitlines() if " PASSED" in line]
    assert {name for name in NEW + ASKED if not any(name in line for line in passed)} == set()


def test_the_command_runs(extended):
    reports = extended / "reports"
    command = (sys.executable, "-m", "depthmask", "worst")
    environ = make_environment(extended) | {"PYTHONPATH": f"{extended / 'workflow'}"}
    done = subprocess.run(command, cwd=extended, env=environ, capture_output=True, text=True)
    assert done.returncode == 1 and "reports/per_image.csv: no such file" in done.stderr and "Traceback" not in done.stderr
    reports.mkdir(exist_ok=True)
    (reports / "per_image.csv").write_text("key,mask_iou\na,0.9\nb,0.25\nc,0.5\n", encoding="utf-8")
    assert run(extended, *command, "--number", "2") == "0.250  b\n0.500  c\n"
    (reports / "per_image.csv").unlink()
    assert "worst" in run(extended, sys.executable, "-m", "depthmask", "--help")


def test_it_trains_with_all_of_them(extended):
    run(extended, sys.executable, "-c", MAKE_SET)
    assert change_files(list_blocks(PAGE, "diff")[-1:], extended) == ["params.yaml"]
    change_params(extended, TINY)
    commands = yaml.safe_load((extended / "dvc.yaml").read_text())["stages"]
    for stage in STAGES:
        run(extended, "bash", "-c", commands[stage]["cmd"])
    rows = read_csv(extended / "reports/pretrain/history.csv")
    assert len(rows) == 1 and 0 < float(rows[0]["train_mask_tversky"]) < 1
    assert run(extended, sys.executable, "-c", SHOW_NETWORK) == "two_sizes\n"
