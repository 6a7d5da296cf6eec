"""All stages of dvc.yaml in this process on a tiny pack, and a training killed by SIGKILL that resumes to the same bytes.

The everyday stand-in for tests/pipeline, where the tools run the stages.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import re
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from running_tools import make_environment
from tiny_project import TINY, change_params

from depthmask.base.files import read_csv

ROOT = Path(__file__).resolve().parents[2]
COPIED = ("params.yaml", "dvc.yaml", "workflow", "data/photos", "data/ensemble")
LONGER = {"pretrain": TINY["pretrain"] | {"samples_per_epoch": 160, "epochs": 2}}  # 40 steps, time for a kill among them
PATIENCE_S = 120


def read_commands() -> dict[str, list[str]]:
    """The words behind `python -m` of each stage's command, in the order of dvc.yaml."""
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    commands = {name: shlex.split(stage["cmd"]) for name, stage in stages.items() if "foreach" not in stage}
    return {name: words[words.index("-m") + 1 :] for name, words in commands.items()}


def run_stage(root: Path, words: list[str]) -> int:
    with contextlib.chdir(root), pytest.MonkeyPatch.context() as environment:
        environment.setenv("DEPTHMASK_WORKERS", "0")
        return importlib.import_module(words[0]).main(words[1:])


@pytest.fixture(scope="module")
def made(tmp_path_factory, small_demo) -> Path:
    """A copy of the project with a tiny pack and tiny params, every stage run in it."""
    root = tmp_path_factory.mktemp("smoke") / "project"
    for name in COPIED:
        source, target = ROOT / name, root / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copyfile(source, target)
    shutil.copytree(small_demo, root / "data/demo")
    change_params(root, TINY | LONGER | {"split": {"test": 0.25, "validation": 0.25}})
    for stage, words in read_commands().items():
        assert run_stage(root, words) == 0, stage
    return root


def test_every_stage_leaves_what_dvc_yaml_promises(made):
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    named = [out for stage in stages.values() for kind in ("outs", "metrics", "plots") for out in stage.get(kind, [])]
    paths = [next(iter(out)) if isinstance(out, dict) else out for out in named]
    assert len(paths) > len(stages)
    assert [path for path in paths if not (made / path).exists()] == []


def test_scores_are_in_range_and_reach_the_page(made):
    scores = json.loads((made / "reports/metrics.json").read_text())["test"]
    assert 0 < scores["mask"]["iou"] < 1 and 0 < scores["depth"]["delta1"] < 1
    assert len(read_csv(made / "reports/per_image.csv")) == TINY["evaluate"]["num_samples"]
    assert f"{scores['mask']['iou']:.3f}" in (made / "reports/index.html").read_text()


def test_a_training_that_is_killed_resumes_and_ends_with_the_same_bytes(made, tmp_path, capfd):
    root = tmp_path / "project"
    shutil.copytree(made, root)
    words = read_commands()["pretrain"]
    results = [Path(words[words.index(option) + 1]) for option in ("--weights", "--history")]
    for path in results:
        (root / path).unlink()
    environ = make_environment(root) | {"PYTHONPATH": "workflow", "DEPTHMASK_CHECKPOINT_STEPS": "1", "DEPTHMASK_WORKERS": "0"}
    with (root / "log").open("w") as log:
        started = subprocess.Popen([sys.executable, "-m", *words], cwd=root, env=environ, stdout=log, stderr=log)
    until = time.monotonic() + PATIENCE_S
    while not list(root.glob(".checkpoints/pretrain-*/last.safetensors")):
        assert started.poll() is None and time.monotonic() < until, (root / "log").read_text()
        time.sleep(0.002)
    started.kill()
    assert started.wait(PATIENCE_S) == -9 and not (root / results[0]).exists()
    assert run_stage(root, words) == 0
    assert re.search(r"resumed from step \d+ of 40", capfd.readouterr().err)
    assert [path for path in results if (root / path).read_bytes() != (made / path).read_bytes()] == []
    assert not list(root.glob(".checkpoints/pretrain-*/*"))
