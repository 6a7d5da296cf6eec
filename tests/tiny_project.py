"""Clones of the project that run from data to report in seconds: few images, small ones, one epoch."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import yaml
from running_tools import run

ROOT = Path(__file__).resolve().parents[1]
NUM_KEPT = 16  # backgrounds, and cut-outs

TINY = {
    "model": {"width": 8},
    "pretrain": {"image_size_px": 32, "batch_size": 8, "samples_per_epoch": 32, "epochs": 1, "validation_samples": 8},
    "finetune": {"image_size_px": 32, "batch_size": 8, "samples_per_epoch": 32, "epochs": 1, "validation_samples": 8},
    "evaluate": {"image_size_px": 32, "batch_size": 8, "num_samples": 12, "baseline_samples": 16, "num_shown": 2},
    "report": {"num_worst": 1},
    "compute": {"threads": 1},
}
TINY_LEADERBOARD = {
    "recipes": ["default", "dilated_small"],
    "budget": {"kind": "steps", "amount": 2},
    "batch_size_max": 2,
    "image_size_max_px": 32,
    "pack": {"shards": 2, "sizes_px": [32, 48]},
    "sort_by": "depth_abs_rel",
    "evaluate": {"image_size_px": 48, "batch_size": 4, "num_samples": 6, "baseline_samples": 8},
}


def make_clone(root: Path) -> Path:
    """What git would have of this project, in a repository of its own, cut down and committed."""
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard", "-z"], cwd=ROOT, stdout=subprocess.PIPE, check=True)
    for name in listed.stdout.decode().split("\0"):
        # results of the project's own runs are no part of a fresh clone's work
        is_kept = name == "reports/other/.gitkeep"  # a dependency of the report
        made = (name.startswith(("reports/", "tests/", "docs/")) and not is_kept) or name in ("dvc.lock", "data/check.txt")
        if name and not made and ((ROOT / name).is_file() or (ROOT / name).is_symlink()) and _is_kept(name):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, root / name, follow_symlinks=False)
    _cut_pack(root / "data/demo/pack.json")
    change_params(root, TINY)
    run(root, "git", "init", "--quiet", "--initial-branch", "main")
    commit(root, "tiny")
    return root


def _is_kept(name: str) -> bool:
    """Whether a file of the demo pack is among the first of its folder; every other file is kept."""
    path = Path(name)
    return not (name.startswith("data/demo/") and path.stem.isdigit() and int(path.stem) >= NUM_KEPT)


def _cut_pack(path: Path) -> None:
    pack = json.loads(path.read_text())
    for name, entries in pack.items():
        if isinstance(entries, dict) and all(key.isdigit() for key in entries):
            pack[name] = {key: entry for key, entry in entries.items() if int(key) < NUM_KEPT}
    path.write_text(json.dumps(pack, indent=1))


def make_leaderboard_clone(root: Path, seeds: tuple[int, ...]) -> Path:
    """The same with a leaderboard of two recipes and two steps, of which nothing is made."""
    make_clone(root)
    board = root / "leaderboard"
    for made in (board / "reports", board / "data"):
        shutil.rmtree(made, ignore_errors=True)
    (board / "dvc.lock").unlink(missing_ok=True)
    change_keys(board / "params.yaml", TINY_LEADERBOARD | {"seeds": list(seeds)})
    recipe = root / "workflow/recipes/default.yaml"
    recipe.write_text(recipe.read_text().replace("validation_samples: 96", "validation_samples: 4"))
    commit(root, "a tiny leaderboard")
    return root


def change_keys(path: Path, values: dict) -> None:
    """Replace keys of the top level of a params file."""
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | values, sort_keys=False))


def change_params(root: Path, changes: dict[str, dict]) -> None:
    path = root / "params.yaml"
    values = yaml.safe_load(path.read_text())
    for section, section_changes in changes.items():
        values[section] |= section_changes
    path.write_text(yaml.safe_dump(values, sort_keys=False))


def commit(root: Path, message: str) -> None:
    run(root, "git", "add", "--all")
    run(root, "git", "commit", "--quiet", "--message", message)


def copy_clone(finished: Path, root: Path) -> Path:
    """A copy with its DVC cache, times of files kept; what a run in it changes, changes nothing in the original."""
    shutil.copytree(finished, root, symlinks=True)
    return root
