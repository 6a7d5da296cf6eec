"""Recipes by name under both tools: two steps in each training stage, and the same bytes."""

from __future__ import annotations

import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml
from running_tools import RUNNING, find_different, make_environment, run
from shrinking import shrink_recipe
from tiny_project import commit, copy_clone, make_clone

from depthmask.recipes import BASE

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ("data/models/pretrain.safetensors", "data/models/finetune.safetensors")
RESULTS += ("reports/pretrain/history.csv", "reports/finetune/history.csv")
COMMANDS = {
    "dvc": ["dvc", "repro", "finetune"],
    "snakemake": ["snakemake", "--cores", "1", "data/models/finetune.safetensors"],
}
# one phase and several, two losses in turn; tests/unit/test_recipes.py trains every recipe without a tool
UNDER_BOTH = ("default", "multi_dilation_unet", "two_stream_separable")


@pytest.fixture(scope="module")
def with_data(tmp_path_factory) -> Path:
    """A clone whose data are downloaded and split, with params.yaml as it comes."""
    root = make_clone(tmp_path_factory.mktemp("with_data") / "clone")
    shutil.copy(ROOT / "params.yaml", root / "params.yaml")
    run(root, "dvc", "repro", "split")
    commit(root, "data")
    return root


def put_small_recipe(root: Path, name: str) -> None:
    """As a user does it; then cut down, which no user would."""
    printed = run(root, "depthmask", "recipe", name, "--write").stdout
    assert "\nparams.yaml: " in f"\n{printed}"
    path = root / "params.yaml"
    path.write_text(yaml.safe_dump(shrink_recipe(yaml.safe_load(path.read_text())), sort_keys=False))


def train(root: Path, tool: str, name: str) -> set[str]:
    """The stages that were run."""
    put_small_recipe(root, name)
    done = run(root, *COMMANDS[tool]).stdout
    return set(RUNNING.findall(done + "".join(path.read_text() for path in (root / "logs").glob("*.log"))))


@pytest.mark.parametrize("name", UNDER_BOTH)
def test_a_recipe_trains_under_both_tools_with_the_same_bytes(with_data, tmp_path, name):
    roots = {tool: copy_clone(with_data, tmp_path / tool) for tool in COMMANDS}
    with ThreadPoolExecutor() as pool:
        ran = dict(zip(roots, pool.map(lambda tool: train(roots[tool], tool, name), roots)))
    for tool, root in roots.items():
        assert ran[tool] >= {"pretrain", "finetune"}, tool
        assert len((root / "reports/finetune/history.csv").read_text().splitlines()) >= 3
    assert find_different(roots["dvc"], roots["snakemake"], RESULTS) == []
    assert "up to date" in run(roots["snakemake"], "dvc", "status", "pretrain", "finetune").stdout
    for root in roots.values():
        shutil.rmtree(root)  # pytest would keep it, and the larger networks weigh 100 MB


def test_dvc_takes_a_recipe_as_arguments(with_data, tmp_path):
    """`dvc exp run $(depthmask recipe NAME --set)` in a shell, without a commit of params.yaml."""
    root = copy_clone(with_data, tmp_path / "clone")
    put_small_recipe(root, BASE)
    commit(root, "small")
    small = "$(depthmask recipe dilated_small --set)"
    sizes = "-S pretrain.image_size_px=48 -S finetune.image_size_px=64 -S evaluate.image_size_px=64"
    counts = " ".join(
        f"-S {stage}.batch_size=2 -S {stage}.samples_per_epoch=2 -S {stage}.epochs=2" for stage in ("pretrain", "finetune")
    )
    subprocess.run(
        ["bash", "-ec", f"dvc exp run {small} {sizes} {counts} finetune"], cwd=root, env=make_environment(root), check=True
    )
    assert yaml.safe_load((root / "params.yaml").read_text())["loss"]["depth"] == {"ssim": 1.0}
    assert "train_mask_dice,train_depth_ssim" in (root / "reports/finetune/history.csv").read_text()


def test_make_puts_the_recipe_into_params_yaml_first():
    for target, tool in (("repro", "dvc repro"), ("snakemake", "snakemake --cores")):
        command = ["make", "--dry-run", "--always-make", target]
        lines = subprocess.run([*command, "RECIPE=dense_concat"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
        assert lines.index("depthmask recipe 'dense_concat' --write\n") < lines.index(tool)
        without = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, env={"PATH": "/usr/bin:/bin"})
        assert "depthmask recipe" not in without.stdout
